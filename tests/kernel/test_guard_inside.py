"""What runs inside statements is refused before it runs, whatever sets it off; seen by effect."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from agent.guard.server import Server as Guarded
from agent.judging import Held
from rules.ruleset import RuleSet
from tests.conformance.servers import DEBIAN_MAJOR, Server, fetch
from tests.kernel.guard_stage import stopped
from tests.kernel.guarding import Agent
from tests.kernel.majors import MAJORS

pytestmark = [pytest.mark.kernel, pytest.mark.live]

COMMAND_OK = 1
RULES = """
rules:
  - id: no-drop
    title: Tables stay
    severity: high
    when: "'drop' in statement.verbs && statement.objects.exists(o, o.startsWith('table:'))"
    action: deny
    message: ask for it
    examples: {match: ["DROP TABLE t"], no_match: ["DROP VIEW t"]}
  - id: no-delete-of-all
    title: DELETE needs a condition
    severity: high
    when: "'delete' in statement.verbs && 'missing_where' in statement.flags"
    action: deny
    message: say which rows
    examples: {match: ["DELETE FROM t"], no_match: ["DELETE FROM t WHERE id = 1"]}
  - id: no-program
    title: No programs
    severity: high
    when: "'program' in statement.flags"
    action: deny
    message: not from here
    examples: {match: ["COPY t TO PROGRAM 'x'"], no_match: ["COPY t TO STDOUT"]}
  - id: no-numbers
    title: Numbers are not taken by hand
    severity: high
    when: "statement.functions.exists(f, f in ['nextval', 'setval', 'lo_unlink', 'pg_terminate_backend']) && statement.protocol == 'fastpath'"
    action: deny
    message: not so
    examples: {no_match: ["SELECT 1"]}
  - id: unreadable
    title: Not understood
    severity: high
    when: "!statement.parsed && !('harmless' in statement.flags)"
    action: deny
    message: not understood
    examples: {match: ["DELETE FROM ("], no_match: ["SELECT 1"]}
"""  # noqa: E501
SCHEMA = """
CREATE TABLE t (id int, name text);
CREATE TABLE log (what text);
CREATE TABLE owner (id int PRIMARY KEY);
CREATE TABLE owned (id int REFERENCES owner ON DELETE CASCADE);
CREATE SEQUENCE numbers;

CREATE FUNCTION sql_delete() RETURNS bigint LANGUAGE sql VOLATILE AS
  'INSERT INTO log VALUES (''before''); DELETE FROM t; SELECT count(*) FROM log';
CREATE FUNCTION static_delete() RETURNS void LANGUAGE plpgsql AS
  $$ BEGIN DELETE FROM t; END $$;
CREATE FUNCTION dynamic_delete() RETURNS void LANGUAGE plpgsql AS
  $$ BEGIN EXECUTE chr(68) || 'ELETE' || chr(32) || 'FROM t'; END $$;
CREATE FUNCTION outer_delete() RETURNS void LANGUAGE plpgsql AS
  $$ BEGIN PERFORM static_delete(); END $$;
CREATE FUNCTION definer_delete() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS
  $$ BEGIN DELETE FROM t; END $$;
CREATE FUNCTION swallows() RETURNS text LANGUAGE plpgsql AS
  $$ BEGIN DELETE FROM t; RETURN 'ran'; EXCEPTION WHEN insufficient_privilege THEN RETURN SQLERRM; END $$;
CREATE FUNCTION cursor_delete() RETURNS void LANGUAGE plpgsql AS
  $$ DECLARE r record; BEGIN FOR r IN SELECT 1 LOOP DELETE FROM t; END LOOP; END $$;
CREATE FUNCTION returning_loop() RETURNS void LANGUAGE plpgsql AS
  $$ DECLARE r record; BEGIN FOR r IN EXECUTE 'DELETE FROM t RETURNING id' LOOP NULL; END LOOP; END $$;
CREATE FUNCTION reused_address() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  FOR i IN 1..20 LOOP
    EXECUTE CASE WHEN i < 20 THEN 'CREATE TEMP TABLE IF NOT EXISTS z()' ELSE rpad('DELETE FROM t', 35) END;
  END LOOP;
