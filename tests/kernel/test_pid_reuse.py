"""A process number comes again: what its second bearer runs is the second login's.

The kernel gives the next process the number after ``ns_last_pid``; root may set it. Others fork as
well, so it is tried until it is given to a backend of ours.
"""

import time
from pathlib import Path

import pytest

from agent.sessions import SessionTracker
from agent.sessions.living import Living
from agent.sources.ebpf import EbpfSource
from model.event import SessionEnded
from model.session import Session
from model.statement import Statement, StatementRun
from tests.waiting import wait_until

pytestmark = [pytest.mark.kernel, pytest.mark.live]
LAST_PID = Path("/proc/sys/kernel/ns_last_pid")
TRIES = 500
OTHERS = 20
LOGINS = ("first_bearer", "second_bearer")


@pytest.fixture
def logins(postgres):
    with postgres.connect() as admin:
        for login in LOGINS:
            admin.execute(f"CREATE ROLE {login} LOGIN")
        yield
        for login in LOGINS:
            admin.execute(f"DROP ROLE {login}")


def test_a_session_whose_end_was_lost_is_found_to_be_gone(libbpf, cluster, postgres):
    with EbpfSource(ring_bytes=4096, loader=libbpf) as source, postgres.connect() as filler:
        source.add(cluster)
        tracker, living = SessionTracker(1, 0), Living(lambda name: {})
        first = postgres.connect()
        others = [postgres.connect() for _ in range(OTHERS)]
        first.execute("SELECT 'first'")
        pid = first.info.backend_pid
        for event in source.poll(100):
            tracker.observe(event)
        (mine,) = (each.key for each in tracker.sessions() if each.key.pid == pid)
        fill(filler, [*others, first])
        for event in source.poll(100):
            tracker.observe(event)
        assert mine in {each.key for each in tracker.sessions()}
        assert living.ended(tracker.sessions()) == []
        ended = living.ended(tracker.sessions())
        assert mine in ended
        assert filler.info.backend_pid not in {key.pid for key in ended}
        for key in ended:
            tracker.observe(SessionEnded(time.time_ns(), key))
            source.forget(key)
        assert [each.key.pid for each in tracker.sessions()] == [filler.info.backend_pid]
        (instance,) = source._instances
        assert set(instance.decoder._backends) == {filler.info.backend_pid}


def connect_as(postgres, login, pid):
    """A connection whose backend has this number, which nobody else bears."""
    for _ in range(TRIES):
        LAST_PID.write_text(str(pid - 1))
        connection = postgres.connect(user=login)
        if connection.info.backend_pid == pid:
            return connection
        connection.close()
    raise AssertionError(f"pid {pid} was not given again in {TRIES} tries")


def gone(pid):
    return not Path(f"/proc/{pid}").exists()


def fill(connection, others):
    """A ring of one page until not even the record of an end fits: the smallest of all."""
    for number in range(50):
        connection.execute(f"SELECT {number} AS flood")
    for other in others:
        pid = other.info.backend_pid
        other.close()
        wait_until(lambda pid=pid: gone(pid))


@pytest.mark.parametrize("exit_record", ["told", "lost"])
def test_a_pid_that_comes_again_is_another_session(libbpf, cluster, postgres, logins, exit_record):
    with EbpfSource(ring_bytes=4096, loader=libbpf) as source, postgres.connect() as filler:
        source.add(cluster)
        filler.execute("SELECT 'known'")
        tracker = SessionTracker(1, 0)
        others = [postgres.connect() for _ in range(OTHERS)]
        events = source.poll(100)
        first = postgres.connect(user=LOGINS[0])
        pid = first.info.backend_pid
        first.execute("SELECT 'first'")
        events += source.poll(100)
        if exit_record == "lost":
            fill(filler, others)
        first.close()
        wait_until(lambda: gone(pid))
        if exit_record == "told":
            events += source.poll(100)
        second = connect_as(postgres, LOGINS[1], pid)
        events += source.poll(100)
        second.execute("SELECT 'second'")
        events += source.poll(100)
        second.close()
        wait_until(lambda: gone(pid))
        events += source.poll(100)
        ended = [e for e in events if isinstance(e, SessionEnded) and e.backend.pid == pid]
        assert len(ended) == (2 if exit_record == "told" else 1)
        lost = {each.reason for each in source.losses()}
        assert ("exit" in lost) == (exit_record == "lost")

    said = [item for event in events for item in tracker.observe(event)]
    who = {
        item.text: (item.session.user, item.session.key)
        for item in said
        if isinstance(item, Statement | StatementRun) and item.session.key.pid == pid
    }
    users, keys = zip(who[b"SELECT 'first'"], who[b"SELECT 'second'"], strict=True)
    assert users == LOGINS
    assert keys[0].started_at_us < keys[1].started_at_us
    ends = {
        item.key: (item.user, item.ended_at_us)
        for item in said
        if isinstance(item, Session) and item.ended_at_us and item.key.pid == pid
    }
    assert [ends[key][0] for key in keys] == list(LOGINS)
    assert ends[keys[0]][1] <= ends[keys[1]][1]
    assert pid not in {session.key.pid for session in tracker.sessions()}
