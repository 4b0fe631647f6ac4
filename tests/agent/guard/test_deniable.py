"""Which functions rules could refuse wherever they are called from."""

import pytest

from agent.guard.deniable import EVERY, asks_for_the_verb, deniable
from agent.probes.calls import all_calls, calls_of
from agent.sql.client import ParserClient
from rules import RuleSet

RULE = """
rules:
  - id: one
    title: One
    severity: high
    action: {action}
    message: no
    when: "{when}"
    examples: {{match: ["{match}"], no_match: [SELECT 1]}}
"""


def rules(tmp_path, when, match, action="deny"):
    file = tmp_path / "rules.yaml"
    file.write_text(RULE.format(when=when, match=match, action=action))
    return RuleSet.load([file])


def test_a_rule_about_functions_could_refuse_every_one(tmp_path):
    when = "statement.functions.exists(f, f.startsWith('lo_'))"
    assert deniable(rules(tmp_path, when, "SELECT lo_unlink(1)")) == EVERY


def test_a_rule_about_settings_could_refuse_set_config_alone(tmp_path):
    when = "'fsync' in statement.settings"
    assert deniable(rules(tmp_path, when, "SET fsync = off")) == {"set_config"}


def test_rules_about_who_or_about_tables_could_refuse_none(tmp_path):
    assert deniable(rules(tmp_path, "'t' in statement.reads", "TABLE t")) == frozenset()
    when = "'drop' in statement.verbs"
    assert deniable(rules(tmp_path, when, "DROP TABLE t")) == frozenset()


def test_set_config_of_a_role_is_a_set(tmp_path):
    when = "'set' in statement.verbs"
    assert deniable(rules(tmp_path, when, "SET ROLE x")) == {"set_config"}


@pytest.mark.parametrize(
    "condition",
    [
        "!statement.verbs.all(v, v in ['select', 'show'])",
        "statement.verbs.exists(v, !(v in ['select']))",
        "statement.verbs.exists(v, v.startsWith('se'))",
        "statement.verbs.exists(v, v in vars.verbs)",
        "statement.verbs.exists(v, v in ['drop', 'set'])",
        "statement.verbs.exists(v, v == 's' + 'et')",
        "'s' + 'et' in statement.verbs",
        "'drop' in statement.verbs + ['drop']",
        "'drop' in statement.verbs.map(v, v == 'set' ? 'drop' : v)",
        "size(statement.verbs) > 1",
        'r"set" in statement.verbs',
        r"'\x73et' in statement.verbs",
        "statement.verbs[1] == 'x'",
        "'set' in statement . verbs",
    ],
)
def test_a_condition_for_which_a_set_may_make_a_difference_asks_for_it(condition):
    assert asks_for_the_verb(condition)


@pytest.mark.parametrize(
    "condition",
    [
        "'drop' in statement.verbs",
        "('create' in statement.verbs || 'alter' in statement.verbs) && size(statement.roles) > 1",
        "!('copy' in statement.verbs)\n && identity.proven",
        "statement.verbs.exists(v, v in ['create', 'drop',\n 'reset']) && true",
        "statement.verbs.exists(verb, verb == 'do')",
    ],
)
def test_a_condition_about_other_verbs_alone_does_not(condition):
    assert not asks_for_the_verb(condition)


def test_a_rule_that_stops_nothing_asks_for_no_probe(tmp_path):
    when = "'fsync' in statement.settings"
    assert deniable(rules(tmp_path, when, "SET fsync = off", "alert")) == frozenset()


def test_the_packs_could_refuse_functions():
    assert "lo_export" in deniable(RuleSet.load())


def one(symbol):
    (found,) = [call for call in all_calls() if call.symbol == symbol]
    return found


def test_a_call_reads_as_the_statement_that_would_make_it():
    setting = one("set_config_by_name")
    assert setting.sql(b"work_mem", b"1MB") == (b"SELECT set_config('work_mem', $2, $3)", True)
    assert setting.sql(None) == (b"SELECT set_config($1, $2, $3)", True)
    assert one("be_lo_export").sql(b"it's") == (b"SELECT lo_export($1, 'it''s')", True)
    assert one("pg_reload_conf").sql(None) == (b"SELECT pg_reload_conf()", True)


def test_a_value_that_rules_see_is_told_and_makes_the_answer_its_own():
    setting = one("set_config_by_name")
    assert setting.sql(b"Role", b"a'b") == (b"SELECT set_config('Role', 'a''b', $3)", False)
    assert setting.sql(b"role", None) == (b"SELECT set_config('role', $2, $3)", False)


def test_the_parser_understands_every_call():
    texts = [call.sql(b"a\\'b")[0] for call in all_calls()]
    parser = ParserClient(text_budget_seconds=5)
    try:
        shapes = parser.shapes(texts, [len(text) for text in texts])
    finally:
        parser.close()
    for call, shape in zip(all_calls(), shapes, strict=True):
        assert shape.functions == (call.name,), call
        assert shape.status == "parsed", call


def test_every_version_has_the_functions_that_rules_name_most():
    for major in range(12, 19):
        names = {call.name for call in calls_of(major)}
        assert {"set_config", "lo_export", "lo_import", "pg_read_file"} <= names
        assert {"pg_read_binary_file", "pg_terminate_backend", "pg_reload_conf"} <= names
