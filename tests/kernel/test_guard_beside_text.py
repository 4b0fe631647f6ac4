"""A DELETE or UPDATE that no text shows is refused by its plan: of rewrite rules and SQL bodies."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psycopg
import pytest

from agent.judging import Held
from rules.ruleset import RuleSet
from tests.conformance.servers import DEBIAN_MAJOR, Server, fetch
from tests.kernel.guarding import Agent
from tests.kernel.majors import MAJORS

pytestmark = [pytest.mark.kernel, pytest.mark.live]

ORDINARY = """
ALTER TABLE t ADD open bool; CREATE INDEX t_open ON t (id) WHERE open; SET enable_seqscan = off;
CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE heir () INHERITS (parent);
CREATE TABLE cascading (id int REFERENCES parent ON DELETE CASCADE);
INSERT INTO parent VALUES (7); INSERT INTO cascading VALUES (7);
CREATE TABLE parts (id int) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (-9) TO (10);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (10) TO (20);
CREATE VIEW through AS SELECT id FROM t;
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql
    AS 'BEGIN DELETE FROM u WHERE id = OLD.id + 100; RETURN OLD; END';
CREATE TRIGGER note BEFORE DELETE ON parent FOR EACH ROW EXECUTE FUNCTION note();
"""
BODIES = 14
"""BEGIN ATOMIC came with this version."""
RULES = """
rules:
  - id: whole
    title: DELETE and UPDATE need a condition
    severity: high
    when: >
      session.user == 'client' && ('delete' in statement.verbs || 'update' in statement.verbs)
      && 'missing_where' in statement.flags
    action: deny
    message: say which rows
    examples:
      match: [{sql: DELETE FROM t, session: {user: client}}]
      no_match: [{sql: DELETE FROM t WHERE id = 1, session: {user: client}}]
  - id: sealed
    title: Nobody writes what is sealed
    severity: high
    when: "session.user == 'client' && statement.writes.exists(w, w == 'public.sealed')"
    action: deny
    message: it is sealed
    examples:
      match: [{sql: DELETE FROM public.sealed, session: {user: client}}]
      no_match: [SELECT 1]
