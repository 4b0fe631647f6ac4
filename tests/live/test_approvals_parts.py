"""What a statement is made of is asked for once, and let pass once: with real clients."""

import os
import re

import psycopg
import pytest

from tests.live.postgres import PostgresCluster, server_folder
from tests.live.running import Running, prepare

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
    pytest.mark.skipif(not server_folder().exists(), reason="./run setup installs PostgreSQL"),
]

RULES = """
rules:
  - id: orders-read
    title: Orders are read
    severity: high
    action: deny
    message: orders may not be read
    when: "session.user == 'app' && statement.reads.exists(r, r.endsWith('orders'))"
    examples:
      match: [{sql: "SELECT * FROM shop.orders", session: {user: app}}]
      no_match: ["SELECT 1"]
  - id: no-files
    title: Files are written
    severity: high
    action: deny
    message: no files
    when: >
      session.user != 'postgres'
      && statement.functions.exists(f, f in ['lo_create', 'lo_get', 'pg_stat_reset_shared'])
    examples: {match: [{sql: "SELECT lo_create(1)", session: {user: app}}], no_match: ["SELECT 1"]}
"""
REQUEST = re.compile(r"request ([0-9A-HJKMNP-TV-Z]{10})\)")


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    rules = tmp_path_factory.mktemp("rules")
    (rules / "own.yaml").write_text(RULES)
    changes = {
        "agent": {
            "guard": {"mode": "enforce", "deadline_ms": 5000, "on_timeout": "deny"},
            "identity": {"processes": False},
            "rules": {"packs": [str(rules)]},
        }
    }
    with PostgresCluster() as cluster:
        prepare(cluster)
        with cluster.connect() as connection:
            connection.execute(
                "GRANT CREATE ON SCHEMA shop TO app;"
                "CREATE VIEW shop.behind AS SELECT * FROM shop.orders;"
                "GRANT SELECT ON shop.behind TO app;"
                "CREATE FUNCTION shop.made() RETURNS oid LANGUAGE sql AS"
                " 'SELECT lo_create(0::oid)'"
            )
        with Running(cluster, changes) as up:
            yield up


def play(running, *messages):
    """The requests of what was refused, in one session; a message is what is sent at once."""
    found = []
    with running.cluster.connect(user="app") as connection:
        for message in messages:
            try:
                connection.execute(message)
            except psycopg.errors.InFailedSqlTransaction:
                break
            except psycopg.errors.InsufficientPrivilege as error:
                found += REQUEST.findall(str(error))
    return found


def granted(running, request, *more):
    running.wait(
        lambda: running.answered("approvals", "show", request).returncode == 0, f"of {request}"
    )
    done = running.answered("approvals", "grant", request, "--because", "ticket 7", *more)
    assert done.returncode == 0, (done.stdout, done.stderr, running.log[-2000:])


def uses(running, request):
    return len(
        running.sql(f"SELECT 1 FROM approvals WHERE request = '{request}' AND step = 'used'")
    )


