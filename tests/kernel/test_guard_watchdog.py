"""Whatever happens to the agent, no backend stays stopped, and nobody else's process is touched."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from agent.guard.hold import OnTimeout
from agent.guard.server import Server, stat_fields
from agent.guard.watchdog import PERIOD_SECONDS
from agent.guard.watchdog_link import GRACE_MS, WatchdogLink
from tests.kernel.guard_agent import WATCHDOG_MS
from tests.kernel.guard_stage import hanging_agent, states, stopped, wait_until
from tests.live.postgres import PostgresCluster

pytestmark = [pytest.mark.kernel, pytest.mark.live]

LIMIT_MS = 200
COMPUTE = "DO 'BEGIN LOOP END LOOP; END'"


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    with PostgresCluster() as running:
        running.psql("CREATE TABLE orders AS SELECT 1 AS id")
        yield running


@pytest.fixture
def server(cluster: PostgresCluster) -> Server:
    return Server.running(cluster.postmaster_pid, cluster.major)


@pytest.fixture
def link() -> Iterator[WatchdogLink]:
    with WatchdogLink(LIMIT_MS - GRACE_MS) as running:
        yield running


@pytest.fixture
def computing(cluster: PostgresCluster) -> Iterator[int]:
    """A backend that computes, outside any system call."""
    connection = cluster.connect()
    pid = connection.info.backend_pid
    thread = threading.Thread(target=ignoring_errors, args=(connection, COMPUTE))
    thread.start()
    wait_until(lambda: int(stat_fields(pid)[11]) > 5, 10, "the backend computes")
    yield pid
    with cluster.connect() as other:
        os.kill(pid, signal.SIGCONT)
        other.execute("SELECT pg_terminate_backend(%s)", (pid,))
    thread.join(timeout=20)
    connection.close()


def ignoring_errors(connection: psycopg.Connection, sql: str) -> None:
    try:
        connection.execute(sql)
    except psycopg.Error:
        return


def stop(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: state_of(pid) == "T", 2, "stopped")


def state_of(pid: int) -> str:
    return stat_fields(pid)[0]


def test_a_backend_stopped_for_too_long_is_released_and_reported(link, server, computing):
    link.watch(server)
    began = time.monotonic()
    stop(computing)
    wait_until(lambda: state_of(computing) != "T", 3, "released")
    assert time.monotonic() - began >= LIMIT_MS / 1000
    wait_until(lambda: [word.pid for word in link.check()] == [computing], 1, "reported")


def test_a_backend_of_an_unknown_postmaster_is_never_touched(link, computing):
    stop(computing)
    time.sleep((LIMIT_MS / 1000 + PERIOD_SECONDS) * 2)
    assert state_of(computing) == "T"


def test_a_postmaster_with_another_start_time_is_not_the_one_we_know(link, server, computing):
    link._tell(f"watch {server.postmaster_pid} 1 {server.device} {server.inode}")
    stop(computing)
    time.sleep((LIMIT_MS / 1000 + PERIOD_SECONDS) * 2)
    assert state_of(computing) == "T"


def test_a_backend_stopped_by_a_person_before_the_watch_is_left_alone(link, server, computing):
    stop(computing)
    link.watch(server)
    time.sleep((LIMIT_MS / 1000 + PERIOD_SECONDS) * 2)
    assert state_of(computing) == "T"


def test_an_idle_session_stopped_by_a_person_is_left_alone(link, server, cluster):
    with cluster.connect() as connection:
        pid = connection.info.backend_pid
        link.watch(server)
        stop(pid)
        time.sleep((LIMIT_MS / 1000 + PERIOD_SECONDS) * 2)
        assert state_of(pid) == "T"
        os.kill(pid, signal.SIGCONT)


def test_a_watchdog_that_was_killed_is_replaced_and_knows_everything_again(link, server, computing):
    link.watch(server)
    os.kill(link.pid, signal.SIGKILL)
    wait_until(lambda: link.check() == [] and link.restarts == 1, 10, "replaced")
    stop(computing)
    wait_until(lambda: state_of(computing) != "T", 3, "released")


def test_the_watchdog_ignores_the_terminals_and_the_service_managers_farewell(link):
    for farewell in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(link.pid, farewell)
    time.sleep(0.2)
    assert link.check() == []
    assert link.restarts == 0


def test_the_watchdog_is_small(link):
    status = Path(f"/proc/{link.pid}/status").read_text()
    (rss_kb,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    assert rss_kb < 20_000


def test_the_watchdog_releases_what_a_hanging_agent_holds(cluster, server):
    with hanging_agent(cluster) as agent, cluster.connect() as connection:
        began = time.monotonic()
        connection.execute("SELECT pg_sleep(0)")
        took_ms = (time.monotonic() - began) * 1000
        assert took_ms >= WATCHDOG_MS
        assert agent.stdout.readline().startswith(f"released {connection.info.backend_pid} ")
    wait_until(lambda: stopped(server) == [], 1, "nobody is stopped")


def test_where_configured_to_fail_closed_a_stale_hold_is_cancelled(cluster):
    with (
        hanging_agent(cluster, OnTimeout.DENY),
        cluster.connect() as connection,
        pytest.raises(psycopg.errors.QueryCanceled),
    ):
        connection.execute("DROP TABLE orders")
    assert cluster.psql("SELECT count(*) FROM orders").stdout == "1\n"


def test_an_agent_killed_in_the_middle_of_holds_leaves_no_backend_stopped(cluster, server):
    for _ in range(3):
        with hanging_agent(cluster) as agent:
            connections = [cluster.connect() for _ in range(5)]
            threads = [
                threading.Thread(target=ignoring_errors, args=(connection, "SELECT pg_sleep(0)"))
                for connection in connections
            ]
            for thread in threads:
                thread.start()
            wait_until(lambda: len(stopped(server)) == 5, 5, "all are held")
            agent.kill()
            limit = (WATCHDOG_MS + 100) / 1000 + PERIOD_SECONDS
            wait_until(lambda: stopped(server) == [], limit, "nobody is stopped")
            for thread, connection in zip(threads, connections, strict=True):
                thread.join(timeout=5)
                assert connection.execute("SELECT 1").fetchone() == (1,)
                connection.close()
    assert "T" not in states(server).values()
