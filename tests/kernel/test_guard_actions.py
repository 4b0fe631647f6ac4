"""Cancel and terminate hit the session that was meant, or nobody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import psycopg
import pytest

from agent.guard.actions import Actions
from agent.guard.backend import Standing, examine, started_at_us
from agent.guard.server import Server
from model.action import Action, ActionKind, ActionOutcome
from model.session import BackendKey
from tests.kernel.guard_stage import ROOT, states, wait_until
from tests.live.postgres import PostgresCluster

pytestmark = [pytest.mark.kernel, pytest.mark.live]


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    with PostgresCluster(settings={"wal_level": "logical", "autovacuum_naptime": "1s"}) as running:
        yield running


@pytest.fixture(scope="module")
def server(cluster: PostgresCluster) -> Server:
    return Server.running(cluster.postmaster_pid, cluster.major)


@pytest.fixture
def actions(server: Server) -> Actions:
    return Actions(lambda: [server], per_minute=3, clock=lambda: 0.0)


def key_of(connection: psycopg.Connection, server: Server) -> BackendKey:
    pid = connection.info.backend_pid
    return BackendKey(pid, started_at_us(pid, server))


def order(key: BackendKey, kind: ActionKind = ActionKind.TERMINATE) -> Action:
    return Action("a1", kind, key, "cluster", "test", "tester")


def test_the_key_is_what_pg_stat_activity_shows(cluster, server):
    with cluster.connect() as connection:
        shown = connection.execute(
            "SELECT (extract(epoch FROM backend_start) * 1000000)::bigint"
            " FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        ).fetchone()
        assert shown == (key_of(connection, server).started_at_us,)


def test_a_termination_ends_that_session_and_no_other(cluster, server, actions):
    with cluster.connect() as other:
        victim = cluster.connect()
        result = actions.enforce(order(key_of(victim, server)))
        assert result.outcome is ActionOutcome.DONE
        with pytest.raises(psycopg.OperationalError):
            victim.execute("SELECT 1")
        assert other.execute("SELECT 1").fetchone() == (1,)


def test_a_cancel_stops_the_statement_and_the_session_goes_on(cluster, server, actions):
    with cluster.connect() as connection, cluster.connect() as observer:
        key = key_of(connection, server)
        sleeping = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event = 'PgSleep'"

        def cancel() -> None:
            wait_until(lambda: observer.execute(sleeping, (key.pid,)).fetchone(), 5, "asleep")
            actions.enforce(order(key, ActionKind.CANCEL))

        thread = threading.Thread(target=cancel)
        thread.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(30)")
        thread.join()
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_another_start_time_means_the_session_is_gone_and_its_pid_reused(cluster, server, actions):
    with cluster.connect() as connection:
        key = key_of(connection, server)
        stale = BackendKey(key.pid, key.started_at_us - 1)
        assert actions.enforce(order(stale)).outcome is ActionOutcome.GONE
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_session_that_ended_is_gone(cluster, server, actions):
    connection = cluster.connect()
    key = key_of(connection, server)
    connection.close()
    wait_until(lambda: key.pid not in states(server), 5, "ended")
    assert actions.enforce(order(key)).outcome is ActionOutcome.GONE


def test_neither_postmaster_nor_auxiliary_processes_can_be_ended(cluster, server, actions):
    before = set(states(server))
    for pid in (*before, server.postmaster_pid):
        key = BackendKey(pid, started_at_us(pid, server))
        assert actions.enforce(order(key)).outcome is ActionOutcome.REFUSED
    assert before <= set(states(server))


def test_a_replication_connection_cannot_be_ended(cluster, server, actions, tmp_path):
    tmp_path.chmod(0o777)
    receiver = subprocess.Popen(
        ["pg_receivewal", "-D", str(tmp_path), "-h", "127.0.0.1", "-p", str(cluster.port),
         "-U", "postgres", "--no-loop"],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        with cluster.connect() as connection:
            sender = "SELECT pid FROM pg_stat_replication WHERE state = 'streaming'"
            wait_until(lambda: connection.execute(sender).fetchone(), 10, "streaming")
            (pid,) = connection.execute(sender).fetchone()
            key = BackendKey(pid, started_at_us(pid, server))
            assert examine(key, lambda: [server]).standing is Standing.NOT_CLIENT
            result = actions.enforce(order(key))
            assert result.outcome is ActionOutcome.REFUSED
            assert "walsender" in result.message
            assert connection.execute(sender).fetchone() == (pid,)
        assert receiver.poll() is None
    finally:
        receiver.terminate()
        receiver.wait(timeout=10)


def test_a_parallel_worker_cannot_be_ended(cluster, server, actions):
    with cluster.connect() as connection:
        connection.execute("SELECT set_config('force_parallel_mode', 'on', false)")
        connection.execute("CREATE FUNCTION nap() RETURNS void PARALLEL SAFE LANGUAGE sql"
                           " AS 'SELECT pg_sleep(1)'")  # fmt: skip
        thread = threading.Thread(target=connection.execute, args=("SELECT nap()",))
        thread.start()
        with cluster.connect() as observer:
            worker = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'parallel worker'"
            wait_until(lambda: observer.execute(worker).fetchone(), 5, "a parallel worker")
            (pid,) = observer.execute(worker).fetchone()
            key = BackendKey(pid, started_at_us(pid, server))
            assert actions.enforce(order(key)).outcome is ActionOutcome.REFUSED
        thread.join(timeout=10)


def test_a_stranger_is_refused_even_with_a_handle_on_it(server, actions):
    key = BackendKey(os.getpid(), 0)
    assert actions.enforce(order(key)).outcome is ActionOutcome.REFUSED


def test_only_so_many_sessions_are_ended_a_minute(cluster, server, actions):
    victims = [cluster.connect() for _ in range(4)]
    outcomes = [actions.enforce(order(key_of(victim, server))).outcome for victim in victims]
    assert outcomes == [ActionOutcome.DONE] * 3 + [ActionOutcome.REFUSED]
    assert victims[3].execute("SELECT 1").fetchone() == (1,)
    for victim in victims:
        victim.close()


def test_a_pid_that_really_was_given_to_another_process_is_never_signalled():
    """Another session or a stranger, before the order came or while it was carried out."""
    done = subprocess.run(
        ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc",
         sys.executable, "-m", "tests.kernel.reused_pid"],
        cwd=ROOT, capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert len(told) == 3 * len(ActionKind)
    assert {value for name, value in told.items() if "stranger" not in name} == {"gone"}
    assert {value for name, value in told.items() if "stranger" in name} == {"refused"}
