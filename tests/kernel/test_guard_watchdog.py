"""Whatever happens to the agent, no backend stays stopped, and nobody else's process is touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from agent.guard import watchdog_link
from agent.guard.halts import children
from agent.guard.hold import OnTimeout
from agent.guard.server import Server, stat_fields
from agent.guard.watchdog import PERIOD_SECONDS
from agent.guard.watchdog_link import GRACE_MS, WatchdogError, WatchdogLink
from tests.kernel.enforcing import enforcing
from tests.kernel.guard_agent import WATCHDOG_MS
from tests.kernel.guard_stage import hanging_agent, states, stopped, wait_until
from tests.kernel.stopwatch import stopwatch
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


def test_a_hold_that_a_living_agent_is_behind_with_is_released_within_100_ms_of_the_deadline(
    server, computing
):
    """Stopped at every moment between two rare looks, while signs of life go on."""
    with stopwatch(server.postmaster_pid) as measured, WatchdogLink(LIMIT_MS) as link:
        link.watch(server)
        for turn in range(12):
            until = time.monotonic() + 0.2 + turn * 0.01
            while time.monotonic() < until:
                link.beat()
                time.sleep(0.005)
            began = time.monotonic()
            stop(computing)
            while state_of(computing) == "T" and time.monotonic() - began < 2:
                link.beat(int((time.monotonic() - began) * 1e9))
                time.sleep(0.005)
            assert time.monotonic() - began >= LIMIT_MS / 1000
    measured.assert_within(LIMIT_MS + 100)


FREEZES = """
import os, signal, sys
from agent.guard.memory import Tracee
from agent.guard.server import Server
from agent.guard.watchdog_link import WatchdogLink

postmaster, major, limit_ms, backend = map(int, sys.argv[1:])
link = WatchdogLink(limit_ms)
link.watch(Server.running(postmaster, major))
os.kill(backend, signal.SIGSTOP)
with Tracee(backend):
    os.kill(os.getpid(), signal.SIGSTOP)
