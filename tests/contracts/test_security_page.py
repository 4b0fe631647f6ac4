"""docs/security.md names all thirteen threats, and tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/security.md").read_text()


def test_each_threat_has_its_proof():
    sections = re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]
    assert [int(section.split(".")[0]) for section in sections] == list(range(1, 14))
    assert [s.splitlines()[0] for s in sections if "**Proof:**" not in s] == []


def test_the_tests_that_it_names_are_there():
    named = re.findall(r"`(tests/[\w/.]+)`", PAGE)
    assert len(named) > 20
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_pages_that_it_points_at_are_there():
    targets = re.findall(r"\]\(([\w./-]+\.md)", PAGE)
    assert [name for name in targets if not (ROOT / "docs" / name).exists()] == []
