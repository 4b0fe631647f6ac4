"""The whole of pgwarden, on a real PostgreSQL, asked the way its users ask."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import grpc
import httpx
import psycopg
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from tests.live.postgres import PostgresCluster, server_folder
from tests.live.running import HTTP, Running, prepare

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
    pytest.mark.skipif(not server_folder().exists(), reason="./run setup installs PostgreSQL"),
]

ENFORCE = {
    "agent": {
        "guard": {"mode": "enforce", "contact": "dba@example.com"},
        "identities": [{"kind": "ai_agent", "name": "the-bot", "user": "bot"}],
    }
}
MAX_AGENT_RSS_BYTES = 120 * 1024 * 1024


@pytest.fixture(scope="module")
def running():
    with PostgresCluster() as cluster:
        prepare(cluster)
        with Running(cluster, ENFORCE) as up:
            yield up


def test_a_statement_is_on_record_with_who_from_where_and_what_it_touched(running):
    with running.cluster.connect(user="bot", application_name="inquiry") as connection:
        connection.execute("SELECT id, note FROM shop.orders WHERE id < %s", (11,))
    (row,) = running.wait_sql(
        "SELECT * FROM statements WHERE application_name = 'inquiry' AND operation = 'select'"
    )
    assert row["user_name"] == "bot"
    assert row["database"] == "postgres"
    assert row["client_address"] == "127.0.0.1"
    assert (row["identity_kind"], row["identity_name"]) == ("ai_agent", "the-bot")
    assert row["reads"] == ["shop.orders"]
    assert row["rows"] == 10
    assert row["sqlstate"] == "00000"
    assert row["source"] == "both"
    assert row["audit_class"] == "READ"
    assert row["duration_us"] > 0
    assert row["cluster"] == "main"


def test_no_literal_leaves_the_host(running):
    secret = "s3cr3t-canary-7731"
    running.cluster.psql(f"SELECT 1 FROM shop.orders WHERE note = '{secret}'", user="bot")
    running.wait_sql("SELECT 1 FROM statements WHERE text LIKE '%note = ?%' AND user_name = 'bot'")
    for folder in ("agent", "collector"):
        for file in (running.folder / folder).rglob("*"):
            assert not file.is_file() or secret.encode() not in file.read_bytes(), file
    assert secret not in running.log


def is_closed(connection):
    try:
        connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return True
    return False


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE shop.orders",
        "drop/**/table shop.orders",
        "DELETE FROM shop.orders",
        "WITH d AS (DELETE FROM shop.orders RETURNING 1) SELECT count(*) FROM d",
        "SELECT 1; TRUNCATE shop.orders",
        "DO $$ BEGIN DELETE FROM shop.orders; END $$",
        "UPDATE shop.orders SET note = 'x' WHERE true",
    ],
)
def test_a_denied_statement_does_not_execute_and_says_why(running, sql):
    result = running.cluster.psql(sql, user="app")
    assert "blocked by pgwarden: rule" in result.stderr
    assert "dba@example.com" in result.stderr
    with running.cluster.connect() as connection:
        (count,) = connection.execute(
            "SELECT count(*) FROM shop.orders WHERE note = 'n'"
        ).fetchone()
    assert count == 100


def test_a_prepared_statement_is_denied_each_time_and_the_session_lives_on(running):
    with running.cluster.connect(user="app") as connection:
        for _ in range(3):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="blocked by pgwarden"):
                connection.execute("DELETE FROM shop.orders", prepare=True)
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_what_a_start_up_packet_sets_is_told_by_a_rule_that_only_alerts(running):
    settings = "-c row_security=off -c work_mem=8MB"
    with running.cluster.connect(user="app", options=settings, application_name="brought") as one:
        assert one.execute("SELECT 1").fetchone() == (1,)
    (row,) = running.wait_sql("SELECT * FROM verdicts WHERE application_name = 'brought'")
    assert (row["rule_id"], row["action"]) == ("critical-setting", "alert")
    assert (row["outcome"], row["statement_id"]) == ("observed", 0)
    assert "set when the session started" in row["reason"]


def test_verdicts_are_recorded_with_what_really_happened(running):
    running.cluster.psql("DROP TABLE shop.prices", user="app")
    (row,) = running.wait_sql(
        "SELECT v.*, s.sqlstate FROM verdicts v JOIN statements s ON s.id = v.statement_id "
        "WHERE v.text LIKE '%shop.prices%'"
    )
    assert (row["action"], row["outcome"], row["mode"]) == ("deny", "prevented", "enforce")
    assert row["sqlstate"] == "42501"
    assert row["held_us"] > 0


def test_no_rule_speaks_of_what_pgwarden_itself_asks_the_server(running):
    running.wait_sql("SELECT 1 FROM statements WHERE application_name = 'pgwarden' LIMIT 1")
    assert running.sql("SELECT rule_id, text FROM verdicts WHERE user_name = 'pgwarden'") == []


def asked(running, query):
    """Through the command line, as an investigator asks."""
    done = running.pgwarden("sql", query, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_record_answers_while_the_collector_writes(running):
    with running.cluster.connect(user="bot", application_name="writer") as connection:
        for n in range(200):
            connection.execute(f"SELECT {n}")
            if n % 50 == 0:
                assert asked(running, "SELECT count(*) AS n FROM statements")
    running.wait_sql(
        "SELECT 1 FROM statements WHERE application_name = 'writer' HAVING count(*) = 200"
    )


def test_sessions_shows_who_is_connected_and_kill_ends_just_that_one(running):
    with (
        running.cluster.connect(user="bot", application_name="victim") as victim,
        running.cluster.connect(user="bot", application_name="bystander") as bystander,
    ):
        victim.execute("SELECT 1")
        pid = victim.info.backend_pid
        shown = running.wait(
            lambda: [
                line
                for line in running.pgwarden("sessions", "--json").stdout.splitlines()
                if '"victim"' in line
            ],
            "the session is shown",
        )
        assert f'"pid":{pid}' in shown[0]
        done = running.pgwarden("kill", str(pid), "--reason", "a test")
        assert done.returncode == 0, done.stderr + done.stdout
        running.wait(lambda: is_closed(victim), "the victim's session has ended")
        assert bystander.execute("SELECT 1").fetchone() == (1,)
    again = running.pgwarden("kill", str(pid))
    assert again.returncode == 1
    running.wait_sql("SELECT 1 FROM verdicts WHERE outcome = 'terminated' AND reason = 'a test'")


def test_what_a_session_runs_is_shown_while_it_runs_and_without_its_values(running):
    with running.cluster.connect(user="app", application_name="runner") as connection:
        slow = "SELECT pg_sleep(20), 'a secret'"
        sleeper = threading.Thread(target=connection.execute, args=(slow,), daemon=True)
        sleeper.start()

        def shown():
            done = running.pgwarden("sessions", "--running", "--json")
            rows = [json.loads(line) for line in done.stdout.splitlines()]
            return [row for row in rows if row["application_name"] == "runner"]

        (row,) = running.wait(shown, "the statement is shown")
        assert (row["user_name"], row["state"]) == ("app", "executing")
        assert row["text"].startswith("SELECT pg_sleep(")
        assert "secret" not in str(row)
        assert "pg_sleep" in running.pgwarden("sessions", "--running").stdout
        sleeper.join()
        assert shown() == []


def test_drift_names_the_statement_and_who_sent_it(running):
    running.wait_sql("SELECT 1 FROM findings WHERE detector = 'drift.baseline'")
    running.cluster.psql("GRANT SELECT ON shop.orders TO analyst", user="app")
    running.cluster.psql("ALTER SYSTEM SET work_mem = '40MB'")
    running.cluster.reload()
    grant = running.wait_sql("SELECT * FROM drift WHERE name LIKE 'table:shop.orders<-analyst'")[0]
    setting = running.wait_sql("SELECT * FROM drift WHERE name = 'work_mem'")[0]
    assert (grant["attribution"], grant["actor"]) == ("attributed", "app")
    assert setting["attribution"] == "attributed"
    status = running.pgwarden("drift", "status", "--json")
    assert status.returncode == 1
    assert '"work_mem"' in status.stdout
    accepted = running.pgwarden("drift", "accept", "--by", "tester", "--reason", "wanted")
    assert accepted.returncode == 0, accepted.stderr
    assert running.pgwarden("drift", "status").returncode == 0


def test_a_settings_file_edited_by_hand_has_no_actor(running):
    with (running.cluster.data / "postgresql.conf").open("a") as conf:
        conf.write("\nlog_disconnections = on\n")
    running.cluster.reload()
    row = running.wait_sql("SELECT * FROM drift WHERE name = 'log_disconnections'")[0]
    assert row["attribution"] == "unattributed"


def test_the_agent_is_small_and_carries_no_analytics(running):
    pid = running.child("agent")
    statm = Path(f"/proc/{pid}/statm").read_text().split()
    assert int(statm[1]) * os.sysconf("SC_PAGE_SIZE") < MAX_AGENT_RSS_BYTES
    maps = Path(f"/proc/{pid}/maps").read_text()
    assert "polars" not in maps
    assert "duckdb" not in maps


def test_the_collector_answers_health_and_reflection(running):
    with grpc.insecure_channel(f"unix:{running.folder}/collector.sock") as channel:
        reply = health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(service="pgwarden.v1.Uplink"), timeout=5
        )
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
        services = ProtoReflectionDescriptorDatabase(channel).get_services()
    assert {"pgwarden.v1.Uplink", "pgwarden.v1.Operator"} <= set(services)


def test_tail_follows_with_filters(running):
    with running.cluster.connect(user="bot", application_name="followed") as connection:
        import threading

        stop = threading.Event()

        def chatter():
            while not stop.wait(0.1):
                connection.execute("SELECT 42")

        thread = threading.Thread(target=chatter)
        thread.start()
        try:
            done = running.pgwarden("tail", "statement", "--user", "bot", "--limit", "3", "--json")
        finally:
            stop.set()
            thread.join()
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 3
    assert "following" in done.stderr


def test_metrics_of_both_programs_tell_of_the_work(running):
    agent = running.metrics(running.agent_port)
    collector = running.metrics(running.collector_port)
    assert sum(v for k, v in agent.items() if k.startswith("pgwarden_agent_statements_total")) > 0
    assert any(v > 0 for k, v in collector.items() if k.startswith("pgwarden_collector_rows_total"))
    assert agent["pgwarden_agent_uplink_connected"] == 1


def test_a_server_that_restarts_is_watched_again(running):
    running.cluster.restart()
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        running.cluster.psql("SELECT 'after the restart' AS again", user="bot")
        if running.sql(
            "SELECT 1 FROM statements WHERE text LIKE '%again%' AND source <> 'pgaudit'"
        ):
            break
        time.sleep(0.3)
    else:
        raise AssertionError("no probe saw the restarted server\n" + running.log[-2000:])
    result = running.cluster.psql("DROP TABLE shop.orders", user="app")
    assert "blocked by pgwarden" in result.stderr


def test_an_agent_that_is_killed_comes_back_and_leaves_no_backend_stopped(running):
    killed = running.child("agent")
    os.kill(killed, signal.SIGKILL)
    assert running.cluster.psql("SELECT 1", user="bot").returncode == 0
    running.wait(lambda: running.child_or_none("agent") not in (None, killed), "a new agent")
    running.wait_ready(running.agent_port)
    running.cluster.psql("SELECT 'back' AS back", user="bot")
    running.wait_sql("SELECT 1 FROM statements WHERE text LIKE '%AS back%'")
    assert "blocked by pgwarden" in running.cluster.psql("DROP TABLE shop.orders", "app").stderr


def test_a_collector_that_is_killed_takes_neither_guard_nor_record_with_it(running):
    os.kill(running.child("collector"), signal.SIGKILL)
    assert "blocked by pgwarden" in running.cluster.psql("DROP TABLE shop.orders", "app").stderr
    running.cluster.psql("SELECT 'meanwhile' AS meanwhile", user="bot")
    # A collector that starts loads its libraries: ten seconds and more where others run beside it.
    running.wait_sql("SELECT 1 FROM statements WHERE text LIKE '%AS meanwhile%'", timeout=60)


def test_stopping_takes_the_probes_away_in_time(running):
    began = time.monotonic()
    assert running.stop() == 0
    assert time.monotonic() - began < 10
    assert running.cluster.psql("DROP TABLE shop.prices", user="postgres").returncode == 0
    with pytest.raises(httpx.TransportError):
        HTTP.get(f"http://127.0.0.1:{running.agent_port}/metrics")
