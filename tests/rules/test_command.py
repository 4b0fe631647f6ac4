"""``pgwarden rules`` as a script sees it: output and exit codes."""

import json

import pytest
from typer.testing import CliRunner

from cli.rules import app
from tests.rules.rule_files import rule

RUN = CliRunner()


@pytest.fixture
def call(tmp_path, monkeypatch):
    monkeypatch.delenv("PGWARDEN_CONFIG", raising=False)
    monkeypatch.setattr("cli.context.DEFAULT_CONFIG", tmp_path / "none.yaml")
    return lambda *arguments: RUN.invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "rules.yaml"
    path.write_text(rule())
    return path


def test_list_shows_every_rule_of_the_default_packs(call):
    result = call("list")
    assert result.exit_code == 0
    assert "drop-protected" in result.output
    assert "superuser-from-outside" in result.output


def test_list_gives_one_json_object_for_each_rule(call, file):
    (line,) = call("list", file, "--json").stdout.splitlines()
    assert json.loads(line)["id"] == "r"


def test_check_accepts_good_rules_and_names_those_without_examples(call, file):
    result = call("check", file)
    assert result.exit_code == 0
    assert "r lacks an example" in result.output


def test_check_exits_78_with_every_problem(call, file):
    file.write_text(rule("statemnt.parsed") + rule("1", id="s", severity="x"))
    result = call("check", file)
    assert result.exit_code == 78
    assert "did you mean 'statement'" in result.stderr
    assert "severity 'x' is unknown" in result.stderr


def test_check_gives_the_problems_as_json(call, file):
    file.write_text(rule("nonsense"))
    result = call("check", file, "--json")
    assert result.exit_code == 78
    assert len(json.loads(result.stdout)["problems"]) == 1


def test_a_missing_file_is_a_problem_not_a_traceback(call, tmp_path):
    result = call("check", tmp_path / "none.yaml")
    assert result.exit_code == 78
    assert "No such file" in result.stderr


def test_an_unknown_option_is_wrong_usage(call):
    assert call("list", "--nonsense").exit_code == 2


def test_the_configuration_names_packs_and_constants(call, file, tmp_path):
    file.write_text("vars: {who: eve}\nrules:\n" + rule("session.user == vars.who"))
    config = tmp_path / "pgwarden.yaml"
    config.write_text(f"agent: {{rules: {{packs: [{file}], vars: {{whom: adam}}}}}}")
    result = call("check", "--config", config)
    assert result.exit_code == 78
    assert "no rule file has vars.whom; known: who" in result.stderr


def test_test_passes_where_every_example_says_what_it_must(call, file):
    file.write_text(
        rule(
            "'drop' in statement.verbs",
            examples="{match: [DROP /* x */ TABLE t], no_match: [SELECT 1, not SQL at all]}",
        )
    )
    result = call("test", file)
    assert result.exit_code == 0
    assert "3 of 3 examples pass" in result.output


def test_test_exits_1_and_names_the_example_that_fails(call, file):
    file.write_text(rule("'drop' in statement.verbs", examples="{match: [SELECT 1]}"))
    result = call("test", file)
    assert result.exit_code == 1
    assert "rules.yaml:7: r must match: SELECT 1" in result.output.replace("\n", "")
    (line,) = call("test", file, "--json").stdout.splitlines()
    assert json.loads(line) == {
        "rule": "r",
        "sql": "SELECT 1",
        "line": 7,
        "expected": "match",
        "passed": False,
        "parse_status": "parsed",
        "error": "",
    }


LIMIT = """\
rules: []
limits:
  - id: budget
    title: B
    for: identity.kind == 'ai_agent'
    rows_per_hour: 100
    severity: low
    action: deny
    unless: [{when: session.local, because: it was to end, until: 2020-01-01}]
    examples: {match: [{sql: SELECT 1, identity: {kind: ai_agent}}], no_match: [SELECT 1]}
"""


def test_limits_are_listed_checked_and_tested_like_rules(call, file):
    file.write_text(LIMIT)
    listed = json.loads(call("list", file, "--json").stdout)
    assert (listed["id"], listed["rows_per_hour"], listed["per"]) == ("budget", 100, "identity")
    assert "1 rules are good" in call("check", file).output
    assert "2 of 2 examples pass" in call("test", file).output


def test_check_names_an_exception_that_has_ended(call, file):
    file.write_text(LIMIT)
    result = call("check", file)
    assert result.exit_code == 0
    assert "budget: the exception 'it was to end' ended on 2020-01-01" in result.output


def test_check_names_the_column_of_a_mistake(call, file):
    file.write_text(LIMIT.replace("rows_per_hour: 100", "rows_per_hour: lots"))
    result = call("check", file)
    assert result.exit_code == 78
    assert "rules.yaml:6:20: rows_per_hour must be a whole number above 0" in result.stderr
