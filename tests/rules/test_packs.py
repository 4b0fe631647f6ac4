"""The default packs do what they say, through the parser that runs on a database host."""

from collections import Counter

import pytest

from agent.sql.client import ParserClient
from model.statement import ParseStatus
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


def test_a_statement_that_could_not_be_parsed_passes_by_default(shape_of):
    shape = shape_of("DROP TABEL public.orders")
    assert shape.status is ParseStatus.INVALID
    assert decide(RULES.judge(View(shape, EXAMPLE_SESSION, 24))) is None


def test_protected_schemas_can_be_narrowed(shape_of):
    rules = RuleSet.load(variables={"protected_schemas": ["hr"]})

    def denied(sql):
        return bool(rules.judge(View(shape_of(sql), EXAMPLE_SESSION, len(sql))))

    assert denied("DROP TABLE hr.salaries")
    assert denied("DROP TABLE salaries")
    assert not denied("DROP TABLE public.orders")
    assert not denied("TRUNCATE hr2.salaries")


def test_a_migration_login_may_drop(shape_of):
    rules = RuleSet.load(variables={"migration_users": ["alice"]})
    sql = "DROP TABLE public.orders"
    assert not rules.judge(View(shape_of(sql), EXAMPLE_SESSION, len(sql)))


@pytest.mark.parametrize(
    ("one", "last"),
    [
        ("DROP TABLE scratch.t{}", "DROP TABLE public.orders"),
        ("TRUNCATE scratch.t{}", "TRUNCATE public.orders"),
        ("DELETE FROM scratch.t{}", "DELETE FROM public.orders"),
        ("INSERT INTO scratch.t{} VALUES (1)", "UPDATE pg_authid SET rolsuper = true"),
        ("SELECT f{}()", "SELECT pg_read_file('/etc/passwd')"),
    ],
)
def test_a_protected_name_cannot_hide_behind_hundreds_of_others(shape_of, one, last):
    assert not RULES.judge(View(shape_of(one.format(1)), EXAMPLE_SESSION, 0))
    sql = "; ".join([*(one.format(number) for number in range(600)), last])
    assert RULES.judge(View(shape_of(sql), EXAMPLE_SESSION, len(sql)))
