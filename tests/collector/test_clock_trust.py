"""A clock that is suddenly ahead removes nothing for a day."""

import time

import pytest

from collector.clock_trust import DAY_US, HOUR_US, ClockTrust
from collector.ledger_reading import entries_since, verify
from collector.pgwarden_verify import check_folder
from collector.retention import Retention
from collector.store import Store
from tests.waiting import wait_until

NOW_US = 1_790_000_000_000_000
YEAR_US = 365 * DAY_US


def test_a_clock_that_goes_on_as_clocks_do_is_good():
    trust = ClockTrust(NOW_US, 5, last_us=NOW_US - HOUR_US)
    for hours in range(48):
        assert trust.look(NOW_US + hours * HOUR_US, 5 + hours * HOUR_US) == 0
        assert trust.is_good(5 + hours * HOUR_US)


@pytest.mark.parametrize("ahead_us", [DAY_US, YEAR_US, 2 * HOUR_US])
def test_one_that_is_set_forward_must_stand_for_a_day(ahead_us):
    trust = ClockTrust(NOW_US, 0, last_us=NOW_US)
    assert trust.look(NOW_US + ahead_us + 7, 7) == ahead_us
    assert trust.look(NOW_US + ahead_us + HOUR_US, HOUR_US) == 0, "told once"
    assert not trust.is_good(DAY_US)
    assert trust.is_good(DAY_US + 7)


def test_one_that_is_set_back_removes_less_and_nobody_waits():
    trust = ClockTrust(NOW_US, 0, last_us=NOW_US)
    assert trust.look(NOW_US - HOUR_US, 1) == 0
    assert trust.is_good(1)


def test_one_that_is_ahead_of_the_ledger_at_a_start_must_stand_as_well():
    trust = ClockTrust(NOW_US + YEAR_US, 0, last_us=NOW_US)
    assert trust.look(NOW_US + YEAR_US, 0) == YEAR_US
    assert not trust.is_good(DAY_US - 1)
    assert ClockTrust(NOW_US, 0, last_us=0).is_good(0), "a new ledger"


def test_a_restart_ends_no_doubt_and_a_clock_put_right_does_not_wait_for_a_year():
    went_on = ClockTrust(NOW_US + YEAR_US, 0, NOW_US + YEAR_US, NOW_US + YEAR_US + HOUR_US)
    assert not went_on.is_good(HOUR_US - 1)
    assert went_on.is_good(HOUR_US)
    put_right = ClockTrust(NOW_US, 0, NOW_US + YEAR_US, NOW_US + YEAR_US + DAY_US)
    assert put_right.is_good(DAY_US)


def look_after(store):
    looks = store.tidying.looks
    assert store.segments.flush()
    wait_until(lambda: store.tidying.looks > looks)


def test_nothing_goes_by_a_clock_that_jumps_and_the_record_says_so(tmp_path, monkeypatch):
    real, ahead_us = time.time_ns, [0]
    monkeypatch.setattr(time, "time_ns", lambda: real() + ahead_us[0] * 1000)
    monkeypatch.setattr("collector.tidying.MERGE_SECONDS", 0.0)
    monkeypatch.setattr("collector.tidying.RETENTION_SECONDS", 0.0)

    def grow(store, number):
        for _ in range(2):
            row = {"id": number, "started_at": real() // 1000 + ahead_us[0]}
            store.append("statements", [row])
            look_after(store)

    def run(number):
        store = Store(tmp_path, commit_seconds=0.005, retention=Retention(days=30))
        store.start()
        grow(store, number)
        if number == 1:
            ahead_us[0] = YEAR_US
            grow(store, 2)
            ahead_us[0] -= YEAR_US + HOUR_US  # put right, and an hour too far
            grow(store, 3)
            ahead_us[0] = YEAR_US
        found = {number for (number,) in store.query("SELECT id FROM statements")}
        store.close()
        return found

    assert run(1) == {1, 2, 3}
    assert run(4) == {1, 2, 3, 4}, "a restart trusts it no more"
    notes = [note for entry in entries_since(tmp_path, 1) for note in entry.notes]
    waits = [note["ahead_seconds"] for note in notes if note["kind"] == "retention_waits"]
    assert [round(seconds / 86_400) for seconds in waits[:1]] == [365]
    assert verify(tmp_path) == []
    assert check_folder(tmp_path).problems == []