"""
OBJECTS = """
CREATE ROLE pgwarden LOGIN; CREATE ROLE client LOGIN SUPERUSER;
CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t SELECT n FROM generate_series(1, 5) n;
CREATE TABLE u (id int); INSERT INTO u VALUES (1), (2); CREATE TABLE sealed (id int);
CREATE TABLE inbox (id int);
CREATE VIEW one AS SELECT 1 AS id;
"""
FUNCTION = "CREATE OR REPLACE FUNCTION f() RETURNS void BEGIN ATOMIC {}; END"
WHOLE = ["DELETE FROM t", "DELETE FROM t USING u", "UPDATE t SET name = 'x' FROM u WHERE u.id = 1"]


@pytest.fixture(scope="module", params=MAJORS)
def cluster(request) -> Iterator[Server]:
    if request.param != DEBIAN_MAJOR:
        fetch()
    with Server(major=request.param, settings={"autovacuum": "off"}) as running:
        with running.connect() as admin:
            admin.execute(OBJECTS)
        yield running


@pytest.fixture(scope="module")
def agent(cluster, compiled_probes, tmp_path_factory) -> Iterator[Agent]:
    rules = tmp_path_factory.mktemp("rules") / "rules.yaml"
    rules.write_text(RULES)
    running = Agent(cluster, RuleSet.load([rules]), namer="pgwarden")
    with cluster.connect(user="client") as first:
        first.execute("TABLE u")  # names are read once somebody asks
    yield running
    running.close()


@pytest.fixture
def client(cluster, agent) -> Iterator[psycopg.Connection]:
    with cluster.connect(user="client") as connection:
        yield connection
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (5,)


@pytest.fixture
def admin(cluster) -> Iterator[psycopg.Connection]:
    """Whom no rule means."""
    with cluster.connect() as connection:
        yield connection


@pytest.fixture
def bodies(cluster) -> None:
    if cluster.major < BODIES:
        pytest.skip("no function has SQL for its body yet")


def refused(client: psycopg.Connection, sql: str, rule: str = "whole", times: int = 3) -> None:
    for _ in range(times):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=rule):
            client.execute(sql)


def all_held(agent: Agent) -> int:
    agent.held("")
    return sum(isinstance(event, Held) for event in agent.events)


def soon_not_held(agent: Agent, client: psycopg.Connection, sql: str) -> None:
    for _ in range(4):
        client.execute(sql)
        client.execute("SELECT 'pause'")
        time.sleep(0.1)
    before = all_held(agent)
    for _ in range(10):
        client.execute(sql)
    assert all_held(agent) == before


@pytest.mark.parametrize("body", WHOLE)
def test_a_body_that_changes_all_rows_is_refused(client, admin, bodies, body):
    admin.execute(FUNCTION.format(body))
    refused(client, "SELECT f()")


def test_a_body_that_writes_a_forbidden_table_is_refused(client, admin, bodies):
    admin.execute(FUNCTION.format("INSERT INTO sealed VALUES (1)"))
    refused(client, "SELECT f()", "sealed")


def test_a_body_with_a_condition_runs_and_is_soon_not_held_any_more(agent, client, admin, bodies):
    admin.execute(FUNCTION.format("DELETE FROM t WHERE id = -1; INSERT INTO u VALUES (3)"))
    soon_not_held(agent, client, "SELECT f()")


def test_a_body_that_loses_its_condition_is_refused_from_then_on(client, admin, bodies):
    for condition in ("name = 'nobody'", "id IN (SELECT id + 100 FROM u)"):
        admin.execute(FUNCTION.format(f"DELETE FROM t WHERE {condition}"))
        for _ in range(5):
            client.execute("SELECT f()")
        admin.execute(FUNCTION.format("DELETE FROM t"))
        refused(client, "SELECT f()")


@pytest.mark.parametrize("action", WHOLE)
@pytest.mark.parametrize(
    ("event", "sql"),
    [
        ("INSERT TO inbox DO ALSO", "INSERT INTO inbox VALUES (1)"),
        ("UPDATE TO one DO INSTEAD", "UPDATE one SET id = 2 WHERE id = 1"),
        ("DELETE TO one DO INSTEAD", "DELETE FROM one WHERE id = 1"),
        ("DELETE TO u DO ALSO", "DELETE FROM u WHERE id = 1"),
    ],
)
def test_a_rewrite_rule_that_changes_all_rows_is_refused(client, admin, event, sql, action):
    admin.execute(f"CREATE OR REPLACE RULE r AS ON {event} {action}")
    try:
        refused(client, sql)
    finally:
        admin.execute(f"DROP RULE r ON {event.split()[2]}")


HARMLESS_BESIDE = [
    "WITH a AS (DELETE FROM t WHERE id = -1 RETURNING 1) DELETE FROM one WHERE id = 1",
    "WITH a AS (UPDATE t SET name = 'x' WHERE id = -1 RETURNING 1) DELETE FROM one WHERE id = 1",
    "WITH a AS (INSERT INTO t SELECT -1 WHERE false RETURNING 1) DELETE FROM one WHERE id = 1",
]


@pytest.mark.parametrize("sql", HARMLESS_BESIDE)
def test_a_harmless_clause_about_the_same_table_hides_no_rewrite_rule(client, admin, sql):
    admin.execute("CREATE RULE r AS ON DELETE TO one DO INSTEAD DELETE FROM t")
    try:
        refused(client, sql)
    finally:
        admin.execute("DROP RULE r ON one")


def test_a_rule_beside_a_harmless_clause_is_refused_once_its_condition_is_gone(client, admin):
    for condition in ("WHERE id = -2", ""):
        admin.execute(
            f"CREATE OR REPLACE RULE r AS ON DELETE TO one DO INSTEAD DELETE FROM t {condition}"
        )
        for _ in range(5 if condition else 0):
            client.execute(HARMLESS_BESIDE[0])
    refused(client, HARMLESS_BESIDE[0])
    admin.execute("DROP RULE r ON one")


@pytest.mark.parametrize(
    "sql",
    [
        "WITH a AS (DELETE FROM t WHERE id = -1 RETURNING 1) DELETE FROM t WHERE id = -2",
        "WITH a AS (UPDATE t SET name = 'y' WHERE id = -1 RETURNING 1) DELETE FROM t WHERE id = -2",
        "DELETE FROM t WHERE id = -1; DELETE FROM t WHERE id = -2",
        "DELETE FROM t WHERE open",
        "BEGIN; DELETE FROM t WHERE open; COMMIT",
        "WITH a AS (DELETE FROM t WHERE open RETURNING id) DELETE FROM u USING a WHERE u.id = a.id",
        "DELETE FROM parent WHERE id = -1",
        "WITH a AS (DELETE FROM parent WHERE id = -1 RETURNING 1) DELETE FROM parent WHERE id = -2",
        "DELETE FROM heir WHERE id = -1; DELETE FROM parent WHERE id = -1",
        "DELETE FROM parent WHERE id = 7",
        "DELETE FROM parts WHERE id = -1",
        "UPDATE parts SET id = 3 WHERE id = 4",
        "WITH a AS (DELETE FROM parts_1 WHERE id = -1 RETURNING 1) DELETE FROM parts WHERE id = -2",
        "DELETE FROM through WHERE id = -1",
        "WITH a AS (DELETE FROM t WHERE id = -1 RETURNING 1) DELETE FROM through WHERE id = -2",
    ],
)
def test_ordinary_changes_of_a_table_pass(client, admin, sql):
    """Partial indexes, children, partitions, cascades and triggers among them."""
    admin.execute(ORDINARY)
    try:
        client.execute(sql)
    finally:
        admin.execute(
            "DROP TABLE parent, heir, parts, cascading CASCADE; DROP VIEW through;"
            "DROP INDEX t_open; ALTER TABLE t DROP open; DROP FUNCTION note() CASCADE"
        )


def test_a_rewrite_rule_with_a_condition_runs_and_is_soon_not_held_any_more(agent, client, admin):
    admin.execute("CREATE RULE r AS ON INSERT TO inbox DO ALSO DELETE FROM t WHERE id = -NEW.id")
    try:
        soon_not_held(agent, client, "INSERT INTO inbox VALUES (1)")
    finally:
        admin.execute("DROP RULE r ON inbox")


def test_a_rewrite_rule_that_loses_its_condition_is_refused_from_then_on(client, admin):
    for condition in ("WHERE name = 'nobody'", ""):
        admin.execute(
            f"CREATE OR REPLACE RULE r AS ON DELETE TO one DO INSTEAD DELETE FROM t {condition}"
        )
        if condition:
            for _ in range(5):
                client.execute("DELETE FROM one WHERE id = 1")
    refused(client, "DELETE FROM one WHERE id = 1")
    admin.execute("DROP RULE r ON one")


@pytest.mark.parametrize(
    ("sql", "values"),
    [
        ("DELETE FROM t WHERE id = -1", None),
        ("UPDATE t SET name = 'x' WHERE true", None),
        ("DELETE FROM u WHERE %s::int IS NULL OR id = -1", [None]),
    ],
)
def test_what_stands_in_the_text_goes_by_the_text(client, sql, values):
    """A condition that is true for every row is another flag, and another rule."""
    with client.transaction(force_rollback=True):
        client.execute(sql, values)
