"""The examples of docs/rules.md load, and do what they say."""

import re
from pathlib import Path

import pytest
import yaml

from agent.configured_rules import load_rules
from agent.sql.client import ParserClient
from config import Config
from rules import RuleSet
from rules.examples import run_examples

PAGE = Path(__file__).parents[2] / "docs" / "rules.md"
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
FILES = [block for block in BLOCKS if re.search(r"^(rules|limits):", block, re.MULTILINE)]
SETTINGS = [block for block in BLOCKS if block.startswith("agent:")]
EXAMPLES = [3, 4, 2]


@pytest.mark.parametrize(("block", "count"), list(zip(FILES, EXAMPLES, strict=True)))
def test_an_example_on_the_page_passes_its_own_examples(tmp_path, block, count):
    file = tmp_path / "page.yaml"
    file.write_text(block)
    with ParserClient() as parser:
        results = run_examples(
            RuleSet.load([file]), lambda sql: parser.shapes([sql.encode()], [len(sql.encode())])[0]
        )
    assert len(results) == count
    assert all(result.passed for result in results)


@pytest.mark.parametrize("block", SETTINGS)
def test_a_configuration_on_the_page_fits_the_packs(block):
    config = Config.model_validate(yaml.safe_load(block))
    assert load_rules(config.agent.rules).rules


def test_every_pack_is_on_the_page():
    packs = (Path(__file__).parents[2] / "rules" / "packs").glob("*.yaml")
    assert not [pack.stem for pack in packs if f"| `{pack.stem}` |" not in PAGE.read_text()]
