"""The default packs do what they say, through the parser that runs on a database host."""

from collections import Counter

import pytest

from agent.sql.client import ParserClient
from model.verdict import RuleAction
from rules import RuleSet, View, decide
from rules.examples import run_examples
from rules.language.loader import EXAMPLE_SESSION

RULES = RuleSet.load()
DENIED = {
    "drop-protected",
    "truncate-protected",
    "alter-drop-protected",
    "unbounded-write",
    "catalog-write",
    "copy-program",
    "unreadable",
}


@pytest.fixture(scope="module")
def shape_of():
    with ParserClient() as parser:
        yield lambda sql: parser.shapes([sql.encode()], [len(sql.encode())])[0]


@pytest.fixture(scope="module")
def results(shape_of):
    return run_examples(RULES, shape_of)


@pytest.mark.parametrize("rule_id", [rule.id for rule in RULES.rules])
def test_a_rule_matches_its_examples_and_nothing_that_it_must_not(results, rule_id):
    wrong = [
        f"{'must match' if r.example.matches else 'must not match'}: {r.example.sql} -> {r.shape}"
        for r in results
        if r.rule.id == rule_id and not r.passed
    ]
    assert not wrong, "\n".join(wrong)


def test_a_rule_has_at_least_four_examples_of_each_kind(results):
    counts = Counter((r.rule.id, r.example.matches) for r in results)
    few = [(rule.id, m) for rule in RULES.rules for m in (True, False) if counts[rule.id, m] < 4]
    assert not few


def test_only_what_destroys_or_runs_programs_is_denied():
    assert {rule.id for rule in RULES.rules if rule.action is RuleAction.DENY} == DENIED
    assert {rule.action for rule in RULES.rules} == {RuleAction.DENY, RuleAction.ALERT}


EVERYDAY = """
BEGIN; SELECT 1; COMMIT
SELECT abalance FROM pgbench_accounts WHERE aid = 42
UPDATE pgbench_accounts SET abalance = abalance + 7 WHERE aid = 42
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (1, 1, 42, 7, CURRENT_TIMESTAMP)
SET statement_timeout = '5s'
SET TIME ZONE 'UTC'
SET application_name = 'web'
SELECT set_config('app.tenant', '7', true)
CREATE TEMP TABLE t AS SELECT * FROM public.orders
VACUUM ANALYZE pgbench_branches
DISCARD ALL
LISTEN jobs
PREPARE q (int) AS SELECT * FROM orders WHERE id = $1
EXECUTE q(7)
DECLARE c CURSOR FOR SELECT * FROM orders
CREATE INDEX CONCURRENTLY ON orders (customer)
GRANT SELECT ON orders TO analyst
REVOKE ALL ON orders FROM PUBLIC
SELECT pg_reload_conf()
SELECT pg_cancel_backend(42)
SELECT * FROM pg_stat_activity
ALTER TABLE orders ADD COLUMN note text
ALTER SYSTEM SET work_mem = '64MB'
COPY orders FROM STDIN
this is not SQL
""".strip().splitlines()


@pytest.mark.parametrize("sql", EVERYDAY)
def test_everyday_statements_pass_without_a_word(shape_of, sql):
    matches = RULES.judge(View(shape_of(sql), EXAMPLE_SESSION, len(sql)))
    assert [match.rule.id for match in matches] == []


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("DROP TABEL public.orders", "unreadable"),
        ("SELEC 'drop table t'", None),
        ("/*" + "x" * 70_000 + "*/ DROP TABLE public.orders", "drop-protected"),
        (" " * 900_000 + "DELETE FROM public.orders", "unbounded-write"),
        ("/*" * 5500 + "*/" * 5500 + " DROP TABLE public.orders", "unreadable"),
        ("INSERT INTO t VALUES " + ",".join(["(1, 'drop by')"] * 9_000), None),
    ],
)
def test_padding_is_no_way_round_and_bulk_inserts_pass(shape_of, sql, rule):
    match = decide(RULES.judge(View(shape_of(sql), EXAMPLE_SESSION, len(sql))))
    assert (match.rule.id if match else None) == rule


def test_what_was_captured_in_part_is_unreadable():
    with ParserClient() as parser:
        (shape,) = parser.shapes([b"INSERT INTO t VALUES (1"], [2_000_000])
    assert decide(RULES.judge(View(shape, EXAMPLE_SESSION, 2_000_000))).rule.id == "unreadable"


def test_other_encodings_are_read_as_the_server_reads_them():
    text = "DROP TABLE vögel -- ".encode("latin-1") + b"\xff"
    with ParserClient() as parser:
        (shape,) = parser.shapes([text], [len(text)])
    assert decide(RULES.judge(View(shape, EXAMPLE_SESSION, len(text)))).rule.id == "drop-protected"


def test_protected_schemas_can_be_narrowed(shape_of):
    rules = RuleSet.load(variables={"protected_schemas": ["hr"]})

    def denied(sql):
        return bool(rules.judge(View(shape_of(sql), EXAMPLE_SESSION, len(sql))))

    assert denied("DROP TABLE hr.salaries")
    assert denied("DROP TABLE salaries")
    assert not denied("DROP TABLE public.orders")
    assert not denied("TRUNCATE hr2.salaries")


@pytest.mark.parametrize("schema", ["scratch", "tmp", "temp", "sandbox"])
def test_a_schema_is_scratch_only_where_it_was_named(shape_of, schema):
    named = RuleSet.load(variables={"scratch_schemas": ["pg_temp", schema]})
    for sql in (f"DROP TABLE {schema}.t", f"TRUNCATE {schema}.t", f"DELETE FROM {schema}.t"):
        view = View(shape_of(sql), EXAMPLE_SESSION, len(sql))
        assert decide(RULES.judge(view)).rule.action is RuleAction.DENY
        assert not named.judge(view)


def test_a_migration_login_may_drop(shape_of):
    rules = RuleSet.load(variables={"migration_users": ["alice"]})
    sql = "DROP TABLE public.orders"
    assert not rules.judge(View(shape_of(sql), EXAMPLE_SESSION, len(sql)))


@pytest.mark.parametrize(
    ("one", "last"),
    [
        ("DROP TABLE pg_temp.t{}", "DROP TABLE public.orders"),
        ("TRUNCATE pg_temp.t{}", "TRUNCATE public.orders"),
        ("DELETE FROM pg_temp.t{}", "DELETE FROM public.orders"),
        ("INSERT INTO pg_temp.t{} VALUES (1)", "UPDATE pg_authid SET rolsuper = true"),
        ("SELECT f{}()", "SELECT pg_read_file('/etc/passwd')"),
    ],
)
def test_a_protected_name_cannot_hide_behind_hundreds_of_others(shape_of, one, last):
    assert not RULES.judge(View(shape_of(one.format(1)), EXAMPLE_SESSION, 0))
    sql = "; ".join([*(one.format(number) for number in range(600)), last])
    assert RULES.judge(View(shape_of(sql), EXAMPLE_SESSION, len(sql)))
