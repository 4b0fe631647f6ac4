"""A refused statement is asked for, granted, runs once, and not again: with real clients."""

import json
import os
import re
import signal
import subprocess
import time

import psycopg
import pytest

from tests.live.postgres import PostgresCluster, server_folder
from tests.live.running import COMMAND, Running, prepare

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
    pytest.mark.skipif(not server_folder().exists(), reason="./run setup installs PostgreSQL"),
]

ENFORCE = {
    "agent": {
        "guard": {"mode": "enforce", "contact": "dba@example.com"},
        # The tests' clients and approver run as one account: evidence that would forbid any grant.
        "identity": {"processes": False},
    }
}


@pytest.fixture(scope="module")
def running():
    with PostgresCluster() as cluster:
        prepare(cluster)
        with Running(cluster, ENFORCE) as up:
            yield up


def refused(running, sql, user="app", dbname="postgres"):
    """The request's id from what psql prints."""
    done = running.cluster.psql(sql, user=user, dbname=dbname)
    assert "blocked by pgwarden" in done.stderr, (done.stdout, done.stderr)
    found = re.search(r"request ([0-9A-HJKMNP-TV-Z]{10})\)", done.stderr)
    assert found, done.stderr
    return found[1]


def shown(running, request):
    done = running.answered("approvals", "show", request, "--json")
    return json.loads(done.stdout) if done.returncode == 0 else None


def asked(running, sql, **who):
    request = refused(running, sql, **who)
    running.wait(lambda: shown(running, request), f"request {request}")
    return request


def granted(running, request, *more):
    done = running.answered("approvals", "grant", request, "--because", "ticket 7", *more)
    assert done.returncode == 0, (done.stdout, done.stderr, running.log[-2000:])
    return done


def steps(running, request):
    rows = running.sql(
        f"SELECT step FROM approvals WHERE request = '{request}' ORDER BY occurred_at"
    )
    return [row["step"] for row in rows]


def wait_steps(running, request, wanted):
    running.wait(lambda: steps(running, request) == wanted, f"{wanted}: {steps(running, request)}")


def run_with_psycopg(running, sql, user="app", dbname="postgres"):
    with running.cluster.connect(user=user, dbname=dbname, application_name="other") as connection:
        return connection.execute(sql).rowcount


def is_refused(running, sql, **who):
    try:
        run_with_psycopg(running, sql, **who)
    except psycopg.errors.InsufficientPrivilege as error:
        return "blocked by pgwarden" in str(error)
    return False


def test_a_granted_statement_runs_once_from_another_client_and_is_refused_again(running):
    sql = "DELETE FROM shop.orders WHERE true OR id < 0"
    request = asked(running, sql)
    listed = running.pgwarden("approvals", "list").stdout
    assert request in listed
    assert "pending" in listed
    granted(running, request)
    assert run_with_psycopg(running, sql) >= 0
    assert is_refused(running, sql)
    wait_steps(running, request, ["requested", "granted", "used", "requested"])
    (row,) = running.wait_sql(
        f"SELECT v.outcome, v.reason FROM verdicts v WHERE outcome = 'approved'"
        f" AND reason LIKE '%{request}%'"
    )
    assert "approved" in row["reason"]


def test_the_same_text_of_another_login_in_another_database_or_another_text_stays_refused(running):
    sql = "DELETE FROM shop.orders WHERE true OR id < 1"
    with running.cluster.connect() as connection:
        connection.execute("CREATE DATABASE other")
        connection.execute("GRANT DELETE, SELECT ON shop.orders TO bot")
    with running.cluster.connect(dbname="other") as connection:
        connection.execute("CREATE SCHEMA shop; CREATE TABLE shop.orders (id int)")
        connection.execute("GRANT ALL ON SCHEMA shop TO app; GRANT ALL ON shop.orders TO app")
    request = asked(running, sql)
    granted(running, request, "--uses", "3")
    assert is_refused(running, sql + " ")
    assert is_refused(running, sql.replace("< 1", "< 2"))
    assert is_refused(running, sql, user="bot")
    assert is_refused(running, sql, dbname="other")
    assert run_with_psycopg(running, sql) >= 0


