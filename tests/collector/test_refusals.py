"""A refused batch among good ones: the acknowledgement that covers its number does not hide it."""

import queue
from itertools import pairwise

import grpc
import pytest

from agent.spool.spool import Spool
from agent.wire.batch import BatchBuilder, to_wire
from collector import refusals as refusals_module
from collector.refusals import KEPT, KEPT_OF_AGENT, NAME, Refusals
from collector.submission import BatchId, Owner, Submission
from protos.pgwarden.v1 import uplink_pb2 as pb
from tests.collector.road import SHAPE, collector_at, statement, statements, uplink_to
from tests.waiting import wait_until

CONNECT = "/pgwarden.v1.Uplink/Connect"


def far_ahead():
    """Well formed, and refused by who decodes its rows."""
    builder = BatchBuilder()
    builder.add(statement(9999, started_at_us=9_000_000_000_000_000), SHAPE)
    (payload,) = builder.take()
    return payload


def unequal_columns():
    """Refused as it comes in."""
    builder = BatchBuilder()
    builder.add(statement(9999), SHAPE)
    (payload,) = builder.take()
    batch = pb.Batch.FromString(payload.body)
    batch.statements.rows.append(1)
    return type(payload)(batch.SerializeToString(), payload.counts)


def opened(tmp_path, losses):
    return Spool(tmp_path / "spool.db", lambda *loss: losses.append(loss))


def sent_by_an_agent_that_reads_no_answer(address, spool, is_there):
    """As one that is killed between the collector's commit and its reading of the refusal."""
    outbox = queue.SimpleQueue()
    outbox.put(pb.AgentMessage(hello=pb.Hello(agent="host-a", epoch=spool.begin())))
    for batch in spool.read_from(1):
        outbox.put(to_wire(batch.body, spool.epoch, batch.sequence))
    with grpc.insecure_channel(address) as channel:
        connect = channel.stream_stream(
            CONNECT, lambda m: m if isinstance(m, bytes) else m.SerializeToString()
        )
        call = connect(iter(outbox.get, None))
        wait_until(is_there)
        call.cancel()
        outbox.put(None)
    spool.close()


@pytest.mark.parametrize("poison", [far_ahead, unequal_columns])
@pytest.mark.parametrize("is_restarted", [False, True])
def test_an_agent_that_was_killed_before_it_read_a_refusal_hears_it_again(
    tmp_path, poison, is_restarted
):
    losses = []
    spool = opened(tmp_path, losses)
    spool.append(statements(1, 10), poison(), statements(11, 10))
    with collector_at(tmp_path) as collector:
        sent_by_an_agent_that_reads_no_answer(
            collector.address, spool, lambda: collector.count() == 20
        )
        if not is_restarted:
            drained(collector, spool := opened(tmp_path, losses))
    if is_restarted:
        with collector_at(tmp_path) as collector:
            drained(collector, spool := opened(tmp_path, losses))
    assert losses == [("spool", "rejected", 1)]
    spool.close()


def drained(collector, spool):
    with uplink_to(collector.address, spool) as uplink:
        assert uplink.drain(10)
    assert collector.count() == 20


def test_of_each_agent_the_newest_refusals_are_kept_whatever_another_one_sends(tmp_path):
    refusals = Refusals(tmp_path / "state")
    refusals.add([(BatchId("quiet", 7, 3), "why")])
    refusals.add((BatchId("loud", 1, number), "x" * 999) for number in range(1, 1001))
    for known in (refusals, Refusals(tmp_path / "state")):
        assert known.of("quiet", 7, 3) == [(3, "why")]
        assert known.of("quiet", 7, 2) == known.of("quiet", 8, 3) == []
        loud = known.of("loud", 1, 10**6)
        assert [number for number, _ in loud] == list(range(1001 - KEPT_OF_AGENT, 1001))


def test_without_room_for_the_refusal_nothing_is_acknowledged_that_covers_it(tmp_path, monkeypatch):
    losses = []
    spool = opened(tmp_path, losses)
    spool.append(statements(1, 10), far_ahead(), statements(11, 10))

    def full(self, reasons, changed):
        raise OSError(28, "No space left on device")

    with collector_at(tmp_path) as collector:
        with monkeypatch.context() as patch:
            patch.setattr(Refusals, "_keep", full)
            segments = collector.store.segments
            sent_by_an_agent_that_reads_no_answer(
                collector.address, spool, lambda: not segments.healthy
            )
            assert collector.count() == 0
        drained(collector, spool := opened(tmp_path, losses))
    assert losses == [("spool", "rejected", 1)]
    spool.close()


