"""Who asked for what runs inside a statement: whoever sent that statement, and nobody else."""

import os

import psycopg
import pytest
from psycopg import sql

from tests.live.pooling import pooled
from tests.live.postgres import PostgresCluster, server_folder
from tests.live.running import Running, prepare

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
    pytest.mark.skipif(not server_folder().exists(), reason="./run setup installs PostgreSQL"),
]
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
RULES = """
rules:
  - id: agents-delete-nothing
    title: No AI agent deletes
    severity: high
    action: deny
    when: identity.kind == 'ai_agent' && 'delete' in statement.verbs
    message: ask a person
    examples:
      match: [{sql: "DELETE FROM t", identity: {kind: ai_agent}}]
      no_match: ["DELETE FROM t"]
"""
SCHEMA = """
CREATE TABLE victims (id int);
CREATE TABLE triggered (id int);
GRANT ALL ON victims, triggered TO app;
CREATE FUNCTION deletes() RETURNS void LANGUAGE plpgsql AS
  $$ BEGIN EXECUTE 'DE' || 'LETE FROM victims'; END $$;
CREATE FUNCTION deletes_outright() RETURNS void LANGUAGE plpgsql AS
  $$ BEGIN DELETE FROM victims; END $$;
CREATE FUNCTION planned() RETURNS int LANGUAGE plpgsql IMMUTABLE AS
  $$ DECLARE r record; BEGIN FOR r IN EXECUTE 'SELECT 1 FROM deletes_in_sql()' LOOP NULL; END LOOP;
  RETURN 1; END $$;
CREATE FUNCTION deletes_in_sql() RETURNS bigint LANGUAGE sql VOLATILE AS
  'DELETE FROM victims; SELECT count(*) FROM victims';
CREATE FUNCTION on_triggered() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN DELETE FROM victims; RETURN NULL; END $$;
CREATE TRIGGER one AFTER INSERT ON triggered FOR EACH ROW EXECUTE FUNCTION on_triggered();
CREATE PROCEDURE commits() LANGUAGE plpgsql AS
  $$ BEGIN PERFORM 1; COMMIT; DELETE FROM victims; END $$;
CREATE FUNCTION forges() RETURNS void LANGUAGE plpgsql AS
  $$ BEGIN EXECUTE 'DELETE FROM victims /*user=''the_dba''*/'; END $$;
CREATE FUNCTION denounces() RETURNS void LANGUAGE plpgsql AS
  $$ BEGIN EXECUTE 'DELETE FROM victims /*agent=''claude''*/'; END $$;
"""
DELETING = {
    "a function": "SELECT deletes()",
    "a function's own text": "SELECT deletes_outright()",
    "a block": "DO $$ BEGIN EXECUTE 'DE' || 'LETE FROM victims'; END $$",
    "a procedure that commits": "CALL commits()",
    "a trigger": "INSERT INTO triggered VALUES (1)",
    "the planner": "SELECT planned()",
    "a long text": "SELECT deletes(), '" + 3000 * "x" + "'",
    "a string of two": "SELECT 1; SELECT deletes()",
    "a prepared statement": "PREPARE p AS DELETE FROM victims; EXECUTE p",
    "a comment of the function's author": "SELECT forges()",
}
MANNERS = ("directly", "through pgbouncer")


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    rules = tmp_path_factory.mktemp("rules")
    (rules / "own.yaml").write_text(RULES)
    config = {
        "agent": {
            "guard": {"mode": "enforce"},
            "capture": {"nested": True},
            "identity": {
                "processes": False,
                "poolers": [{"name": "pgbouncer", "client_address": "127.0.0.1"}],
            },
            "rules": {"packs": [str(rules)]},
        }
    }
    with PostgresCluster() as cluster:
        prepare(cluster)
        with cluster.connect() as connection:
            connection.execute(SCHEMA)
        with Running(cluster, config) as up:
            yield up


@pytest.fixture(scope="module")
def port(running):
    with pooled(running.cluster) as (port, _):
        yield port


