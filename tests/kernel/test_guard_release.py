"""A hold that ended by another hand is over: no verdict of it may touch what comes next."""

import os
import signal
import threading
import time

import psycopg
import pytest

from agent.discovery import cluster_at
from agent.guard.decision import ALLOW, Decision, DecisionKind
from agent.guard.hands import stopped
from agent.guard.hold import Guard
from agent.guard.server import Server
from agent.guard.stale import release_stale
from agent.sources.ebpf import EbpfSource
from model.event import StatementStarted
from model.verdict import Outcome
from tests.live.postgres import PostgresCluster

pytestmark = [pytest.mark.kernel, pytest.mark.live]

DENY = Decision(DecisionKind.DENY, "no", "not this one", "postgres")


@pytest.fixture(scope="module")
def cluster():
    with PostgresCluster() as cluster:
        yield cluster


@pytest.fixture
def source(cluster):
    with EbpfSource(hold_window_ms=60_000) as source:
        found = cluster_at(cluster.postmaster_pid)
        assert found is not None
        source.holding.set_hold(True)
        source.add(found)
        yield source


class Client(threading.Thread):
    """Runs statements one after another and keeps what each one gave."""

    def __init__(self, cluster: PostgresCluster, source: EbpfSource, statements: list[str]) -> None:
        super().__init__(daemon=True)
        source.holding.set_hold(False)
        self.connection = cluster.connect()
        source.holding.set_hold(True)
        self.pid = self.connection.info.backend_pid
        self.answers: list[str] = []
        self._statements = statements

    def run(self) -> None:
        for statement in self._statements:
            try:
                self.connection.execute(statement)
                self.answers.append("ok")
            except psycopg.Error as error:
                self.answers.append(error.sqlstate or "lost")


def next_hold(source: EbpfSource, pid: int) -> StatementStarted:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for event in source.poll(100):
            if isinstance(event, StatementStarted) and event.held and event.backend.pid == pid:
                wait_stopped(pid)
                return event
    raise AssertionError("nothing was held")


def wait_stopped(pid: int) -> None:
    deadline = time.monotonic() + 5
    while not stopped(pid):
        assert time.monotonic() < deadline
        time.sleep(0.001)


def guard(cluster, source, decision, **options) -> Guard:
    server = Server.running(cluster.postmaster_pid, cluster.major)
    return Guard(lambda _: decision, lambda: [server], is_held=source.holding.is_held, **options)


def test_a_late_verdict_neither_frees_nor_refuses_the_next_statement(cluster, source):
    client = Client(cluster, source, ["SELECT 'first'", "SELECT 'second'", "SELECT 'third'"])
    client.start()
    first = next_hold(source, client.pid)
    os.kill(client.pid, signal.SIGCONT)  # as the watchdog does
    second = next_hold(source, client.pid)
    assert guard(cluster, source, ALLOW).settle(first).outcome is None
    assert stopped(client.pid)
    refused = guard(cluster, source, DENY)
    assert refused.settle(first).outcome is Outcome.TOO_LATE
    assert stopped(client.pid)
    assert refused.settle(second).outcome is Outcome.PREVENTED
    third = next_hold(source, client.pid)
    assert guard(cluster, source, ALLOW).settle(third).outcome is None
    client.join(10)
    assert client.answers == ["ok", "42501", "ok"]


def test_what_a_killed_agent_left_stopped_is_let_go_at_the_next_start(cluster, source):
    client = Client(cluster, source, ["SELECT 'left behind'"])
    client.start()
    next_hold(source, client.pid)
    server = Server.running(cluster.postmaster_pid, cluster.major)
    assert release_stale(server, settle_seconds=0.1) == [client.pid]
    client.join(10)
    assert client.answers == ["ok"]


def test_a_backend_that_a_person_stopped_is_left_alone(cluster, source):
    source.holding.set_hold(False)
    with cluster.connect() as connection:
        pid = connection.info.backend_pid
        os.kill(pid, signal.SIGSTOP)
        try:
            wait_stopped(pid)
            server = Server.running(cluster.postmaster_pid, cluster.major)
            assert release_stale(server, settle_seconds=0.05) == []
            assert stopped(pid)
        finally:
            os.kill(pid, signal.SIGCONT)
