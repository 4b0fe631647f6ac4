"""What the kernel program holds: client backends of watched clusters, while a judge is alive."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from agent.probes.layout import JUDGE
from agent.sources.ebpf import EbpfSource
from agent.sources.instance import ZERO
from model.event import Protocol, StatementStarted
from tests.kernel.capture import Capture, singly, starts
from tests.live.postgres import PostgresCluster

pytestmark = [pytest.mark.kernel, pytest.mark.live]
BOTH_LOADERS = True
WINDOW_MS = 500


class Releasing(Capture):
    """Lets every held backend go as soon as it is seen, and keeps the pulse."""

    def until(self, reached):
        deadline = time.monotonic() + 10
        while not reached(self.events):
            assert time.monotonic() < deadline, f"waited in vain; seen: {self.events[-20:]}"
            self.source.holding.beat()
            events = singly(self.source.poll(20))
            for event in events:
                if isinstance(event, StatementStarted) and event.held:
                    os.kill(event.backend.pid, signal.SIGCONT)
            self.events += events
        return self.events


@pytest.fixture(scope="module")
def source(loader, cluster):
    with EbpfSource(loader=loader, hold_window_ms=WINDOW_MS) as source:
        source.add(cluster)
        yield source


@pytest.fixture
def holding(source, postgres):
    source.poll(0)
    yield Releasing(source, postgres)
    source.holding.set_hold(False)


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def in_background(work) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_statement_is_held_until_it_is_let_go(holding, postgres):
    with postgres.connect() as connection:
        pid = connection.info.backend_pid
        holding.source.holding.set_hold(True)
        thread = in_background(lambda: connection.execute("SELECT 'held'"))
        events: list = []
        while not starts(events):
            holding.source.holding.beat()
            events += singly(holding.source.poll(100))
        (start,) = starts(events)
        assert start.held
        # The record is sent a moment before the backend leaves the kernel and stops.
        deadline = time.monotonic() + 5
        while (state := state_of(pid)) != "T" and time.monotonic() < deadline:
            time.sleep(0.001)
        os.kill(pid, signal.SIGCONT)
        thread.join(timeout=5)
        assert state == "T"
        assert not thread.is_alive()


def test_without_a_beat_nothing_is_held(holding, postgres):
    holding.source.holding.set_hold(True)
    with postgres.connect() as connection:
        time.sleep(WINDOW_MS / 1000 + 0.05)  # the judge's silence is what is tested
        events = singly(holding.source.poll(0))
        connection.execute("SELECT 'free'")
        events += singly(holding.source.poll(100))
    assert [start.held for start in starts(events)] == [False]


def test_what_passes_because_the_judge_gives_no_sign_of_life_is_counted(holding, postgres):
    holding.source.losses()
    holding.source.holding.set_hold(True)
    with postgres.connect() as connection:
        time.sleep(WINDOW_MS / 1000 + 0.05)
        connection.execute("SELECT 'passed'")
        passed = {lost.reason: lost.count for lost in holding.source.losses()}
        holding.source.holding.set_hold(False)
        connection.execute("SELECT 'nobody wanted to hold it'")
        assert holding.source.losses() == []
    assert passed == {"unheld": 1}


def test_a_beat_that_comes_while_the_kernel_looks_does_not_let_a_statement_slip(holding, postgres):
    """The pulse may be a moment later than the clock that the probe has already read."""
    with postgres.connect() as connection:
        (instance,) = holding.source._instances
        ahead_ns = time.monotonic_ns() + 2_000_000_000
        instance.map("judges").update(ZERO, JUDGE.pack(ahead_ns, WINDOW_MS * 1_000_000, 1, 0, 0, 0))
        thread = in_background(lambda: connection.execute("SELECT 'not yet'"))
        events: list = []
        while not starts(events):
            events += singly(holding.source.poll(100))
        os.kill(connection.info.backend_pid, signal.SIGCONT)
        thread.join(timeout=5)
        assert [start.held for start in starts(events)] == [True]


def test_every_execution_is_held_whatever_the_protocol(holding, postgres):
    with postgres.connect() as connection:
        pid = connection.info.backend_pid
        connection.execute("PREPARE inner_one AS SELECT 1")
        holding.forget()
        holding.source.holding.set_hold(True)

        def work():
            connection.execute("SELECT 1; SELECT 2")
            connection.execute("SELECT %s::int", (1,), prepare=True)
            connection.execute("SELECT %s::int", (1,), prepare=True)
            connection.execute("EXECUTE inner_one")
            connection.execute("SELECT 1 --" + "h" * 2_000_000)

        thread = in_background(work)
        holding.until(lambda events: any(start.text_bytes > 2_000_000 for start in starts(events)))
        while thread.is_alive():
            holding.source.holding.beat()
            holding.until(lambda _: not thread.is_alive())
        mine = [event for event in starts(holding.events) if event.backend.pid == pid]
        assert [start.held for start in mine] == [True] * 7
        assert [start.depth for start in mine] == [0, 0, 0, 0, 0, 1, 0]


def test_walsenders_are_seen_and_never_held(holding, postgres):
    holding.source.holding.set_hold(True)
    holding.source.holding.beat()
    with postgres.connect(replication="database") as connection:
        connection.pgconn.exec_(b"IDENTIFY_SYSTEM")
    holding.until(lambda events: bool(starts(events)))
    (start,) = starts(holding.events)
    assert start.protocol is Protocol.REPLICATION
    assert start.text == b"IDENTIFY_SYSTEM"
    assert not start.held


def test_a_cluster_that_nobody_named_is_never_held(loader, cluster):
    with PostgresCluster() as other, EbpfSource(loader=loader) as source:
        source.add(cluster)
        source.holding.set_hold(True)
        source.holding.beat()
        with other.connect() as connection:
            for _ in range(20):
                source.holding.beat()
                connection.execute("SELECT 1")
        assert starts(singly(source.poll(50))) == []
