"""A record put back from a copy: what was acknowledged since is missing, and is counted."""

import shutil
import sqlite3

import pytest

from agent.spool.spool import Spool
from agent.wire.batch import Payload
from collector.bounds import MOST_LOST, cut_hello
from collector.missing_batches import MissingBatches
from collector.pgwarden_verify import check_folder
from protos.pgwarden.v1 import uplink_pb2 as pb
from tests.collector.road import collector_at, statements, uplink_to

POISON = pb.Batch(strings=[""], statements=pb.StatementColumns(id=[1, 2], rows=[1]))


def spooled(tmp_path):
    return Spool(tmp_path / "spool.db", lambda *loss: None)


def deliver(tmp_path, spool, numbers):
    with collector_at(tmp_path) as collector, uplink_to(collector.address, spool) as uplink:
        for number in numbers:
            spool.append(statements(number, 1))
        assert uplink.drain(10)
        assert collector.store.segments.flush()
        return (
            [number for (number,) in collector.store.query("SELECT id FROM statements ORDER BY 1")],
            collector.store.query("SELECT agent, source, reason, count FROM losses"),
        )


@pytest.mark.parametrize("is_restarted", [False, True])
def test_what_a_restored_record_lacks_is_counted_once(tmp_path, is_restarted):
    spool = spooled(tmp_path)
    deliver(tmp_path, spool, range(5))
    shutil.copytree(tmp_path / "data", tmp_path / "backup")
    deliver(tmp_path, spool, range(5, 15))
    shutil.rmtree(tmp_path / "data")
    (tmp_path / "backup").rename(tmp_path / "data")
    if is_restarted:
        spool.close()
        spool = spooled(tmp_path)
    ids, losses = deliver(tmp_path, spool, range(15, 20))
    assert ids == [*range(5), *range(15, 20)]
    assert losses == [("host-a", "uplink", "record_older", 10)]
    ids, losses = deliver(tmp_path, spool, range(20, 21))
    assert losses == [("host-a", "uplink", "record_older", 10)], "and not again"
    spool.close()
    ledger = (tmp_path / "data/ledger.jsonl").read_text()
    assert ledger.count('"kind":"batches_missing"') == 1
    assert check_folder(tmp_path / "data").problems == []


@pytest.mark.parametrize("openings", [(10,), (10, 4), (3, 4, 5)])
@pytest.mark.parametrize("is_started_anew", [False, True])
def test_what_is_missing_of_several_openings_of_the_spool_is_counted_as_often_as_it_is_lost(
    tmp_path, openings, is_started_anew
):
    """Numbers go on over all of them: the record has those before, in other epochs."""
    number = 0

    def opening(count):
        nonlocal number
        spool = spooled(tmp_path)
        try:
            return deliver(tmp_path, spool, range(number, number + count))
        finally:
            number += count
            spool.close()

    opening(7)
    if is_started_anew:
        for part in tmp_path.glob("spool.db*"):
            part.unlink()
        opening(3)
    shutil.copytree(tmp_path / "data", tmp_path / "backup")
    for count in openings:
        opening(count)
    before = number
    shutil.rmtree(tmp_path / "data")
    (tmp_path / "backup").rename(tmp_path / "data")
    opening(0)  # and the collector restarts before another batch comes
    ids, losses = opening(5)
    assert [count for *_, count in losses] == [sum(openings)]
    assert len(ids) + sum(openings) == before + 5 == number
    _, losses = opening(1)
    assert [count for *_, count in losses] == [sum(openings)]
    assert check_folder(tmp_path / "data").problems == []


def test_a_spool_made_anew_since_the_copy_counts_from_its_own_first_number(tmp_path):
    spool = spooled(tmp_path)
    deliver(tmp_path, spool, range(20))
    spool.close()
    shutil.copytree(tmp_path / "data", tmp_path / "backup")
    for part in tmp_path.glob("spool.db*"):
        part.unlink()
    spool = spooled(tmp_path)
    deliver(tmp_path, spool, range(20, 26))
    shutil.rmtree(tmp_path / "data")
    (tmp_path / "backup").rename(tmp_path / "data")
    assert deliver(tmp_path, spool, [])[1] == [("host-a", "uplink", "record_older", 6)]
    spool.close()


