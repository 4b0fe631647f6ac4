"""Batches wait as they came, and those of one commit are decoded as one."""

import polars as pl
import pytest

from agent.wire.batch import BatchBuilder
from collector import intake
from collector.columns import PoisonError
from collector.intake import decode_batch, decode_batches, sift
from collector.segments import Accepted
from collector.store import Store
from collector.submission import BatchId, Submission
from protos.pgwarden.v1 import uplink_pb2 as pb
from tests.collector.road import SESSION, SHAPE, START_US, statement, statements


def sent(first, rows=3, sessions=0):
    builder = BatchBuilder()
    for number in range(first, first + rows):
        builder.add(statement(number), SHAPE, rule=f"rule-{number % 3}")
    for _ in range(sessions):
        builder.add_session(SESSION, START_US)
    (payload,) = builder.take()
    return pb.Batch.FromString(payload.body)


def old(first):
    """Of before digests had a table of their own, and columns were added."""
    batch = sent(first)
    for name in ("digest_d", "trace_parent_s", "preparation_us", "executions"):
        batch.statements.ClearField(name)
    batch.ClearField("digests")
    return batch


def poison():
    batch = sent(1)
    batch.statements.user_s[0] = 10_000
    return batch


@pytest.fixture
def store(tmp_path):
    opened = Store(tmp_path / "data", commit_seconds=0.01)
    yield opened
    opened.close()


def test_many_batches_decoded_together_say_what_each_says_alone():
    several = [
        ("a", sent(0)),
        ("b", old(10)),
        ("a", sent(20, rows=1, sessions=2)),
        ("c", sent(30, rows=0, sessions=1)),
        ("b", sent(40, rows=7)),
        ("c", pb.Batch(losses=[pb.Loss(at_us=START_US, source="s", reason="r", count=2)])),
        ("c", old(50)),
    ]
    together = decode_batches(several).frames
    alone = [decode_batch(batch, agent).frames for agent, batch in several]
    assert together.keys() == {"statements", "sessions", "losses"}
    for table, frame in together.items():
        assert frame.equals(pl.concat([frames[table] for frames in alone if table in frames]))


@pytest.mark.parametrize("bad", [{0}, {6}, {2, 3}, set(range(7)), set()])
def test_poison_among_others_is_found_and_keeps_nothing_back(bad):
    batches = [poison() if number in bad else sent(number * 10) for number in range(7)]
    decoded, refused = sift([("a", batch) for batch in batches])
    ids = [id_ for each in decoded for id_ in each.frames["statements"]["id"]]
    assert ids == [
        id_
        for number, batch in enumerate(batches)
        if number not in bad
        for id_ in batch.statements.id
    ]
    assert refused.keys() == bad
    assert all("user_s" in reason for reason in refused.values())


def test_an_index_may_not_reach_into_the_table_of_the_next_batch():
    first = sent(1)
    first.statements.user_s[0] = len(first.strings)
    with pytest.raises(PoisonError):
        decode_batches([("a", first), ("b", sent(10, rows=9))])


class Wire:
    """One stream: what it hears of its batches."""

    def __init__(self, store):
        self._segments = store.segments
        self.heard = []

    def send(self, sequence, batch):
        def refused(reason):
            self.heard.append((sequence, "refused"))

        return self._segments.submit(
            Submission(
                {},
                BatchId("a", 1, sequence),
                settled=lambda durable: self.heard.append((sequence, durable)),
                message=batch,
                refused=refused,
            )
        )


def test_poison_is_refused_and_the_batches_around_it_are_stored(store):
    wire = Wire(store)
    for sequence, batch in enumerate((sent(0), poison(), sent(10)), 1):
        assert wire.send(sequence, batch) is Accepted.NEW
    store.start()
    assert store.segments.flush()
    assert sorted(wire.heard, key=str) == [(1, True), (2, "refused"), (3, True)]
    assert store.query("SELECT count(*) FROM statements") == [(6,)]
    assert store.segments.durable_sequence("a", 1) == 3


def test_poison_that_is_sent_again_is_refused_again_and_never_acknowledged(store):
    """Its agent may not have heard the first refusal: to call it a duplicate would lose it."""
    wire = Wire(store)
    wire.send(1, sent(0))
    wire.send(2, poison())
    assert wire.send(2, poison()) is Accepted.DUPLICATE  # of one that nobody has looked at
    store.start()
    assert store.segments.flush()
    assert wire.send(2, poison()) is Accepted.NEW
    assert store.segments.flush()
    assert sorted(wire.heard, key=str) == [(1, True), *[(2, "refused")] * 3]
    assert store.segments.durable_sequence("a", 1) == 1


def test_what_breaks_the_decoder_is_refused_and_the_others_are_stored(store, monkeypatch):
    whole = intake.statements_of

    def broken(several):
        if any(batch.sequence == 2 for _, batch in several):
            raise RuntimeError("a bug")
        return whole(several)

    monkeypatch.setattr(intake, "statements_of", broken)
    wire = Wire(store)
    for sequence in (1, 2, 3):
        batch = sent(sequence * 10)
        batch.sequence = sequence
        wire.send(sequence, batch)
    store.start()
    assert store.segments.flush()
    assert sorted(wire.heard, key=str) == [(1, True), (2, "refused"), (3, True)]
    assert store.query("SELECT count(*) FROM statements") == [(6,)]


def test_a_batch_that_is_sent_again_while_it_waits_is_stored_once_and_told_twice(store):
    wire = Wire(store)
    for _ in range(2):
        wire.send(1, sent(0))
    store.start()
    assert store.segments.flush()
    assert wire.heard == [(1, True), (1, True)]
    assert store.query("SELECT count(*) FROM statements") == [(3,)]


def test_batches_that_wait_count_as_rows(store):
    assert Submission({}, message=sent(0, rows=5, sessions=2)).rows == 7
    assert Submission({}, message=pb.Batch.FromString(statements(0, 4).body)).rows == 4