def test_all_statements_of_one_text_are_one_use(running):
    sql = "SELECT 1; DELETE FROM shop.orders WHERE true OR id < 3; TRUNCATE shop.orders"
    request = asked(running, sql)
    granted(running, request)
    done = running.cluster.psql(sql, user="app")
    assert done.returncode == 0, done.stderr
    assert "blocked by pgwarden" in running.cluster.psql(sql, user="app").stderr


def test_a_prepared_statement_passes_as_often_as_granted(running):
    sql = "DELETE FROM shop.orders WHERE true OR id = %s"
    with running.cluster.connect(user="app") as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as error:
            connection.execute(sql, (1,), prepare=True)
        request = re.search(r"request (\w{10})\)", str(error.value))[1]
        running.wait(lambda: shown(running, request), request)
        assert "parameters" in shown(running, request)["flags"]
        assert "any values" in running.pgwarden("approvals", "show", request).stdout
        granted(running, request, "--uses", "2")
        for value in (2, 3):
            connection.execute(sql, (value,), prepare=True)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(sql, (4,), prepare=True)


def test_an_expired_grant_lets_nothing_pass(running):
    sql = "DELETE FROM shop.orders WHERE true OR id < 4"
    request = asked(running, sql)
    granted(running, request, "--for", "1s")
    time.sleep(1.2)
    assert is_refused(running, sql)
    wait_steps(running, request, ["requested", "granted", "expired"])


def test_nobody_grants_their_own(running):
    sql = "DELETE FROM shop.orders WHERE true OR id < 5"
    request = asked(running, sql)
    done = subprocess.run(
        [*COMMAND, "approvals", "grant", request, "--because", "I want to",
         "--config", str(running.config)],
        capture_output=True, text=True, timeout=30, check=False,
        env=os.environ | {"SUDO_USER": "app"},
    )  # fmt: skip
    assert done.returncode == 1
    assert "nobody grants their own" in done.stderr
    assert is_refused(running, sql)
    wait_steps(running, request, ["requested", "refused_self"])


def test_a_denied_request_stays_refused(running):
    sql = "DELETE FROM shop.orders WHERE true OR id < 6"
    request = asked(running, sql)
    done = running.pgwarden("approvals", "deny", request, "--because", "never")
    assert done.returncode == 0, done.stderr
    assert is_refused(running, sql)
    assert shown(running, request)["status"] == "denied"
    assert request not in running.pgwarden("approvals", "list").stdout
    assert request in running.pgwarden("approvals", "list", "--all").stdout


def test_a_grant_that_is_taken_back_lets_nothing_pass(running):
    sql = "DELETE FROM shop.orders WHERE true OR id < 7"
    request = asked(running, sql)
    granted(running, request)
    assert running.pgwarden("approvals", "deny", request, "--because", "stop").returncode == 0
    assert is_refused(running, sql)


def test_a_relation_that_was_altered_since_voids_the_grant(running):
    sql = "DELETE FROM shop.orders WHERE true OR id < 8"
    request = asked(running, sql)
    granted(running, request)
    running.cluster.psql("ALTER TABLE shop.orders ADD COLUMN extra int")
    assert is_refused(running, sql)
    running.wait(lambda: "voided" in steps(running, request), f"{request} void")


def test_a_change_that_fails_or_is_rolled_back_suspends_a_grant_and_does_not_void_it(running):
    sql = "DELETE FROM shop.orders WHERE true OR id < 81"
    request = asked(running, sql)
    granted(running, request)
    failed = running.cluster.psql("ALTER TABLE shop.orders ADD COLUMN more int", user="bot")
    assert "must be owner" in failed.stderr
    with running.cluster.connect() as connection:
        connection.execute("BEGIN; CREATE INDEX ON shop.orders (abs(id))")
        time.sleep(2)
        connection.execute("ROLLBACK")
    running.wait(lambda: not is_refused(running, sql), "the grant holds again")
    wait_steps(running, request, ["requested", "granted", "used"])