@pytest.mark.parametrize("knows_its_start", [True, False])
def test_a_spool_of_an_older_release_is_not_taken_for_the_longer_one_before_it(
    tmp_path, knows_its_start
):
    """``knows_its_start``: upgraded since the copy; else by a release that did not write it."""
    spool = spooled(tmp_path)
    deliver(tmp_path, spool, range(20))
    spool.close()
    for part in tmp_path.glob("spool.db*"):
        part.unlink()
    spool = spooled(tmp_path)
    if not knows_its_start:
        deliver(tmp_path, spool, range(20, 22))
    shutil.copytree(tmp_path / "data", tmp_path / "backup")
    deliver(tmp_path, spool, range(22, 28))
    spool.close()
    with sqlite3.connect(tmp_path / "spool.db") as db:
        db.execute("DELETE FROM meta WHERE name = 'born'")
        if knows_its_start:
            db.execute("DELETE FROM meta WHERE name IN ('ours', 'done')")
            db.execute("DROP TABLE epoch")
    db.close()
    spool = spooled(tmp_path)
    deliver(tmp_path, spool, [28])
    shutil.rmtree(tmp_path / "data")
    (tmp_path / "backup").rename(tmp_path / "data")
    _, losses = deliver(tmp_path, spool, [29])
    assert losses == [("host-a", "uplink", "record_older", 7)]
    spool.close()


def test_a_number_that_nobody_can_have_come_to_is_counted_within_bounds(tmp_path):
    hello = cut_hello(pb.Hello(agent="a", epoch=1, acknowledged=2**64 - 1))
    rows = []
    missing = MissingBatches(lambda table, each: rows.extend(each), lambda kind, **facts: None)
    missing.heard(hello, 5, 7)
    assert rows[0]["count"] == MOST_LOST


def test_an_agent_that_comes_from_another_collector_has_no_gap_here(tmp_path):
    spool = spooled(tmp_path)
    deliver(tmp_path, spool, range(5))
    shutil.rmtree(tmp_path / "data")
    ids, losses = deliver(tmp_path, spool, range(5, 10))
    assert (ids, losses) == ([5, 6, 7, 8, 9], [])
    spool.close()


def test_what_an_agent_gave_another_collector_in_between_counts_as_missing_here(tmp_path):
    """It does not say to whom it delivered: docs/operations.md says so."""
    first, other = tmp_path / "first", tmp_path / "other"
    for folder in (first, other):
        folder.mkdir()
    spool = spooled(tmp_path)
    deliver(first, spool, range(5))
    assert deliver(other, spool, range(5, 9)) == ([5, 6, 7, 8], [])
    ids, losses = deliver(first, spool, [9])
    assert ids == [0, 1, 2, 3, 4, 9]
    assert losses == [("host-a", "uplink", "record_older", 4)]
    spool.close()


def test_what_was_refused_or_set_aside_is_not_missing(tmp_path):
    spool = spooled(tmp_path)
    deliver(tmp_path, spool, range(3))
    spool.append(Payload(POISON.SerializeToString(), {"statements": 2}))
    deliver(tmp_path, spool, [])
    for _ in range(2):
        spool.close()
        spool = spooled(tmp_path)
        assert deliver(tmp_path, spool, [])[1] == []
    spool.close()


def test_streams_of_one_epoch_tell_of_it_once_and_those_of_older_agents_never():
    rows, notes = [], []
    missing = MissingBatches(
        lambda table, each: rows.extend(each), lambda kind, **facts: notes.append(facts)
    )
    for _ in range(3):
        missing.heard(pb.Hello(agent="a", epoch=1, acknowledged=15), 5, 7)
    missing.heard(pb.Hello(agent="a", epoch=2), 5, 7)
    missing.heard(pb.Hello(agent="a", epoch=2, acknowledged=5), 5, 7)
    assert [row["count"] for row in rows] == [10]
    assert notes == [{"agent": "a", "epoch": 1, "first": 6, "last": 15}]
    assert missing.count == 10
