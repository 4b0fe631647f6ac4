"""A statement that runs for long is on the record once, whatever ends meanwhile: its backend, its
server, or the program that watches.
"""

import os
import signal
import threading
import time
from contextlib import ExitStack, suppress

import psycopg
import pytest

from agent.discovery import cluster_at
from agent.sessions import SessionTracker
from agent.sources.ebpf import EbpfSource
from model.event import SessionEnded, SessionSeen
from model.statement import Statement, StatementRun
from tests.conformance.servers import DEBIAN_MAJOR, Server, fetch
from tests.kernel.majors import MAJORS
from tests.waiting import wait_until

pytestmark = [pytest.mark.kernel, pytest.mark.live]

SLOW = "SELECT pg_sleep(3), 'slow'"
LONG = "SELECT pg_sleep(60), 'long'"
BUSY = "DO $$BEGIN FOR i IN 1..2000000000 LOOP NULL; END LOOP; END$$"


class Watching:
    """The probes on one server, and the record made of what they tell."""

    def __init__(self, server, epoch=1, recorded=()):
        self.source = EbpfSource()
        self.tracker = SessionTracker(epoch, 0, recorded=dict(recorded))
        self.statements: list[Statement] = []
        self.backends = {}
        self.source.add(cluster_at(server.postmaster_pid))

    def take(self, events):
        for event in events:
            if isinstance(event, SessionSeen):
                self.backends[event.backend.pid] = event.backend
            self._keep(self.tracker.observe(event))

    def look(self):
        self.take(self.source.poll(50))
        return self.statements

    def stop(self):
        """As the agent does; returns what it leaves for the next one."""
        self.take(self.source.finish())
        left = self.tracker.unanswered()
        self._keep(self.tracker.flush())
        self.source.close()
        return left

    def _keep(self, told):
        for each in told:
            if isinstance(each, Statement):
                self.statements.append(each)
            elif isinstance(each, StatementRun):
                self.statements += [each.statement(at) for at in range(len(each.executions))]

    def of(self, text):
        return [(each.sqlstate, each.rows) for each in self.statements if each.text == text]


@pytest.fixture(scope="module", params=MAJORS)
def server(request, compiled_probes):
    if request.param != DEBIAN_MAJOR:
        fetch()
    with Server(major=request.param) as running:
        yield running


@pytest.fixture
def own(compiled_probes):
    with Server(major=DEBIAN_MAJOR) as running:
        yield running


@pytest.fixture
def client(server):
    with server.connect() as connection:
        yield connection


def begin(server, connection, text):
    """Returns when the server has begun it."""

    def run():
        with suppress(psycopg.Error):
            connection.execute(text)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    wait_until(lambda: text in active(server), 10)
    time.sleep(0.1)  # begun is not yet executing
    return thread


def active(server):
    query = "SELECT string_agg(query, ';') FROM pg_stat_activity WHERE state = 'active'"
    return server.psql(f"{query} AND pid <> pg_backend_pid()").stdout


def test_one_that_ran_before_the_probes_came_is_told_when_it_ends(server, client):
    thread = begin(server, client, SLOW)
    began_us = time.time_ns() // 1000
    watching = Watching(server)
    wait_until(lambda: watching.look() and watching.of(SLOW.encode()), 10)
    thread.join()
    (slow,) = [each for each in watching.statements if each.text == SLOW.encode()]
    assert (slow.sqlstate, slow.rows, slow.tag) == ("00000", 1, "SELECT")
    assert slow.started_at_us < began_us
    assert 2_900_000 < slow.duration_us < 10_000_000
    client.execute("SELECT 'next'")
    wait_until(lambda: watching.look() and watching.of(b"SELECT 'next'"), 10)
    watching.stop()
    assert watching.of(SLOW.encode()) == [("00000", 1)]
    assert watching.tracker.losses() == {}


@pytest.mark.parametrize("prepared", [False, True])
def test_one_that_outlives_the_program_is_on_the_record_once(server, client, prepared):
    client.prepare_threshold = 0 if prepared else None
    first = Watching(server)
    thread = begin(server, client, SLOW)
    first.look()
    left = first.stop()
    assert first.of(SLOW.encode()) == [("", -1)]
    second = Watching(server, 2, left)
    thread.join()
    client.execute("SELECT 'next'")
    wait_until(lambda: second.look() and second.of(b"SELECT 'next'"), 10)
    second.stop()
    assert second.of(SLOW.encode()) == []
    assert second.tracker.losses() == {}


def test_what_waits_for_its_client_is_not_taken_for_running(server, client):
    client.execute("BEGIN")
    client.execute("SELECT 'before'")
    watching = Watching(server)
    client.execute("COMMIT")
    wait_until(lambda: watching.look() and watching.of(b"COMMIT"), 10)
    watching.stop()
    own = [
        each.text for each in watching.statements if each.session.key.pid == client.info.backend_pid
    ]
    assert own == [b"COMMIT"]


