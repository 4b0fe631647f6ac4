"""Past hours and days are one segment each, and the record stays the same."""

import os

import pytest

from collector import compaction
from collector.compaction import HOUR_US, compact
from collector.heads import Sealing
from collector.ledger_reading import entries_since, verify
from collector.pgwarden_verify import check_folder, check_proof, public_keys
from collector.proofs import Prover
from collector.store import Store
from tests.collector.road import START_US

DAY_US = 24 * HOUR_US
MIDNIGHT = START_US - START_US % DAY_US
LATER = (MIDNIGHT + 10 * DAY_US) / 1e6


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "data", commit_seconds=0.001, sealing=Sealing(entries=10**6))
    store.tidying.looked_at = float("inf")
    store.start()
    yield store
    store.close()


def filled(store, hours=(0, 1, 2, 23, 24, 25), commits=3):
    """Commits in each hour, a row in each; old files, by their modification time."""
    for hour in hours:
        for number in range(commits):
            at = MIDNIGHT + hour * HOUR_US + number
            row = {"occurred_at": at, "source": "t", "reason": f"{hour}.{number}", "count": 1}
            store.append("losses", [row])
            assert store.segments.flush()
    assert store.heads.sign()
    rest(store)


def rest(store):
    for file in store.ledger.files:
        os.utime(store.data_dir / file, (0, 0))


def rows(store):
    return store.query("SELECT occurred_at, reason, count FROM losses ORDER BY occurred_at")


def spans(store, length_us):
    return [file.first_us // length_us for file in store.ledger.files.values()]


def compacted(store, now=LATER):
    passes = 0
    while compact(store.data_dir, store.ledger, "losses", store.damage, now):
        passes += 1
        assert passes < 100
    return passes


def test_hours_become_one_segment_then_days_and_no_row_and_no_proof_is_lost(store):
    filled(store)
    before = rows(store)
    proof = Prover(store.data_dir).event(2, 1)
    assert compacted(store) == 6
    assert len(spans(store, HOUR_US)) == len(set(spans(store, HOUR_US))) == 6
    assert compacted(store) == 0, "what was just written rests first"
    rest(store)
    assert compacted(store) == 2
    assert len(spans(store, DAY_US)) == len(set(spans(store, DAY_US))) == 2
    assert rows(store) == before
    assert verify(store.data_dir) == []
    assert store.heads.sign()
    assert check_folder(store.data_dir).problems == []
    assert list(Prover(store.data_dir).contradictions()) == []
    assert check_proof(proof, public_keys((store.data_dir / "ledger.pub").read_bytes())) == []


def test_an_hour_that_is_not_over_is_left_alone(store):
    filled(store, hours=(0, 1))
    half_past_one = (MIDNIGHT + 1.5 * HOUR_US) / 1e6
    assert compacted(store, half_past_one) == 1
    assert len(store.ledger.files) == 1 + 3


def test_files_that_were_written_just_now_wait(store):
    filled(store, hours=(0,))
    newest = list(store.ledger.files)[-1]
    os.utime(store.data_dir / newest, (LATER - 60, LATER - 60))
    assert compacted(store) == 0
    assert compacted(store, LATER + 600) == 1


def test_no_segment_becomes_larger_than_a_merge_may_hold(store, monkeypatch):
    monkeypatch.setattr(compaction, "MOST_ROWS", 4)
    filled(store, hours=(0,), commits=10)
    compacted(store)
    rest(store)
    compacted(store)
    assert [file.rows for file in store.ledger.files.values()] == [4, 4, 2]


def test_a_damaged_segment_is_found_not_copied_and_the_others_are_merged(store):
    filled(store, hours=(0,))
    path = store.data_dir / next(iter(store.ledger.files))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    rest(store)
    assert compacted(store) == 0, "it is found"
    assert store.damage.count == 1
    assert compacted(store) == 1, "and the rest goes on"
    assert [reason for _, reason, _ in rows(store)] == ["0.1", "0.2"]
    assert verify(store.data_dir) == []
    (damaged,) = [e for e in entries_since(store.data_dir, 1) if e.reason == "damaged"]
    assert damaged.removed == (str(path.relative_to(store.data_dir)),)