def test_a_grant_lets_nothing_pass_while_a_change_is_not_committed(running):
    sql = "DELETE FROM shop.orders WHERE true OR id < 82"
    request = asked(running, sql)
    granted(running, request)
    with running.cluster.connect() as connection:
        connection.execute("BEGIN; ALTER TABLE shop.orders SET (fillfactor = 90)")
        time.sleep(2)
        assert is_refused(running, sql)
        connection.execute("COMMIT")
    running.wait(lambda: not is_refused(running, sql), "the grant holds again")


def test_a_change_that_was_open_when_it_was_granted_is_waited_for(running):
    sql = "DELETE FROM shop.orders WHERE true OR id < 83"
    request = asked(running, sql)
    with running.cluster.connect() as connection:
        connection.execute("BEGIN; CREATE TABLE shop.unrelated (id int)")
        assert "transactions" in granted(running, request).stderr
        time.sleep(2)
        assert is_refused(running, sql)
        connection.execute("ROLLBACK")
    running.wait(lambda: not is_refused(running, sql), "the grant holds again")


def test_a_change_from_inside_a_function_is_found_in_the_catalog(running):
    with running.cluster.connect() as connection:
        connection.execute(
            "CREATE FUNCTION touch() RETURNS void LANGUAGE plpgsql AS $$ BEGIN "
            "EXECUTE 'al' || 'ter table shop.' || 'orders add column hidden int'; END $$"
        )
        sql = "DELETE FROM shop.orders WHERE true OR id < 9"
        request = asked(running, sql)
        granted(running, request)
        connection.execute("SELECT touch()")
    running.wait(lambda: "voided" in steps(running, request), f"{request} void")
    assert is_refused(running, sql)


def test_a_trigger_function_of_the_relation_that_changes_voids_the_grant(running):
    with running.cluster.connect() as connection:
        body = "CREATE OR REPLACE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        connection.execute(f"{body} RETURN OLD; END $$")
        connection.execute(
            "CREATE TRIGGER audit BEFORE DELETE ON shop.orders"
            " FOR EACH ROW EXECUTE FUNCTION audit()"
        )
        sql = "DELETE FROM shop.orders WHERE true OR id < 10"
        request = asked(running, sql)
        granted(running, request)
        connection.execute(f"{body} RETURN NULL; END $$")
    running.wait(lambda: "voided" in steps(running, request), f"{request} void")
    assert is_refused(running, sql)


def test_the_approver_sees_who_else_uses_it_and_what_hangs_on_it(running):
    with running.cluster.connect() as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS shop.lines"
            " (id int, order_id int REFERENCES shop.orders ON DELETE CASCADE);"
            "CREATE OR REPLACE VIEW shop.open_orders AS SELECT id FROM shop.orders;"
            "ANALYZE shop.orders"
        )
    with running.cluster.connect(user="bot") as connection:
        connection.execute("SELECT id FROM shop.orders WHERE id = 5")
    running.wait_sql(
        "SELECT 1 FROM statements WHERE user_name = 'bot' AND list_contains(reads, 'shop.orders')"
        " AND sqlstate = '00000'"
    )
    request = asked(running, "DELETE FROM shop.orders WHERE true OR id < 11")
    found = shown(running, request)
    assert found["user_name"] == "app"
    assert found["catalog_problem"] == ""
    (relation,) = found["catalog"]
    assert relation["relation"] == "shop.orders"
    assert "view shop.open_orders" in relation["dependants"]
    assert any("shop.lines (deletes along)" in each for each in relation["dependants"])
    assert any(
        use["user_name"] == "bot" and use["how"] == "read" and use["times"] > 0
        for use in found["readers"]
    )
    page = running.pgwarden("approvals", "show", request).stdout
    assert "bot reads shop.orders" in page
    assert "view shop.open_orders" in page