"""


def test_an_agent_that_freezes_while_it_refuses_a_statement_is_ended_and_the_backend_goes_on(
    cluster, server, computing
):
    arguments = (server.postmaster_pid, cluster.major, LIMIT_MS, computing)
    agent = subprocess.Popen([sys.executable, "-c", FREEZES, *map(str, arguments)])
    watchdogs: list[int] = []
    try:
        wait_until(lambda: state_of(computing) == "t", 10, "traced")
        began = time.monotonic()
        watchdogs += children(agent.pid)
        wait_until(lambda: state_of(computing) not in "tT", 3, "it goes on")
        assert time.monotonic() - began < LIMIT_MS / 1000 + 1
        assert agent.wait(3) == -signal.SIGKILL
        assert len(watchdogs) == 2
    finally:
        agent.kill()
        agent.wait()
        left = [Path(f"/proc/{pid}") for pid in watchdogs]
        wait_until(lambda: not any(each.exists() for each in left), 10, "they look on, and end")


def test_a_backend_of_an_unknown_postmaster_is_never_touched(link, computing):
    stop(computing)
    time.sleep((LIMIT_MS / 1000 + PERIOD_SECONDS) * 2)
    assert state_of(computing) == "T"


def test_a_postmaster_with_another_start_time_is_not_the_one_we_know(link, server, computing):
    link.watch(replace(server, started_ticks=1))
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


def replaced(link: WatchdogLink) -> bool:
    """Both of them."""
    link.check()
    return link.restarts == 2 and link.watching


def test_watchdogs_that_were_killed_are_replaced_and_know_everything_again(link, server, computing):
    link.watch(server)
    for pid in link.pids:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: replaced(link), 10, "replaced")
    stop(computing)
    wait_until(lambda: state_of(computing) != "T", 3, "released")


def test_what_is_held_while_watchdogs_are_replaced_is_released_by_the_new_ones(
    link, server, computing
):
    link.watch(server)
    for pid in link.pids:
        os.kill(pid, signal.SIGKILL)
    stop(computing)
    wait_until(lambda: replaced(link), 10, "replaced")
    wait_until(lambda: state_of(computing) != "T", 3, "released")


def test_of_dead_watchdogs_none_counts_and_of_two_one_is_enough(link, server):
    link.watch(server)
    one, other = link.pids
    os.kill(one, signal.SIGKILL)
    time.sleep(0.1)
    assert link.answers
    os.kill(other, signal.SIGKILL)
    wait_until(lambda: not link.answers, 1, "nobody would release")
    wait_until(lambda: link.check() == [] and link.answers, 10, "others do")


def test_for_however_many_servers_watchdogs_that_do_not_answer_are_waited_for_twice(
    link, server, monkeypatch, tmp_path
):
    """systemd wants to hear from who waits, within 30 s."""
    mute = tmp_path / "mute"
    mute.write_text("#!/bin/sh\nexec sleep 60\n")
    mute.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(mute))
    monkeypatch.setattr(watchdog_link, "WATCH_SECONDS", 1.0)
    for pid in link.pids:
        os.kill(pid, signal.SIGSTOP)
    servers = [replace(server, postmaster_pid=2**22 + number) for number in range(8)]
    began = time.monotonic()
    with pytest.raises(WatchdogError):
        link.watch(*servers)
    assert time.monotonic() - began < 4
    assert not link.answers


def test_nothing_is_held_while_no_watchdog_lives_and_all_of_it_is_counted(cluster, monkeypatch):
    with enforcing(cluster) as guarded, cluster.connect() as connection:
        capture, link = guarded.capture, guarded.link
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DROP TABLE t1")
        with monkeypatch.context() as broken:
            broken.setattr(sys, "executable", "/bin/false")  # none can be started in their place
            for pid in link.pids:
                os.kill(pid, signal.SIGKILL)
            wait_until(lambda: capture.problem, 1, "nobody would release")
            with pytest.raises(psycopg.errors.UndefinedTable):
                connection.execute("DROP TABLE t2")
        wait_until(lambda: not capture.problem, 10, "others do")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DROP TABLE t3")
        wait_until(
            lambda: [one.reason for one in guarded.inbox.overflow] == ["unheld"], 5, "counted"
        )


def test_the_watchdogs_ignore_the_terminals_and_the_service_managers_farewell(link):
    for farewell in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        for pid in link.pids:
            os.kill(pid, farewell)
    time.sleep(0.2)
    assert link.check() == []
    assert link.restarts == 0


def test_the_watchdogs_go_before_everybody_while_the_agent_is_silent_and_no_longer(link):
    def policies() -> set[int]:
        return {os.sched_getscheduler(pid) for pid in link.pids}

    link.beat()
    wait_until(lambda: policies() == {os.SCHED_FIFO}, 1, "the silence is noticed")
    wait_until(lambda: policies() == {os.SCHED_OTHER}, 5, "nobody can be held any more")


def test_the_watchdogs_are_small(link):
    for pid in link.pids:
        status = Path(f"/proc/{pid}/status").read_text()
        (rss,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
        assert rss < 20_000


def test_the_watchdog_releases_what_a_hanging_agent_holds(cluster, server):
    with hanging_agent(cluster) as agent, cluster.connect() as connection:
        began = time.monotonic()
        connection.execute("SELECT pg_sleep(0)")
        took_ms = (time.monotonic() - began) * 1000
        assert took_ms >= WATCHDOG_MS
        assert agent.stdout.readline().startswith(f"released {connection.info.backend_pid} ")
    wait_until(lambda: stopped(server) == [], 1, "nobody is stopped")


@pytest.mark.parametrize("agent_too", [False, True])
def test_a_backend_whose_postmaster_was_killed_while_it_was_held_is_released_in_time_and_ends(
    agent_too,
):
    with PostgresCluster() as doomed:
        doomed.psql("SELECT 1")
        with hanging_agent(doomed) as agent:
            connection = doomed.connect()
            pid = connection.info.backend_pid
            held = "SELECT pg_sleep(0)"
            client = threading.Thread(target=ignoring_errors, args=(connection, held))
            began = time.monotonic()
            client.start()
            wait_until(lambda: state_of(pid) == "T", 5, "held")
            if agent_too:
                agent.kill()
            os.kill(doomed.postmaster_pid, signal.SIGKILL)
            within = began + (WATCHDOG_MS + 100) / 1000 - time.monotonic()
            wait_until(lambda: is_gone(pid) or state_of(pid) != "T", within, "released")
            wait_until(lambda: is_gone(pid), 5, "it has ended")
            client.join(5)
            connection.close()


def test_the_orphans_of_a_postmaster_that_the_agent_has_forgotten_are_released_too(link):
    with PostgresCluster() as doomed:
        connection = doomed.connect()
        pid = connection.info.backend_pid
        client = threading.Thread(target=ignoring_errors, args=(connection, COMPUTE))
        client.start()
        wait_until(lambda: int(stat_fields(pid)[11]) > 5, 10, "the backend computes")
        server = Server.running(doomed.postmaster_pid, doomed.major)
        link.watch(server)
        stop(pid)
        os.kill(doomed.postmaster_pid, signal.SIGKILL)
        link.forget(server)
        wait_until(lambda: is_gone(pid) or state_of(pid) != "T", 3, "released")
        os.kill(pid, signal.SIGKILL)
        client.join(5)
        connection.close()


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


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
            limit = (WATCHDOG_MS + 100) / 1000
            wait_until(lambda: stopped(server) == [], limit, "nobody is stopped")
            for thread, connection in zip(threads, connections, strict=True):
                thread.join(timeout=5)
                assert connection.execute("SELECT 1").fetchone() == (1,)
                connection.close()
    assert "T" not in states(server).values()
