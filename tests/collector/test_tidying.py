"""Merges and retention run beside the commits: nobody's acknowledgement waits for them."""

import threading

import polars as pl
import pytest

from collector import merge, tidying
from collector.ledger import LedgerError
from collector.ledger_reading import verify
from collector.store import Store
from collector.store_check import check_store
from tests.collector.road import START_US
from tests.waiting import wait_until

COMMITS = 60


@pytest.fixture(autouse=True)
def always(monkeypatch):
    """It looks after each commit, and merges as soon as four segments are there."""
    monkeypatch.setattr(tidying, "MERGE_SECONDS", -1.0)
    monkeypatch.setattr(merge, "FEWEST", 4)


@pytest.fixture
def store(tmp_path):
    opened = Store(tmp_path / "data", commit_seconds=0.001)
    yield opened
    opened.close()


def commit(store, number):
    row = {"occurred_at": START_US + number, "source": "t", "reason": f"{number}", "count": 1}
    store.append("losses", [row])
    assert store.segments.flush()


def reasons(store):
    return [reason for (reason,) in store.query("SELECT reason FROM losses ORDER BY occurred_at")]


def test_a_commit_waits_for_no_merge(store, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()

    def merged(*_):
        begun.set()
        assert go_on.wait(30)
        return []

    monkeypatch.setattr(tidying, "merge_small_segments", merged)
    store.start()
    commit(store, 1)
    assert begun.wait(10)
    commit(store, 2)
    commit(store, 3)
    assert store.tidying.looks == 0
    go_on.set()
    assert reasons(store) == ["1", "2", "3"]


def test_what_is_merged_while_others_are_committed_stays_the_record(store):
    store.start()
    for number in range(COMMITS):
        commit(store, number)
    wait_until(lambda: len(store.ledger.files_now()) < 10)
    store.close()
    names = sorted(file.path for file in store.ledger.files_now())
    rows = [one for name in names for one in pl.read_parquet(store.data_dir / name)["reason"]]
    assert rows == [str(number) for number in range(COMMITS)], "in their order"
    assert verify(store.data_dir) == []
    assert check_store(store.data_dir).problems == []
    again = Store(store.data_dir)
    assert again.quarantined == []
    again.close()


def test_without_a_commit_it_looks_all_the_same(store, monkeypatch):
    monkeypatch.setattr(tidying, "RETENTION_SECONDS", 0.05)
    store.start()
    wait_until(lambda: store.tidying.looks >= 2)


def test_a_failure_is_counted_and_tried_again(store, monkeypatch):
    real, failures = tidying.merge_small_segments, [ZeroDivisionError(), OSError("no room")]

    def fails(*given):
        if failures:
            raise failures.pop()
        return real(*given)

    monkeypatch.setattr(tidying, "merge_small_segments", fails)
    store.start()
    for number in range(10):
        commit(store, number)
    wait_until(lambda: len(store.ledger.files_now()) < 10)
    assert store.tidying.failures == 1, "a full disk is no failure of ours"
    assert store.segments.counters.listener_failures == 0


def test_a_merge_that_is_not_over_when_the_collector_ends_never_was(store, monkeypatch):
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()
    real = tidying.merge_small_segments

    def late(data_dir, ledger, table, damage):
        if table != "losses" or len(ledger.files_now()) < 4:
            return []
        begun.set()
        assert go_on.wait(30)
        try:
            return real(data_dir, ledger, table, damage)
        finally:
            ended.set()

    monkeypatch.setattr(tidying, "merge_small_segments", late)
    monkeypatch.setattr(store.tidying, "join", lambda: None)  # as when it takes too long
    store.start()
    for number in range(5):
        commit(store, number)
    assert begun.wait(10)
    store.close()
    before = (store.data_dir / "ledger.jsonl").read_bytes()
    go_on.set()
    assert ended.wait(10)
    assert (store.data_dir / "ledger.jsonl").read_bytes() == before
    again = Store(store.data_dir)
    assert ["not in the ledger" in each for each in again.quarantined] == [True]
    assert reasons(again) == [str(number) for number in range(5)]
    again.close()


def test_a_ledger_that_is_closed_takes_nothing(store):
    store.close()
    with pytest.raises(LedgerError, match="closed"):
        store.ledger.append(1, ())