def test_hidden_literals_can_be_compared_with_the_text(running, tmp_path):
    secret = "canary-8842"
    sql = f"UPDATE shop.orders SET note = '{secret}' WHERE true"
    request = asked(running, sql)
    found = shown(running, request)
    assert secret not in json.dumps(found)
    assert "redacted" in found["flags"]
    file = tmp_path / "statement.sql"
    file.write_text(sql + "\n")
    done = running.pgwarden("approvals", "show", request, "--text", str(file))
    assert (done.returncode, "✓ the file is this statement" in done.stdout) == (0, True)
    file.write_text(sql.replace("8842", "8843"))
    assert running.pgwarden("approvals", "show", request, "--text", str(file)).returncode == 1


def test_a_statement_with_escapes_for_a_terminal_is_shown_as_plain_text(running):
    request = asked(running, "DELETE FROM shop.orders /* \x1b[2J\x1b]0;x\x07 */ WHERE true")
    for words in (("list",), ("show", request)):
        assert "\x1b" not in running.pgwarden("approvals", *words).stdout


def test_what_holds_a_password_or_is_too_long_to_read_asks_for_nothing(running):
    long = "DELETE FROM shop.orders /* " + "x" * 70_000 + " */"
    for sql in ("DELETE FROM shop.orders; ALTER ROLE app PASSWORD 'x'", long):
        done = running.cluster.psql(sql)
        assert "blocked by pgwarden" in done.stderr
        assert "request" not in done.stderr, done.stderr


def test_a_killed_agent_does_not_bring_a_use_back(running):
    sql = "DELETE FROM shop.orders WHERE true OR id < 12"
    request = asked(running, sql)
    granted(running, request)
    assert run_with_psycopg(running, sql) >= 0
    os.kill(running.child("agent"), signal.SIGKILL)
    running.wait(lambda: running.child_or_none("agent"), "the agent runs again")
    running.wait_ready(running.agent_port)
    assert running.wait(lambda: is_refused(running, sql), "refused again")
    running.wait(lambda: "used" in steps(running, request), f"{request} used")
    assert steps(running, request).count("used") == 1


def test_requests_and_grants_outlive_both_programs(running):
    sql = "DELETE FROM shop.orders WHERE true OR id < 13"
    waiting = asked(running, "DELETE FROM shop.orders WHERE true OR id < 14")
    request = asked(running, sql)
    granted(running, request)
    running.stop()
    running.start()
    running.wait(lambda: shown(running, waiting), "the collector answers")
    assert shown(running, waiting)["status"] == "pending"
    assert shown(running, request)["status"] == "granted"

    def passes():
        try:
            run_with_psycopg(running, sql)
        except psycopg.errors.InsufficientPrivilege:
            return False
        return True

    assert running.wait(passes, "the grant is confirmed by the catalog")
    assert is_refused(running, sql)
    used = 'pgwarden_approvals_total{step="used"}'
    running.wait(lambda: running.metrics(running.collector_port)[used], used)


def test_the_account_of_the_client_process_may_not_grant_either():
    """The test runs psql and the command line as one account, whatever login psql uses."""
    with PostgresCluster() as cluster:
        prepare(cluster)
        with Running(cluster, {"agent": {"guard": {"mode": "enforce"}}}) as up:
            with cluster.connect(user="app") as connection:
                connection.execute("SELECT 1")
                up.wait_sql(
                    "SELECT 1 FROM sessions WHERE user_name = 'app' AND origin LIKE 'process%'"
                )
                with pytest.raises(psycopg.errors.InsufficientPrivilege) as error:
                    connection.execute("DELETE FROM shop.orders")
            request = re.search(r"request (\w{10})\)", str(error.value))[1]
            up.wait(lambda: shown(up, request), request)
            assert "root" in shown(up, request)["names"]
            done = up.pgwarden("approvals", "grant", request, "--because", "mine")
            assert done.returncode == 1
            assert "nobody grants their own: root" in done.stderr
