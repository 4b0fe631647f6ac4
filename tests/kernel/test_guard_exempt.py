"""Streams of replication and PostgreSQL's own workers are never held, whatever the rules say."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import psycopg
import pytest

from agent.guard.decision import ALLOW, Decision
from model.event import StatementStarted
from tests.kernel.guard_stage import DENY, Stage, wait_until
from tests.live.postgres import PostgresCluster

pytestmark = [pytest.mark.kernel, pytest.mark.live]

SETTINGS = {
    "wal_level": "logical",
    "autovacuum_naptime": "1s",
    "autovacuum_vacuum_threshold": "0",
    "autovacuum_vacuum_scale_factor": "0",
    "autovacuum_vacuum_cost_delay": "0",
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    with PostgresCluster(settings=SETTINGS) as running:
        yield running


def deny_all(event: StatementStarted) -> Decision:
    return DENY


def test_sql_over_a_replication_connection_is_refused_like_any_other(cluster):
    with Stage(cluster, deny_all) as stage:
        for _ in range(3):
            answer = subprocess.run(
                ["psql", "-XqAt", "-c", "SELECT 42", cluster.dsn(replication="database")],
                capture_output=True, text=True, timeout=30, check=False,
            )  # fmt: skip
            assert answer.stdout == ""
            assert "blocked by pgwarden" in answer.stderr
    assert len(stage.of(b"SELECT 42")) == 3


def test_a_session_that_serves_the_judge_is_never_held(cluster):
    with Stage(cluster, deny_all) as stage, cluster.connect() as connection:
        assert stage.source.holding.never_hold(connection.info.backend_pid)
        assert connection.execute("SELECT 'ours'").fetchone() == ("ours",)
        assert connection.execute("SELECT 'prepared'", prepare=True).fetchone() == ("prepared",)
        connection.execute("DO $$ BEGIN PERFORM 'inside'; END $$")
    assert stage.settled == []


def test_replication_commands_are_seen_and_not_held(cluster):
    with Stage(cluster, deny_all) as stage:
        answer = subprocess.run(
            ["psql", "-XqAt", "-c", "IDENTIFY_SYSTEM", cluster.dsn(replication="database")],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert "postgres" in answer.stdout
        wait_until(lambda: any(b"IDENTIFY" in event.text for event in stage.seen), 5, "seen")
    assert stage.settled == []


def test_a_wal_receiver_streams_while_everything_else_is_refused(cluster, tmp_path):
    with cluster.connect() as connection:
        connection.execute("CREATE TABLE moved AS SELECT 1 AS id")
    with Stage(cluster, deny_all) as stage:
        receiver = subprocess.Popen(
            ["pg_receivewal", "-D", str(tmp_path), "--no-loop", "-d", cluster.dsn(dbname="")],
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait_until(lambda: list(tmp_path.glob("*.partial")), 10, "WAL arrives")
            with cluster.connect() as connection, pytest.raises(psycopg.Error):
                connection.execute("SELECT 1")
            assert receiver.poll() is None
        finally:
            receiver.terminate()
            receiver.wait(timeout=10)
    assert all(b"REPLICATION" not in text for text, _ in stage.settled)


def test_autovacuum_works_on_while_clients_are_refused(cluster):
    with cluster.connect() as connection:
        connection.execute("CREATE TABLE churned AS SELECT generate_series(1, 2000) AS id")
        vacuumed = "SELECT autovacuum_count FROM pg_stat_user_tables WHERE relname = 'churned'"

        def deny_others(event: StatementStarted) -> Decision:
            ours = event.backend.pid == connection.info.backend_pid
            return ALLOW if ours else DENY

        with Stage(cluster, deny_others) as stage:
            connection.execute("DELETE FROM churned WHERE id % 2 = 0")
            wait_until(lambda: connection.execute(vacuumed).fetchone()[0] > 0, 20, "vacuumed")
        assert {event.backend.pid for event in stage.seen} == {connection.info.backend_pid}
