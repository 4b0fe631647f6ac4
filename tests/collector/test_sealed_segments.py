"""What is sealed anew comes of the bytes that were compared with the old seal, and of no others."""

import ctypes
import logging
import os
import threading
import time

import polars as pl
import pytest

from collector import merge, scrub
from collector.damage import Damage
from collector.ledger_reading import entries_since, verify
from collector.merge import merge_small_segments
from collector.pgwarden_verify import check_folder
from collector.retention import DAY_US, Retention, retain
from collector.sealed_segment import SegmentError, sealed_frame
from collector.store import Store
from tests.waiting import wait_until

IN_CLOSE_NOWRITE = 0x10
NOW_US = 1_790_000_000_000_000


@pytest.fixture(autouse=True)
def four_are_many(monkeypatch):
    monkeypatch.setattr(merge, "FEWEST", 4)


@pytest.fixture
def store(tmp_path):
    """Forty commits of two losses each, 1 and 0 days old."""
    opened = Store(tmp_path / "data", commit_seconds=0.001)
    opened.tidying.looked_at = float("inf")
    opened.start()
    for number in range(40):
        loss = {"source": "true", "reason": f"{number:02}", "count": 1}
        opened.append("losses", [{**loss, "occurred_at": NOW_US - n * DAY_US} for n in (1, 0)])
        bulk = [{"id": number + 1000 * n, "started_at": NOW_US - n * DAY_US} for n in (1, 0)]
        opened.append("statements", bulk)
        assert opened.segments.flush()
    yield opened
    opened.close()


def segments(store, table="losses"):
    files = [file for file in store.ledger.files_now() if file.table == table]
    return sorted(files, key=lambda file: file.path)


def swapped_once_closed(path, forged):
    """A thread that puts ``forged`` there as soon as somebody has read the file."""
    libc = ctypes.CDLL(None)
    descriptor = libc.inotify_init()
    libc.inotify_add_watch(descriptor, str(path).encode(), IN_CLOSE_NOWRITE)

    def swap():
        os.read(descriptor, 4096)
        os.replace(forged, path)
        os.close(descriptor)

    thread = threading.Thread(target=swap, daemon=True)
    thread.start()
    return thread


def forge(store, file, column, value):
    path = store.data_dir / file.path
    forged = store.data_dir.parent / "forged.parquet"
    frame = pl.read_parquet(path, glob=False).with_columns(pl.lit(value).alias(column))
    frame.write_parquet(forged)
    return path, forged


def flip(store, file):
    path = store.data_dir / file.path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def reasons(store):
    return [row[0] for row in store.query("SELECT DISTINCT reason FROM losses ORDER BY reason")]


def test_what_is_put_in_a_segments_place_while_it_is_merged_is_not_merged(store):
    path, forged = forge(store, segments(store)[3], "source", "forged")
    thread = swapped_once_closed(path, forged)
    for gone in merge_small_segments(store.data_dir, store.ledger, "losses", store.damage):
        thread.join(10)
        gone.unlink()
    assert not thread.is_alive()
    assert store.query("SELECT DISTINCT source FROM losses") == [("true",)]
    assert len(reasons(store)) == 40
    assert store.heads.sign()
    assert check_folder(store.data_dir).problems == []


def test_what_is_put_in_a_segments_place_while_it_is_cut_is_not_cut(store):
    path, forged = forge(store, segments(store, "statements")[3], "user_name", "forged")
    thread = swapped_once_closed(path, forged)
    retain(store.data_dir, store.ledger, Retention(days_of={"statements": 1}), NOW_US + 1,
           store.damage)  # fmt: skip
    thread.join(10)
    assert not thread.is_alive()
    assert store.query("SELECT count(*), count(user_name) FROM statements") == [(40, 0)]


def test_a_segment_that_was_exchanged_before_is_read_by_nobody(store):
    file = segments(store)[3]
    path, forged = forge(store, file, "source", "forged")
    os.replace(forged, path)
    with pytest.raises(SegmentError, match=r"\.parquet: \d+ bytes, sealed with"):
        sealed_frame(store.data_dir, file)


def test_one_flipped_bit_is_told_taken_out_and_ends_no_merging(store, caplog):
    damaged = segments(store)[3]
    flip(store, damaged)
    with caplog.at_level(logging.ERROR):
        assert merge_small_segments(store.data_dir, store.ledger, "losses", store.damage) == []
    assert f"taken out of the record: {damaged.path}" in caplog.text
    assert store.damage.count == 1
    assert f"{damaged.path}: its SHA-256 is not the sealed one" in store.damage.problem
    merged = merge_small_segments(store.data_dir, store.ledger, "losses", store.damage)
    assert len(merged) == 39
    assert "03" not in reasons(store)
    assert verify(store.data_dir) == []


def test_one_that_cannot_be_read_stays_in_the_record_and_ends_no_merging(store):
    missing = segments(store)[10]
    (store.data_dir / missing.path).rename(store.data_dir / "aside")
    merge_small_segments(store.data_dir, store.ledger, "losses", store.damage)
    assert store.damage.count == 1
    assert len(merge_small_segments(store.data_dir, store.ledger, "losses", store.damage)) == 10
    assert missing in segments(store)
    assert [e for e in entries_since(store.data_dir, 1) if e.reason == "damaged"] == []
    (store.data_dir / "aside").rename(store.data_dir / missing.path)
    assert reasons(store) == [f"{number:02}" for number in range(40)], "in their order"


def test_a_segment_that_is_whole_again_at_the_second_look_is_kept(store):
    file = segments(store)[3]
    store.damage.found(SegmentError(file, "its SHA-256 is not the sealed one", True))
    assert store.damage.count == 0
    assert file in segments(store)


def test_what_only_lies_there_is_read_again_and_a_flipped_bit_is_found(store, monkeypatch):
    damaged = segments(store, "statements")[5]
    flip(store, damaged)
    reads = scrub.Scrub(store.data_dir, store.ledger, store.damage)
    monkeypatch.setattr(scrub, "BYTES_PER_SECOND", 1 << 30)
    reads.start()
    wait_until(lambda: reads.passes == 1)
    reads.stop()
    reads.join()
    assert store.damage.count == 1
    assert store.ledger.damaged.keys() == {damaged.path}
    assert reads.bytes == sum(file.bytes for file in store.ledger.files_now()) + damaged.bytes


def test_reading_again_takes_its_time_and_ends_at_once(store, monkeypatch):
    monkeypatch.setattr(scrub, "BYTES_PER_SECOND", 1)
    reads = scrub.Scrub(store.data_dir, store.ledger, store.damage)
    reads.start()
    wait_until(lambda: reads.bytes)
    began = time.monotonic()
    reads.stop()
    reads.join()
    assert time.monotonic() - began < 4
    assert reads.bytes == segments(store)[0].bytes, "at one byte a second no second one came"
    assert store.damage.count == 0


def test_what_the_start_took_out_is_told_too(store, tmp_path):
    found = Damage(store.data_dir, store.ledger, ["segments/losses/1.parquet: is short"])
    assert found.count == 1
    assert "segments/losses/1.parquet: is short; look at the disk" in found.problem