END $$;
CREATE FUNCTION planned() RETURNS int LANGUAGE plpgsql IMMUTABLE AS
  $$ DECLARE r record; BEGIN FOR r IN EXECUTE 'SELECT 1 FROM sql_delete()' LOOP NULL; END LOOP; RETURN 1; END $$;
CREATE PROCEDURE sql_procedure() LANGUAGE sql AS 'DELETE FROM t; INSERT INTO log VALUES (''after'')';
CREATE PROCEDURE drops() LANGUAGE plpgsql AS $$ BEGIN DROP TABLE t; END $$;
CREATE PROCEDURE commits() LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO log VALUES ('c'); COMMIT; EXECUTE 'DRO' || 'P TABLE t'; END $$;
CREATE PROCEDURE programs(file text) LANGUAGE plpgsql AS
  $$ BEGIN EXECUTE format('COPY log TO PROG' || 'RAM %L', 'cat > ' || file); END $$;

CREATE TABLE triggered (id int);
CREATE FUNCTION on_triggered() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN DELETE FROM t; RETURN NULL; END $$;
CREATE TRIGGER one AFTER INSERT ON triggered FOR EACH ROW EXECUTE FUNCTION on_triggered();
CREATE TABLE late (id int);
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION on_triggered();
CREATE TABLE indexed (id int);
CREATE FUNCTION indexing(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
  $$ BEGIN IF $1 = 7 THEN PERFORM sql_delete(); END IF; RETURN $1; END $$;
CREATE INDEX ON indexed (indexing(id));

CREATE FUNCTION harmless(n int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE a int := 0; b int[] := '{1,2}'; r record; c CURSOR FOR SELECT id FROM t WHERE id < 3;
BEGIN
  a := (SELECT count(*) FROM t WHERE id < n);
  b[1] := (SELECT max(id) FROM t);
  IF EXISTS (SELECT 1 FROM t WHERE id = a) AND NOT EXISTS (SELECT 1 FROM log WHERE what = 'delete') THEN
    a := a + 1;
  END IF;
  FOR r IN SELECT * FROM t WHERE id <= 3 LOOP
    UPDATE t SET name = 'x' || r.id WHERE id = r.id;
  END LOOP;
  FOR r IN c LOOP a := a + (SELECT count(*) FROM log WHERE what = 'drop'); END LOOP;
  DELETE FROM t WHERE id = -1;
  CREATE TEMP TABLE IF NOT EXISTS made AS SELECT 1 AS one;
  RETURN CASE WHEN a > (SELECT count(*) FROM log WHERE what = 'no update or delete') THEN a ELSE 0 END;
END $$;
"""  # noqa: E501


@pytest.fixture(scope="module", params=MAJORS)
def cluster(request) -> Iterator[Server]:
    if request.param != DEBIAN_MAJOR:
        fetch()
    with Server(major=request.param, log_format="stderr") as running:
        with running.connect() as admin:
            admin.execute(SCHEMA)
        yield running


@pytest.fixture(scope="module", params=[False, True], ids=["untold", "told"])
def agent(request, cluster, compiled_probes, tmp_path_factory) -> Iterator[Agent]:
    file = tmp_path_factory.mktemp("rules") / "rules.yaml"
    file.write_text(RULES)
    running = Agent(cluster, RuleSet.load([file]), nested=request.param)
    yield running
    running.close()


@pytest.fixture
def client(cluster, agent) -> Iterator[psycopg.Connection]:
    postmaster = cluster.postmaster_pid
    with cluster.connect() as connection:
        connection.execute("INSERT INTO t SELECT n, 'n' FROM generate_series(1, 5) n")
        connection.execute("SET client_min_messages = warning")
        yield connection
        # The session lives on, and nothing of the server ended or stands still.
        if not connection.closed:
            connection.execute("ROLLBACK")
            assert connection.execute("SELECT 1").fetchone() == (1,)
            connection.execute("DELETE FROM t WHERE id > 0")
    assert cluster.postmaster_pid == postmaster
    assert stopped(Guarded.running(postmaster, cluster.major)) == []


def rows(client: psycopg.Connection) -> int:
    return client.execute("SELECT count(*) FROM t WHERE id > 0").fetchone()[0]


CALLS = [
    "SELECT sql_delete()",
    "SELECT static_delete()",
    "SELECT dynamic_delete()",
    "SELECT outer_delete()",
    "SELECT definer_delete()",
    "SELECT cursor_delete()",
    "SELECT returning_loop()",
    "SELECT reused_address()",
    "SELECT planned()",
    "DO $$ BEGIN EXECUTE 'DROP' || ' TABLE t'; END $$",
    "CALL sql_procedure()",
    "CALL drops()",
    "CALL commits()",
    "INSERT INTO triggered VALUES (1)",
    "INSERT INTO late VALUES (1)",
    "INSERT INTO indexed VALUES (7)",
    "EXPLAIN ANALYZE SELECT static_delete()",
    "CREATE TABLE made AS SELECT sql_delete()",
    "COPY (SELECT sql_delete()) TO '/dev/null'",
    "COPY triggered FROM PROGRAM 'echo 1'",
    "SELECT 1; SELECT static_delete(); SELECT 2",
]


@pytest.mark.parametrize("text", CALLS)
def test_what_a_statement_sets_off_is_refused_every_time(agent, client, text):
    """Twenty times: later ones find warm caches, and plans that were kept."""
    for _ in range(20):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="blocked by pgwarden"):
            client.execute(text)
    assert rows(client) == 5


@pytest.mark.parametrize("text", ["SELECT static_delete()", "INSERT INTO triggered VALUES (1)"])
def test_prepared_statements_and_transactions_are_no_way_round(agent, client, text):
    for _ in range(20):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            client.execute(text, prepare=True)
        client.execute("BEGIN; SAVEPOINT s")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            client.execute(text, prepare=True)
        client.execute("ROLLBACK TO s")
        assert rows(client) == 5
        client.execute("COMMIT")


def test_deferred_triggers_are_refused_at_commit(agent, client):
    client.execute("BEGIN; INSERT INTO late VALUES (1)")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        client.execute("COMMIT")
    assert rows(client) == 5


def test_an_error_that_is_caught_has_still_kept_it_from_running(agent, client):
    for _ in range(5):
        (words,) = client.execute("SELECT swallows()").fetchone()
        assert "rule no-delete-of-all" in words
    assert rows(client) == 5


def test_a_program_is_never_started(agent, client):
    marker = Path(f"/tmp/pgwarden-{time.time_ns()}")
    for _ in range(5):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            client.execute(f"CALL programs('{marker}')")
    time.sleep(0.2)
    assert not marker.exists()


def test_event_triggers_are_no_way_round(agent, client):
    client.execute(
        "CREATE OR REPLACE FUNCTION on_command() RETURNS event_trigger LANGUAGE plpgsql AS "
        "$$ BEGIN EXECUTE 'DELETE' || ' FROM t'; END $$; "
        "CREATE EVENT TRIGGER ours ON ddl_command_end WHEN TAG IN ('CREATE TABLE') "
        "EXECUTE FUNCTION on_command()"
    )
    try:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            client.execute("CREATE TABLE another (id int)")
        assert rows(client) == 5
    finally:
        client.execute("DROP EVENT TRIGGER ours")


def test_what_execute_runs_is_refused_by_its_own_text(agent, client):
    client.pgconn.prepare(b"purge", b"DELETE FROM t")
    client.pgconn.prepare(b"away", b"DROP TABLE t")
    for name in ("purge", "away"):
        for text in (f"EXECUTE {name}", f"DO $$ BEGIN EXECUTE 'EXECUTE {name}'; END $$"):
            for _ in range(3):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    client.execute(text)
    assert rows(client) == 5


def test_a_named_portal_of_the_client_is_judged(agent, client):
    with client.transaction():
        with client.cursor(name="slow") as cursor:
            cursor.execute("SELECT id FROM t ORDER BY id")
            assert cursor.fetchall() == [(n,) for n in range(1, 6)]
        with client.cursor(name="slow") as cursor:
            cursor.execute("SELECT static_delete()")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                cursor.fetchall()
    assert rows(client) == 5


def test_harmless_functions_run_and_are_soon_not_held_any_more(agent, client):
    for _ in range(4):
        assert client.execute("SELECT harmless(3)").fetchone()[0] >= 0
        client.execute("SELECT 'pause'")
        time.sleep(0.1)
    before = all_held(agent)
    for _ in range(10):
        client.execute("SELECT harmless(3)")
    assert all_held(agent) == before


def test_the_checks_of_foreign_keys_run(agent, client):
    client.execute("INSERT INTO owner VALUES (1)")
    client.execute("INSERT INTO owned VALUES (1)")
    client.execute("DELETE FROM owner WHERE id = 1")
    assert client.execute("SELECT count(*) FROM owned").fetchone() == (0,)


def test_a_thousand_refusals_in_one_block_leave_the_server_as_it_was(agent, client):
    started = client.execute("SELECT pg_postmaster_start_time()").fetchone()
    client.execute(
        "CREATE OR REPLACE FUNCTION thousand() RETURNS int LANGUAGE plpgsql AS $f$ "
        "DECLARE n int := 0; BEGIN FOR i IN 1..1000 LOOP BEGIN EXECUTE 'DEL' || 'ETE FROM t'; "
        "EXCEPTION WHEN insufficient_privilege THEN n := n + 1; END; END LOOP; RETURN n; END $f$"
    )
    assert client.execute("SELECT thousand()").fetchone() == (1000,)
    assert rows(client) == 5
    assert client.execute("SELECT pg_postmaster_start_time()").fetchone() == started
    assert client.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)


def test_fastpath_calls_are_refused_by_the_functions_name(agent, client, cluster):
    number = client.execute("SELECT 'pg_catalog.nextval(regclass)'::regprocedure::oid").fetchone()[
        0
    ]
    sequence = client.execute("SELECT 'numbers'::regclass::oid::int").fetchone()[0]
    assert fastpath(cluster, number, sequence, 5) == [None] * 5
    assert client.execute("SELECT is_called FROM numbers").fetchone() == (False,)


def test_fastpath_calls_that_nobody_refuses_run_and_are_soon_not_held(agent, client, cluster):
    number = client.execute("SELECT 'pg_catalog.int4abs(int4)'::regprocedure::oid").fetchone()[0]
    before = agent.held(f"function call {number}")
    assert fastpath(cluster, number, -5, 5) == [5] * 5
    assert agent.held(f"function call {number}") - before == 1


class Argument(ctypes.Structure):
    _fields_ = (("len", ctypes.c_int), ("isint", ctypes.c_int), ("integer", ctypes.c_long))


def fastpath(cluster: Server, number: int, argument: int, times: int = 1) -> list[int | None]:
    """What ``PQfn`` returns, an int for an int, over a session of its own; None where refused."""
    libpq = ctypes.CDLL("libpq.so.5")
    for name in ("PQconnectdb", "PQfn"):
        getattr(libpq, name).restype = ctypes.c_void_p
    connection = ctypes.c_void_p(libpq.PQconnectdb(cluster.dsn().encode()))
    answers: list[int | None] = []
    for _ in range(times):
        answer, length = (ctypes.c_int * 4)(), ctypes.c_int()
        result = libpq.PQfn(
            connection, number, answer, ctypes.byref(length), 1,
            ctypes.byref(Argument(4, 1, argument)), 1,
        )  # fmt: skip
        done = libpq.PQresultStatus(ctypes.c_void_p(result)) == COMMAND_OK
        answers.append(answer[0] if done else None)
        libpq.PQclear(ctypes.c_void_p(result))
        time.sleep(0.1)
    libpq.PQfinish(connection)
    return answers


def all_held(agent: Agent) -> int:
    agent.held("")
    return sum(isinstance(event, Held) for event in agent.events)
