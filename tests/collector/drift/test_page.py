"""What docs/drift.md shows can be used as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from collector.drift.declaration import read_declaration
from collector.drift.profiles import read_profile
from config.schema import Config

PAGE = Path(__file__).parents[3] / "docs" / "drift.md"
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_each_example_is_valid(block, tmp_path):
    path = tmp_path / "example.yaml"
    path.write_text(block)
    if "profile" in (tree := yaml.safe_load(block)):
        assert read_profile(str(path)).checks
    elif "version" in tree:
        assert read_declaration(path).parts
    else:
        Config.model_validate(tree)