def test_what_was_refused_after_the_greeting_is_told_when_it_is_sent_again(tmp_path):
    """The old stream's batches are decided while its agent is on a new one already."""
    told = []

    def sent(owner, stream, sequence, payload):
        message = pb.Batch.FromString(payload.body)
        message.epoch, message.sequence = 7, sequence
        return Submission(
            {}, BatchId("host-a", 7, sequence), owner, message=message, weight=1,
            settled=lambda done: told.append((stream, "ack" if done else "drop", sequence)),
            refused=lambda reason: told.append((stream, "refused", sequence)),
        )  # fmt: skip

    old, new = Owner(), Owner()
    with collector_at(tmp_path) as collector:
        segments = collector.store.segments
        for sequence, payload in ((1, far_ahead()), (2, statements(1, 1))):
            segments.submit(sent(old, "old", sequence, payload))
        greeted = segments.refused("host-a", 7, segments.durable_sequence("host-a", 7))
        assert segments.flush()
        segments.replace_owner(old)
        for sequence, payload in ((1, far_ahead()), (2, statements(1, 1))):
            segments.submit(sent(new, "new", sequence, payload))
        assert segments.flush()
    assert greeted == []
    assert [each for each in told if each[0] == "new"] == [("new", "refused", 1), ("new", "ack", 2)]


def test_what_another_release_takes_after_all_is_refused_no_more(tmp_path, monkeypatch):
    """Its agent, killed before it read the acknowledgement, would count what is stored."""
    losses = []
    spool = opened(tmp_path, losses)
    spool.append(statements(1, 10), statements(11, 10))
    batch, other = BatchId("host-a", spool.epoch, 2), BatchId("host-b", 7, 1)
    refused = Refusals(tmp_path / "data/state")
    refused.add([(batch, "of an older release"), (other, "no")])
    with collector_at(tmp_path) as collector:
        sent_by_an_agent_that_reads_no_answer(
            collector.address, spool, lambda: collector.count() == 20
        )
    with collector_at(tmp_path) as collector:
        drained(collector, spool := opened(tmp_path, losses))
    assert losses == []
    assert Refusals(tmp_path / "data/state").reason(other) == "no"
    spool.close()


def test_refusals_of_any_number_of_names_are_bounded(tmp_path):
    kept = Refusals(tmp_path)
    kept.add((BatchId(f"host-{number}", 7, 1), "no") for number in range(KEPT + 5))
    assert kept.of("host-4", 7, 1) == []
    assert kept.of("host-5", 7, 1) == [(1, "no")]
    assert Refusals(tmp_path).of(f"host-{KEPT + 4}", 7, 1) == [(1, "no")]


def test_a_refusal_costs_a_line_however_many_there_are_and_the_file_stays_bounded(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(refusals_module, "MOST_LINES", 300)
    kept, file = Refusals(tmp_path), tmp_path / NAME
    kept.add((BatchId(f"host-{number}", 7, 1), "no") for number in range(250))
    sizes = [file.stat().st_size]
    for number in range(40):
        kept.add([(BatchId("late", 7, number), "why")])
        sizes.append(file.stat().st_size)
    assert max(b - a for a, b in pairwise(sizes)) < 40
    kept.forget({BatchId("late", 7, 3)})
    for number in range(500):
        kept.add([(BatchId("late", 8, number), "why")])
        assert len(file.read_bytes().splitlines()) <= 250 + 40 + KEPT_OF_AGENT
    for known in (kept, Refusals(tmp_path)):
        assert known.reason(BatchId("host-249", 7, 1)) == "no"
        assert known.reason(BatchId("late", 7, 3)) == ""
        assert len(known.of("late", 8, 500)) == KEPT_OF_AGENT


def test_a_line_that_was_cut_hides_no_other_one(tmp_path):
    kept, file = Refusals(tmp_path), tmp_path / NAME
    kept.add([(BatchId("a", 7, 1), "one")])
    kept.add([(BatchId("a", 7, 2), "two")])
    whole = file.read_bytes()
    for length in range(whole.index(b"\n") + 1, len(whole)):
        file.write_bytes(whole[:length])
        again = Refusals(tmp_path)
        assert again.of("a", 7, 9) == [(1, "one")]
        again.add([(BatchId("a", 7, 3), "three")])
        assert Refusals(tmp_path).of("a", 7, 9) == [(1, "one"), (3, "three")]
