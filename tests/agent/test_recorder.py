"""The recorder counts every failure, logs few of them, and counts a loss once."""

import time
from collections import Counter

import pytest
import structlog

from agent.capture import Inbox
from agent.recorder import Recorder
from agent.spool.spool import Spool
from agent.wire.batch import BatchBuilder
from model.event import Lost
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