STATEMENTS = {
    "create_table_as": ["CREATE TEMP TABLE copy_a AS SELECT * FROM shop.orders;"],
    "create_table_as_of_a_view": ["CREATE TEMP TABLE copy_b AS SELECT * FROM shop.behind ;"],
    "second_of_a_string": ["SELECT 1; CREATE TEMP TABLE copy_c AS TABLE shop.orders; SELECT 2"],
    "copy": ["COPY (SELECT count(*) FROM shop.behind) TO '/dev/null';"],
    "explain": ["EXPLAIN ANALYZE SELECT * FROM shop.behind;"],
    "cursor": ["BEGIN", "DECLARE c CURSOR FOR SELECT * FROM shop.behind;", "FETCH 3 FROM c", "END"],
    "call": ["SELECT lo_create(0::oid);"],
    "calls": ["SELECT lo_create(0), lo_create(0::oid) FROM generate_series(1, 3);"],
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_of_several_parts_is_one_request_and_one_use(running, name):
    messages = STATEMENTS[name]
    if name == "copy":
        with running.cluster.connect() as connection:
            connection.execute("GRANT pg_write_server_files TO app")
    (request,) = play(running, *messages)
    granted(running, request)
    assert play(running, *messages) == []
    running.wait(lambda: uses(running, request) == 1, "one use")
    assert play(running, *messages)[:1] == [request]


def test_a_command_inside_a_function_is_one_request_and_one_use(running):
    body = "BEGIN CREATE TEMP TABLE got ON COMMIT DROP AS SELECT * FROM shop.behind; END"
    with running.cluster.connect() as connection:
        connection.execute(
            f"CREATE FUNCTION shop.copies() RETURNS void LANGUAGE plpgsql AS $f$ {body} $f$"
        )
    (request,) = play(running, "SELECT shop.copies()")
    granted(running, request)
    assert play(running, "SELECT shop.copies()") == []
    running.wait(lambda: uses(running, request) == 1, "one use")


def test_a_grant_for_one_function_is_none_for_what_another_one_calls(running):
    outer = "SELECT lo_get(0), shop.made()"
    (request,) = play(running, outer)
    granted(running, request)
    (inner,) = play(running, "SELECT shop.made()")
    assert inner != request
    sql = "SELECT shop.made() WHERE lo_create(0) > 0 OR true"
    (of_both,) = play(running, sql)
    granted(running, of_both)
    assert play(running, sql) == []


TWICE = """
CREATE FUNCTION shop.{name}() RETURNS void LANGUAGE plpgsql AS $f$ BEGIN
    FOR i IN 1..2 LOOP EXECUTE '{sql}'; END LOOP;
END $f$
"""
INSIDE = {
    "query": "SELECT count(*) FROM shop.orders",
    "query_behind_a_view": "SELECT count(*) FROM shop.behind",
    "command": "CREATE TEMP TABLE IF NOT EXISTS again AS SELECT * FROM shop.orders",
    "copy": "COPY (SELECT count(*) FROM shop.behind) TO ''/dev/null''",
    "declare": "DECLARE again CURSOR FOR SELECT * FROM shop.orders'; EXECUTE 'CLOSE again",
}


@pytest.mark.parametrize("name", INSIDE)
def test_what_a_function_executes_twice_is_two_uses_although_it_is_one_message(running, name):
    with running.cluster.connect() as connection:
        connection.execute("GRANT pg_write_server_files TO app")
        connection.execute(TWICE.format(name=name, sql=INSIDE[name]))
    sql = f"SELECT shop.{name}()"
    (request,) = play(running, sql)
    granted(running, request)
    assert play(running, sql) == [request]
    running.wait(lambda: uses(running, request) == 1, "one use")
    denied = running.answered("approvals", "deny", request, "--because", "again")
    assert denied.returncode == 0, denied.stderr
    assert play(running, sql) == [request]
    granted(running, request, "--uses", "2")
    assert play(running, sql) == []
    running.wait(lambda: uses(running, request) == 3, "two uses more")


def test_a_cursor_of_the_extended_protocol_is_one_use(running):
    sql = "DECLARE c CURSOR FOR TABLE shop.orders"
    (request,) = play(running, "BEGIN", sql)
    granted(running, request)
    with running.cluster.connect(user="app") as connection:
        connection.autocommit = False
        connection.execute(sql, prepare=True)
        assert connection.execute("FETCH 2 FROM c").fetchall()
    running.wait(lambda: uses(running, request) == 1, "one use")


def test_what_sql_execute_runs_is_a_use_each_time(running):
    with running.cluster.connect() as connection:
        connection.execute(TWICE.format(name="prepared", sql="EXECUTE p"))
    prepare, sql = "PREPARE p AS TABLE shop.orders", "SELECT shop.prepared()"
    (request,) = play(running, prepare)
    granted(running, request, "--uses", "2")
    assert play(running, prepare, sql) == [request]
    running.wait(lambda: uses(running, request) == 2, "PREPARE and the first EXECUTE")


def test_a_name_that_means_another_table_in_the_same_message_lets_nothing_pass(running):
    """The grant is void by then, and used up."""
    with running.cluster.connect() as connection:
        connection.execute(
            "CREATE TABLE shop.old_orders AS SELECT 1 AS id;"
            "ALTER TABLE shop.old_orders OWNER TO app;"
            "CREATE FUNCTION shop.swap() RETURNS void LANGUAGE plpgsql AS $f$ BEGIN"
            " EXECUTE 'SELECT FROM shop.old' || '_orders';"
            " EXECUTE 'ALTER TABLE shop.old' || '_orders RENAME TO older';"
            " EXECUTE 'CREATE TABLE shop.old' || '_orders AS SELECT 2 AS id';"
            " EXECUTE 'SELECT FROM shop.old' || '_orders'; END $f$"
        )
    (request,) = play(running, "SELECT FROM shop.old_orders")
    granted(running, request, "--uses", "5")
    assert play(running, "SELECT shop.swap()") == [request]
