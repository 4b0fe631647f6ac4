"""The example of docs/rules.md loads, and does what its own examples say."""

import re
from pathlib import Path

from agent.sql.client import ParserClient
from rules import RuleSet
from rules.examples import run_examples

PAGE = Path(__file__).parents[2] / "docs" / "rules.md"


def test_the_example_on_the_page_passes_its_own_examples(tmp_path):
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    file = tmp_path / "page.yaml"
    file.write_text(example)
    with ParserClient() as parser:
        results = run_examples(
            RuleSet.load([file]), lambda sql: parser.shapes([sql.encode()], [len(sql.encode())])[0]
        )
        results = list(results)
    assert len(results) == 3
    assert all(result.passed for result in results)
