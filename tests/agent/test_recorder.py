"""The recorder counts every failure, logs few of them, and counts a loss once."""

import threading
import time
from collections import Counter
from functools import partial

import pytest
import structlog

from agent.inbox import Inbox
from agent.recorder import Recorder
from agent.spool.spool import Spool
from agent.wire.batch import BatchBuilder
from model.event import AuditLogged, Lost, StatementStarted
from model.session import BackendKey
from protos.pgwarden.v1 import uplink_pb2 as pb


class Pipeline:
    """The losses only: what the recorder needs of the real one for these tests."""

    def __init__(self):
        self.builder = BatchBuilder()

    @property
    def rows(self):
        return self.builder.rows

    def take(self, events, now_us):
        for event in events:
            if not isinstance(event, Lost):
                raise TypeError("poison")
            self.builder.add_loss(event)

    def tick(self, now_us, logs_read_us=None):
        pass

    def finish(self, now_us):
        pass

    def payloads(self):
        return self.builder.take()

    def mix(self, upto_bytes):
        self.builder.mix(upto_bytes)


class Setup:
    def __init__(self, path, max_bytes=10_000_000):
        self.inbox = Inbox()
        self.counted = Counter()
        self.spool = Spool(path / "spool.db", self._lost, max_bytes)
        self.recorder = Recorder(self.inbox, Pipeline(), self.spool, lambda: None, self._count, 0)

    def _lost(self, source, reason, count):
        self.inbox.overflow.append(Lost(time.time_ns(), source, reason, count))

    def _count(self, lost):
        self.counted[lost.source, lost.reason] += lost.count

    def recorded(self):
        found = Counter()
        for batch in self.spool.read_from(1, 1000):
            for loss in pb.Batch.FromString(batch.body).losses:
                found[loss.source, loss.reason] += loss.count
        return found


def wait_until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_every_failure_is_counted_but_one_a_second_is_logged(tmp_path):
    setup = Setup(tmp_path)
    with structlog.testing.capture_logs() as logs:
        for _ in range(500):
            setup.inbox.offer(["poison"])
        setup.recorder.start()
        wait_until(lambda: setup.counted["agent", "error_TypeError"] == 500)
        told = [line for line in logs if line["event"] == "recorder.failed"]
        assert 1 <= len(told) <= 3
        time.sleep(1.01)  # the limit is a time
        setup.inbox.offer(["poison"])
        wait_until(lambda: setup.counted["agent", "error_TypeError"] == 501)
        setup.recorder.stop()
    told = [line for line in logs if line["event"] == "recorder.failed"]
    assert sum(1 + line["suppressed"] for line in told) == 501
    assert setup.recorded() == {("agent", "error_TypeError"): 501}


@pytest.mark.parametrize("rounds", [1, 5])
def test_a_loss_that_finds_no_room_is_counted_once_and_recorded_when_there_is_some(
    tmp_path, rounds
):
    setup = Setup(tmp_path)
    setup.spool._max_bytes = 0
    setup.inbox.overflow.append(Lost(1_000_000, "ebpf", "ring_full", 12))
    setup.inbox.overflow.append(Lost(2_000_000, "ebpf", "ring_full", 30))
    for _ in range(rounds):
        setup.recorder._tick()
        setup.recorder._flush()
    assert setup.counted == {("ebpf", "ring_full"): 42}
    assert not setup.recorded()
    setup.spool._max_bytes = 1_000_000
    setup.recorder._tick()
    setup.recorder._flush()
    assert setup.counted == setup.recorded() == {("ebpf", "ring_full"): 42}


class SlowPipeline(Pipeline):
    """Each part that it is handed takes a while."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds
        self.taken = 0

    def take(self, events, now_us):
        lost = [event for event in events if isinstance(event, Lost)]
        super().take(lost, now_us)
        if len(events) > len(lost):
            time.sleep(self.seconds)
            self.taken += len(events) - len(lost)


AUDIT = AuditLogged(
    0, BackendKey(1, 1), "", "", "", "", "", "SESSION", 1, 1, "READ", "SELECT", "", "", "a", ""
)


def test_one_that_has_no_time_left_writes_what_it_has_and_counts_the_rest(tmp_path):
    setup = Setup(tmp_path)
    setup.recorder._pipeline = slow = SlowPipeline(0.02)
    started = StatementStarted(0, BackendKey(1, 1), b"SELECT 1", 8)
    for _ in range(1000):
        setup.inbox.offer([started])
    setup.recorder.start()
    wait_until(lambda: slow.taken)
    began = time.monotonic()
    setup.recorder.stop(0.2)
    assert time.monotonic() - began < 2
    assert not setup.recorder.alive
    lost = setup.recorded()["agent", "stopped"]
    assert lost
    assert slow.taken + lost == 1000
    assert setup.counted["agent", "stopped"] == lost


def test_megabytes_of_a_log_keep_nobody_waiting_and_are_not_confirmed(tmp_path):
    setup, confirmed = Setup(tmp_path), []
    setup.recorder._pipeline = slow = SlowPipeline(0.1)
    setup.inbox.deliver([AUDIT] * 50_000, lambda: confirmed.append(1), threading.Event())
    setup.recorder.start()
    wait_until(lambda: slow.taken)
    began = time.monotonic()
    setup.recorder.stop(0.0)
    assert time.monotonic() - began < 2
    assert not setup.recorder.alive
    assert (confirmed, setup.recorded()) == ([], {})


def test_of_positions_in_one_log_only_the_newest_is_confirmed(tmp_path):
    setup, confirmed = Setup(tmp_path), []

    def confirm(position):
        confirmed.append(position)

    for position in (1, 2, 3):
        setup.recorder._confirms.append((0, partial(confirm, position)))
    setup.recorder._confirms.append((0, lambda: confirmed.append("another")))
    setup.recorder._flush()
    assert confirmed == [3, "another"]
