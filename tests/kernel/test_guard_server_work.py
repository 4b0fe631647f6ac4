"""What a server has to do goes on under holds: they delay it by the deadline at most.

A stopped backend takes no part in what PostgreSQL asks of all backends: a shutdown, a termination,
the barrier of DROP DATABASE. So a judge that never answers in time is the worst case.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import psycopg
import pytest

from agent.guard.decision import ALLOW, Decision
from model.event import StatementStarted
from tests.conformance.servers import DEBIAN_MAJOR, FETCHED, Server, fetch
from tests.kernel.guard_stage import Stage, wait_until
from tests.kernel.stopwatch import stopwatch
from tests.live.postgres import PostgresCluster

pytestmark = [pytest.mark.kernel, pytest.mark.live]

DEADLINE_MS = 200
EXTRA_MS = 100
HANGS_SECONDS = 30
"""What each step of the server may take at most: without a release it would take for ever."""


def slow(event: StatementStarted) -> Decision:
    """Never in time for what clients do; at once for what the tests ask."""
    if b"held" in event.text:
        time.sleep(DEADLINE_MS / 1000 * 2)
    return ALLOW


@pytest.fixture(scope="module", params=[15, 18])
def cluster(request: pytest.FixtureRequest) -> Iterator[PostgresCluster]:
    """The two whose CREATE and DROP DATABASE wait for all backends."""
    if request.param != DEBIAN_MAJOR:
        if not FETCHED.exists():
            pytest.skip("./run conformance fetches the server")
        fetch()
    with Server(major=request.param, pgaudit=False) as running:
        yield running


class Holding:
    """Clients whose statements are held until the deadline, one after another."""

    def __init__(self, cluster: PostgresCluster, count: int) -> None:
        self.connections = [cluster.connect() for _ in range(count)]
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(connection,))
            for connection in self.connections
        ]

    def _run(self, connection: psycopg.Connection) -> None:
        while not self._over.is_set():
            try:
                connection.execute("SELECT 'held'")
            except psycopg.Error:
                return

    def __enter__(self) -> Holding:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(20)
        assert not any(thread.is_alive() for thread in self._threads)
        for connection in self.connections:
            connection.close()


def test_databases_are_created_and_dropped_while_sessions_are_held(cluster):
    with (
        stopwatch(cluster.postmaster_pid) as measured,
        Stage(cluster, slow, deadline_ms=DEADLINE_MS) as stage,
        Holding(cluster, 3),
    ):
        wait_until(lambda: stage.of(b"held"), 10, "holds")
        for number in range(2):
            began = time.monotonic()
            assert cluster.psql(f"CREATE DATABASE other{number}").returncode == 0
            assert cluster.psql(f"DROP DATABASE other{number}").returncode == 0
            assert time.monotonic() - began < HANGS_SECONDS
    measured.assert_within(DEADLINE_MS + EXTRA_MS)


def test_a_session_that_is_held_can_be_terminated(cluster):
    with (
        stopwatch(cluster.postmaster_pid) as measured,
        Stage(cluster, slow, deadline_ms=DEADLINE_MS) as stage,
        Holding(cluster, 2) as holding,
        cluster.connect() as connection,
    ):
        wait_until(lambda: stage.of(b"held"), 10, "holds")
        for held in holding.connections:
            pid = held.info.backend_pid
            connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
            gone = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %s)"
            wait_until(
                lambda: connection.execute(gone, (pid,)).fetchone() == (True,),  # noqa: B023
                HANGS_SECONDS, "the session has ended",
            )  # fmt: skip
    measured.assert_within(DEADLINE_MS + EXTRA_MS)


def test_a_fast_shutdown_succeeds_under_a_judge_that_never_answers_in_time():
    with (
        PostgresCluster(pgaudit=False) as own,
        Stage(own, slow, deadline_ms=DEADLINE_MS) as stage,
        Holding(own, 4),
    ):
        wait_until(lambda: stage.of(b"held"), 10, "holds")
        began = time.monotonic()
        own.stop("fast")
        assert time.monotonic() - began < HANGS_SECONDS
