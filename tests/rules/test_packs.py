"""The default packs do what they say, through the parser that runs on a database host."""

from collections import Counter
from dataclasses import replace

import pytest

from agent.sql.client import ParserClient
from model.session import Identity, IdentityKind
from model.verdict import RuleAction
from rules import RuleSet, Tuning, View, decide
from rules.examples import run_examples, view_of
from rules.language.examples import EXAMPLE_SESSION

RULES = RuleSet.load()
DENIED = {
    "drop-protected",
    "temporary-tie",
    "truncate-protected",
    "alter-drop-protected",
    "unbounded-write",
    "catalog-write",
    "copy-program",
    "foreign-library",
    "large-objects-unlinked",
    "tuple-surgery",
    "unreadable",
}
DENIED_TO_AGENTS = {
    "ai-agent-write",
    "ai-agent-ddl",
    "ai-agent-side-effect",
    "ai-agent-outside",
    "ai-agent-unreadable",
    "ai-agent-budget",
}
EVERY_RULE = (*RULES.rules, *(limit.rule for limit in RULES.limits.values()))


@pytest.fixture(scope="module")
def shape_of():
    with ParserClient() as parser:
        yield lambda sql: parser.shapes([sql.encode()], [len(sql.encode())])[0]


@pytest.fixture(scope="module")
def results(shape_of):
    return run_examples(RULES, shape_of)


@pytest.mark.parametrize("rule_id", [rule.id for rule in EVERY_RULE])
def test_a_rule_matches_its_examples_and_nothing_that_it_must_not(results, rule_id):
    wrong = [
        f"{'must match' if r.example.matches else 'must not match'}: {r.example.sql} -> {r.shape}"
        for r in results
        if r.rule.id == rule_id and not r.passed
    ]
    assert not wrong, "\n".join(wrong)


def test_a_rule_has_at_least_four_examples_of_each_kind(results):
    counts = Counter((r.rule.id, r.example.matches) for r in results)
    few = [(rule.id, m) for rule in EVERY_RULE for m in (True, False) if counts[rule.id, m] < 4]
    assert not few


def test_only_what_destroys_or_runs_programs_is_denied_to_everybody():
    denied = {rule.id for rule in EVERY_RULE if rule.action is RuleAction.DENY}
    assert denied == DENIED | DENIED_TO_AGENTS
    assert {rule.action for rule in EVERY_RULE} == {RuleAction.DENY, RuleAction.ALERT}


KINDS = [IdentityKind.SERVICE, IdentityKind.HUMAN, IdentityKind.UNKNOWN]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_denied_to_agents_is_denied_to_nobody_else(results, kind):
    for result in results:
        view = view_of(RULES, result.example, result.shape)
        who = replace(view.session, identity=Identity(kind, "n", 1.0, proven=True))
        matches = RULES.judge(view._replace(session=who))
        assert not DENIED_TO_AGENTS & {match.rule.id for match in matches}, result.example.sql


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
SELECT id, email, password_hash FROM users WHERE email = 'a@example.com'
SELECT token, expires_at FROM sessions WHERE id = 7
SELECT nextval('orders_id_seq')
SELECT lo_get(document) FROM contracts WHERE id = 7
SELECT pg_advisory_xact_lock(42)
SELECT * FROM pg_roles
SELECT rolname FROM pg_authid
ALTER ROLE etl PASSWORD 'SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy'
CREATE SERVER other FOREIGN DATA WRAPPER file_fdw
this is not SQL
""".strip().splitlines()


CLASSES = {"personal": ["hr.people", "public.customers.email"]}


def test_everyday_statements_pass_although_classes_of_data_are_configured(shape_of):
    rules = RuleSet.load(tuning=Tuning(data_classes=CLASSES))
    for sql in EVERYDAY:
        assert not rules.judge(View(shape_of(sql), EXAMPLE_SESSION, len(sql))), sql
    for sql in ("SELECT email FROM customers WHERE id = 7", "INSERT INTO hr.people VALUES (1)"):
        assert not rules.judge(View(shape_of(sql), EXAMPLE_SESSION, len(sql))), sql
    for sql in ("SELECT email FROM customers", "COPY hr.people TO STDOUT"):
        assert rules.judge(View(shape_of(sql), EXAMPLE_SESSION, len(sql))), sql


def test_an_agent_reads_the_schemas_that_it_was_given(shape_of):
    rules = RuleSet.load(variables={"agent_schemas": ["shop"]})
    helper = Identity(IdentityKind.AI_AGENT, "helper", 0.8, proven=True)
    agent = replace(EXAMPLE_SESSION, identity=helper)

    def denied(sql):
        return bool(rules.judge(View(shape_of(sql), agent, len(sql))))

    assert not denied("SELECT * FROM shop.orders WHERE id = 7")
    assert not denied("SELECT 1 FROM pg_class, information_schema.tables LIMIT 1")
    assert denied("SELECT * FROM hr.people WHERE id = 7")
    assert denied("SELECT * FROM shop.orders o JOIN people p ON p.id = o.id WHERE o.id = 7")


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