@pytest.fixture
def victims(running):
    """What they are that are left."""
    with running.cluster.connect(user="postgres", dbname="postgres") as connection:
        connection.execute("TRUNCATE victims; INSERT INTO victims VALUES (1), (2)")

        def left():
            return connection.execute("SELECT count(*) FROM victims").fetchone()[0]

        yield left


def connect(running, port, manner):
    """By a unix socket: what comes by TCP is taken for the pooler."""
    host, at = (running.cluster.sockets, running.cluster.port)
    if manner != "directly":
        host, at = "127.0.0.1", port
    return psycopg.connect(
        f"host={host} port={at} user=app dbname=postgres", autocommit=True, prepare_threshold=None
    )


@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize("asked", DELETING.values(), ids=DELETING.keys())
def test_what_a_statement_runs_is_refused_to_whom_its_comment_names(
    running, port, victims, manner, asked
):
    with connect(running, port, manner) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(f"{asked} /*agent='claude'*/")
        connection.execute("DEALLOCATE ALL")
    assert victims() == 2


@pytest.mark.parametrize("manner", MANNERS)
def test_what_was_let_pass_for_others_is_not_let_pass_for_an_agent(running, port, victims, manner):
    with connect(running, port, manner) as connection:
        for _ in range(5):
            connection.execute("SELECT deletes() /*application='shop'*/")
            connection.execute("SELECT deletes()")
        assert victims() == 0
    victims_again(running)
    with connect(running, port, manner) as connection:
        for comment in ("/*agent='claude'*/", "/*agent='cursor'*/"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"SELECT deletes() {comment}")
        assert victims() == 2
        connection.execute("SELECT deletes()")
        assert victims() == 0


def victims_again(running):
    with running.cluster.connect() as connection:
        connection.execute("INSERT INTO victims VALUES (1), (2)")


@pytest.mark.parametrize("manner", MANNERS)
def test_executing_what_others_prepared_is_asked_for_by_whoever_executes(
    running, port, victims, manner
):
    with connect(running, port, manner) as connection:
        connection.execute("BEGIN; PREPARE q AS DELETE FROM victims /*user='the_dba'*/")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("EXECUTE q /*agent='claude'*/")
        connection.execute("ROLLBACK; DEALLOCATE ALL")
        assert victims() == 2
        with connection.transaction():
            connection.execute("PREPARE r AS DELETE FROM victims /*user='the_dba'*/")
            connection.execute("EXECUTE r")
            connection.execute("DEALLOCATE r")
    assert victims() == 0


def test_a_prepared_statement_is_asked_for_by_whom_its_own_text_names(running, port, victims):
    with connect(running, port, "directly") as connection:
        for _ in range(3):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("SELECT deletes() /*agent='claude'*/", prepare=True)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("SELECT planned(), %s /*agent='claude'*/", (1,), prepare=True)
        assert victims() == 2
        connection.execute("SELECT deletes()", prepare=True)
    assert victims() == 0


@pytest.mark.parametrize("manner", MANNERS)
def test_a_comment_in_a_function_accuses_nobody_who_calls_it(running, port, victims, manner):
    with connect(running, port, manner) as connection:
        connection.execute("SELECT denounces()")
    assert victims() == 0


@pytest.mark.parametrize("manner", MANNERS)
def test_rows_of_what_ran_inside_have_identity_and_trace_of_their_statement(running, port, manner):
    name = manner.split()[0]
    inner = f"INSERT INTO victims SELECT 3 AS {name} /*user='the_dba'*/"
    block = sql.SQL("DO {}").format(sql.Literal(f"BEGIN EXECUTE $${inner}$$; END"))
    with connect(running, port, manner) as connection:
        text = block.as_string(connection)
        connection.execute(f"{text} /*agent='claude',traceparent='{TRACE}'*/")
        connection.execute(text)
    query = f"SELECT * FROM statements WHERE text LIKE 'INSERT%{name}%'"
    running.wait(lambda: len(running.sql(query)) > 1, "both nested statements")
    rows = running.sql(query)
    known = {(row["identity_kind"], row["identity_name"], row["trace_parent"]) for row in rows}
    assert known == {("ai_agent", "claude", TRACE), ("service", "app", "")}
    assert all(row["parent_id"] for row in rows)