@pytest.mark.parametrize(
    ("text", "tag"),
    [("SET application_name = 'met'", "SET"), ("NOTIFY heard, 'something'", "NOTIFY")],
)
def test_the_first_one_of_an_open_session_ends_whatever_is_told_behind_it(
    server, client, text, tag
):
    """Where the messages of its answer begin is not known."""
    client.autocommit = True
    client.execute("LISTEN heard")
    watching = Watching(server)
    client.execute(text)
    wait_until(lambda: watching.look() and watching.of(text.encode()), 10)
    watching.stop()
    assert [each.tag for each in watching.statements if each.text == text.encode()] == [tag]
    assert watching.tracker.losses() == {}


def test_a_long_text_is_met_whole_or_with_its_length(server, client):
    texts = [f"{SLOW} /*{'x' * size}*/" for size in (5_000, 1_500_000)]
    with ExitStack() as stack:
        for text in texts:
            other = stack.enter_context(server.connect())
            threading.Thread(target=other.execute, args=(text,), daemon=True).start()
        wait_until(lambda: active(server).count("'slow'") == len(texts), 10)
        time.sleep(0.1)
        watching = Watching(server)
        wait_until(
            lambda: len([each for each in watching.look() if b"'slow'" in each.text]) == 2, 10
        )
    watching.stop()
    found = sorted(
        (each for each in watching.statements if b"'slow'" in each.text),
        key=lambda each: each.text_bytes,
    )
    assert [each.text_bytes for each in found] == [len(text) for text in texts]
    assert [each.text for each in found] == [text.encode()[:1_048_575] for text in texts]


def running(watching):
    """Text, whether it executes, and the status of its transaction before it."""
    return sorted(
        (one.asked[0].decode(), one.running.executing, transaction)
        for _, one, transaction in watching.source.running()
    )


def test_what_runs_now_can_be_asked_for_also_while_it_waits_before_it_executes(server, client):
    client.autocommit = True
    client.execute("DROP TABLE IF EXISTS locked")
    client.execute("CREATE TABLE locked (id int)")
    client.prepare_threshold = 0
    watching = Watching(server)
    with server.connect() as other:
        other.autocommit = False
        other.execute("LOCK TABLE locked")
        assert running(watching) == [], "open sessions that wait for their client run nothing"
        blocked = begin(server, client, "SELECT id FROM locked")
        assert running(watching) == [("SELECT id FROM locked", False, "")]
        slow = begin(server, other, SLOW)
        assert running(watching) == [("SELECT id FROM locked", False, ""), (SLOW, True, "T")]
        slow.join()
        other.rollback()
    blocked.join()
    assert running(watching) == []
    watching.stop()


@pytest.mark.parametrize("before", [False, True], ids=["seen to begin", "met"])
def test_one_whose_backend_is_killed_is_told_with_an_end_that_nobody_saw(own, before):
    watching = None if before else Watching(own)
    with suppress(psycopg.Error), own.connect() as connection:
        thread = begin(own, connection, LONG)
        watching = watching or Watching(own)
        watching.look()
        os.kill(connection.info.backend_pid, signal.SIGKILL)
        wait_until(lambda: watching.look() and watching.of(LONG.encode()), 10)
        thread.join(10)
    watching.stop()
    assert watching.of(LONG.encode()) == [("", -1)]


def test_one_that_outlives_its_server_is_told_once(own):
    """Who computes does not notice that the postmaster is gone, and goes on."""
    watching = Watching(own)
    connection = own.connect()
    pid = connection.info.backend_pid
    begin(own, connection, BUSY)
    watching.look()
    assert watching.of(BUSY.encode()) == []
    os.kill(own.postmaster_pid, signal.SIGKILL)
    try:
        assert watching.source.rescan([]) == {}
        for _ in range(20):
            watching.look()
        assert os.path.exists(f"/proc/{pid}"), "it runs on"
    finally:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), 10)
    watching.take([SessionEnded(time.time_ns(), watching.backends[pid])])
    watching.stop()
    assert watching.of(BUSY.encode()) == [("", -1)]


def test_one_that_a_crash_of_the_server_ends_is_told_once(own):
    watching = Watching(own)
    with suppress(psycopg.Error), own.connect() as victim, own.connect() as connection:
        threads = [begin(own, connection, LONG)]
        os.kill(victim.info.backend_pid, signal.SIGKILL)  # the postmaster ends all others
        wait_until(lambda: watching.look() and watching.of(LONG.encode()), 10)
        threads[0].join(10)
    watching.stop()
    ((sqlstate, rows),) = watching.of(LONG.encode())
    assert (sqlstate, rows) in (("57P02", -1), ("", -1))
