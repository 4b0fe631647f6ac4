"""An agent upgraded, or put back, while its spool is full delivers what the other release had put
there."""

import gzip
import sqlite3
import zlib
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from agent.spool.spool import DEFAULT_MAX_BYTES, Spool, SpoolError
from agent.wire.batch import Payload
from tests.collector.road import collector_at, statements, uplink_to

OLDER = Path(__file__).parent / "golden/spool-2026-11.db.gz"
"""Twenty batches of five statements, written by the release of November 2026."""


def test_every_row_of_an_older_releases_spool_arrives_once(tmp_path):
    (tmp_path / "spool.db").write_bytes(gzip.decompress(OLDER.read_bytes()))
    losses = []
    spool = Spool(tmp_path / "spool.db", lambda *loss: losses.append(loss))
    assert spool.depth == 20
    with collector_at(tmp_path) as collector, uplink_to(collector.address, spool) as uplink:
        assert uplink.drain(10)
        told = "SELECT count(*), count(DISTINCT id), min(id), max(id) FROM statements"
        assert collector.store.query(told) == [(100, 100, 0, 99)]
    spool.close()
    assert losses == []


def as_an_older_release_does(path, appended=()):
    """The epoch that it takes for that of all batches; ``appended``: sequences that it gives."""
    with closing(sqlite3.connect(path)) as db, db:
        ((epoch,),) = db.execute("SELECT value FROM meta WHERE name = 'epoch'").fetchall()
        for sequence in appended:
            db.execute("INSERT INTO batch VALUES (?, x'00', ?, 1)", (sequence, zlib.crc32(b"\0")))
            db.execute("INSERT OR REPLACE INTO meta VALUES ('last', ?)", (sequence,))
    return epoch


@contextmanager
def opened(path, on_loss=lambda *loss: None, max_bytes=DEFAULT_MAX_BYTES):
    spool = Spool(path, on_loss, max_bytes)
    yield spool
    spool.close()


def append(spool, count):
    for _ in range(count):
        spool.append(Payload(b"x", {"statements": 1}))


def test_an_older_release_goes_on_in_the_epoch_in_which_batches_may_have_been_sent(tmp_path):
    path = tmp_path / "spool.db"
    with opened(path) as spool:
        append(spool, 3)
        first = spool.begin()
    with opened(path) as spool:
        append(spool, 2)
        assert spool.begin() == first
        assert spool.next_of(first, 1).sequence == 1
    assert as_an_older_release_does(path) == first
    with opened(path) as spool:
        spool.acknowledged(spool.begin(), 3)
        second = spool.begin()
        assert spool.next_of(second, 4).sequence == 4
    assert as_an_older_release_does(path) == second != first
    assert as_an_older_release_does(path, [6, 7]) == second
    with opened(path) as spool:
        append(spool, 1)
        assert spool.begin() == second
        sent = [spool.next_of(second, number) for number in range(4, 9)]
        assert [each and each.sequence for each in sent] == [4, 5, 6, 7, None]


@pytest.mark.parametrize("was_older", [True, False])
def test_a_spool_that_is_full_to_the_last_byte_is_delivered_by_the_next_release(
    tmp_path, was_older
):
    path, losses, taken = tmp_path / "spool.db", [], 0
    with opened(path, lambda *loss: losses.append(loss), 200_000) as spool:
        while not losses:
            before = spool.last_sequence
            taken += 50 * (spool.append(statements(taken, 50)) - before)
    if was_older:
        with closing(sqlite3.connect(path)) as db:
            db.executescript("DROP TABLE epoch; DELETE FROM meta WHERE name = 'ours'")
    refused = len(losses)
    with (
        collector_at(tmp_path) as collector,
        opened(path, lambda *loss: losses.append(loss), 200_000) as spool,
    ):
        spool.append(statements(1_000_000, 50))
        assert len(losses) == refused + 1, "still full"
        with uplink_to(collector.address, spool) as uplink:
            assert uplink.drain(20)
            spool.append(statements(taken, 50))
            assert uplink.drain(10)
        told = "SELECT count(*), count(DISTINCT id), min(id), max(id) FROM statements"
        assert collector.store.query(told) == [(taken + 50, taken + 50, 0, taken + 49)]
    assert len(losses) == refused + 1


def test_a_spool_of_a_later_release_is_refused_with_the_remedy_and_left_as_it_is(tmp_path):
    path = tmp_path / "spool.db"
    with opened(path) as spool:
        append(spool, 1)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 2")
    before = path.read_bytes()
    with pytest.raises(SpoolError, match="later release"), opened(path):
        pass
    assert path.read_bytes() == before
