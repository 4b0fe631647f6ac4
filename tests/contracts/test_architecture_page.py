"""docs/ARCHITECTURE.md names files that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_path_on_the_page_exists():
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text()
    paths = re.findall(r"`([a-z_]+/[a-zA-Z_/]*(?:\.[a-z.]+)?)`", text)
    assert len(paths) > 25
    assert [path for path in paths if not (ROOT / path).exists()] == []
