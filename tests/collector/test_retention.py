"""Rows are kept as long as configured, in any case under a hold, and their end is on record."""

import time
from datetime import UTC, datetime
from typing import get_args

import pytest
from pydantic import ValidationError

from collector import expiry
from collector.ledger_reading import entries_since, verify
from collector.pgwarden_verify import check_folder, check_proof, public_keys
from collector.proofs import GoneError, ProofError, Prover
from collector.retention import BULK, DAY_US, EVENTS, Hold, Retention, retain
from collector.retention_settings import retention_of
from collector.store import Store
from config.schema import HeldTable, RetainedTable, RetentionSettings
from tests.waiting import wait_until

NOW_US = 1_790_000_000_000_000


def at(days_ago):
    return NOW_US - days_ago * DAY_US


@pytest.fixture
def store(tmp_path):
    """One commit for each ten days, from 100 days ago on: two statements a day apart, one loss."""
    opened = Store(tmp_path / "data", commit_seconds=0.01)
    opened.tidying.looked_at = float("inf")
    opened.start()
    for days in range(100, 0, -10):
        opened.append("statements", [{"id": days, "started_at": at(days)},
                                     {"id": days + 1000, "started_at": at(days - 1)}])  # fmt: skip
        loss = {"source": "t", "reason": "r", "count": 1}
        opened.append("losses", [{**loss, "occurred_at": at(days - n)} for n in (0, 1)])
        assert opened.segments.flush()
    opened.segments.stop()
    yield opened
    opened.close()


def left(store):
    rows = store.query("SELECT id FROM statements ORDER BY id")
    return [number for (number,) in rows]


def notes(store):
    entries = entries_since(store.data_dir, 1)
    return [note for entry in entries if entry.reason == "retention" for note in entry.notes]


def test_without_settings_nothing_goes(store):
    assert retain(store.data_dir, store.ledger, Retention(), NOW_US, store.damage) == []
    assert len(left(store)) == 20


def test_what_is_older_than_the_days_goes_to_the_row_and_the_ledger_says_so(store):
    retention = Retention(days_of={"statements": 40})
    gone = retain(store.data_dir, store.ledger, retention, NOW_US + DAY_US // 2, store.damage)
    assert left(store) == [10, 20, 30, 1010, 1020, 1030, 1040]
    assert [path.exists() for path in gone] == [True] * 7, "readers may have them open"
    for path in gone:
        path.unlink()
    assert {note["cause"] for note in notes(store)} == {"age"}
    store.heads.sign()
    report = check_folder(store.data_dir)
    assert report.problems == []
    told = [int(notice.split()[2]) for notice in report.notices if "retention" in notice]
    assert sum(told) == 13
    assert verify(store.data_dir) == []
    again = retain(store.data_dir, store.ledger, retention, NOW_US + DAY_US // 2, store.damage)
    assert again == [], "once"


def test_security_events_go_by_segment_so_that_what_is_left_can_be_proven(store):
    retain(store.data_dir, store.ledger, Retention(days=40), NOW_US + DAY_US // 2, store.damage)
    store.heads.sign()
    assert store.query("SELECT count(*) FROM losses") == [(8,)]
    prover = Prover(store.data_dir)
    assert list(prover.contradictions()) == []
    assert len(list(prover.matching(lambda event: event["table"] == "losses"))) == 8


@pytest.mark.parametrize("retention", [{"days": 5}, {"max_bytes": 1}])
def test_a_hold_keeps_its_time_and_tables_against_age_and_size(store, retention):
    hold = Hold("case 17", at(70), at(60), ("statements",))
    retain(
        store.data_dir, store.ledger, Retention(**retention, holds=(hold,)), NOW_US, store.damage
    )
    kept = left(store)
    assert {70, 1070} <= set(kept)
    assert not {80, 50, 1050} & set(kept)


def test_beyond_the_size_the_oldest_bulk_goes_and_no_security_event(store):
    total = sum(file.bytes for file in store.ledger.files.values())
    statements = [f.bytes for f in store.ledger.files.values() if f.table == "statements"]
    limit = total - statements[0] - statements[1] // 2
    retain(store.data_dir, store.ledger, Retention(max_bytes=limit), NOW_US, store.damage)
    assert left(store)[0] == 10
    assert not {90, 100} & set(left(store))
    assert 80 in left(store)
    assert sum(file.bytes for file in store.ledger.files.values()) <= limit
    retain(store.data_dir, store.ledger, Retention(max_bytes=1), NOW_US, store.damage)
    assert left(store) == []
    assert store.query("SELECT count(*) FROM losses") == [(20,)]
    assert {note["cause"] for note in notes(store)} == {"size"}


def test_a_damaged_segment_is_not_cut(store):
    (path,) = (f.path for f in store.ledger.files.values() if f.first_us == at(40) and
               f.table == "statements")  # fmt: skip
    data = bytearray((store.data_dir / path).read_bytes())
    data[len(data) // 2] ^= 1
    (store.data_dir / path).write_bytes(data)
    retain(store.data_dir, store.ledger, Retention(days=40), NOW_US + DAY_US // 2, store.damage)
    assert path not in store.ledger.files
    assert store.ledger.damaged.keys() == {path}, "it is no cut of it that holds"
    assert store.damage.count == 1


def test_the_store_does_it_by_itself_and_a_restart_removes_the_files(tmp_path):
    opened = Store(tmp_path / "data", commit_seconds=0.01, retention=Retention(days=400))
    opened.tidying.looked_at = float("-inf")
    opened.start()
    opened.append("statements", [{"id": 1, "started_at": 1}, {"id": 2, "started_at": NOW_US}])
    assert opened.segments.flush()
    wait_until(lambda: left(opened) == [2])
    opened.tidying._discarded = []  # as after a crash
    opened.close()
    again = Store(tmp_path / "data")
    assert again.quarantined == []
    assert len(list((tmp_path / "data/segments/statements").iterdir())) == 1
    again.close()


def test_the_configuration_says_the_same(tmp_path):
    assert set(get_args(RetainedTable)) == {*BULK, *EVENTS}
    assert set(get_args(HeldTable)) == {*BULK, *EVENTS, *expiry.TABLES}
    hold = {
        "because": "case 17", "starts": "2026-01-01T00:00:00Z", "ends": "2026-02-01T00:00:00Z",
    }  # fmt: skip
    settings = RetentionSettings.model_validate(
        {"days": 400, "days_of": {"statements": 90}, "hold": [hold]}
    )
    retention = retention_of(settings)
    assert (retention.days_for("statements"), retention.days_for("losses")) == (90, 400)
    starts_us = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1e6)
    assert retention.holds[0].starts_us == starts_us
    for wrong in (
        {"days": 0},
        {"days_of": {"catalog": 3}},
        {"hold": [hold | {"ends": "2025-01-01T00:00:00Z"}]},
    ):
        with pytest.raises(ValidationError):
            RetentionSettings.model_validate(wrong)


@pytest.fixture
def commit(tmp_path):
    """A store with one commit for each of these, of one table's rows."""
    opened = Store(tmp_path / "data", commit_seconds=0.01)
    opened.tidying.looked_at = float("inf")

    def commit(*commits):
        opened.start()
        for table, rows in commits:
            opened.append(table, rows)
            assert opened.segments.flush()
        opened.segments.stop()
        return opened

    yield commit
    opened.close()


def kept(store):
    return [file.table for file in store.ledger.files_now()]


def test_rows_that_one_agent_dates_ahead_keep_nobody_elses(commit):
    """They share a segment, which is as old as its commit: also what is left when it is cut."""
    now_us = time.time_ns() // 1000
    years_us, loss = now_us + 70 * 365 * DAY_US, {"source": "t", "reason": "r", "count": 1}
    store = commit(
        ("losses", [{**loss, "occurred_at": each} for each in (now_us, years_us)]),
        ("statements", [{"id": n, "started_at": each} for n, each in ((7, now_us), (8, years_us))]),
    )
    keeping = store.data_dir, store.ledger, Retention(days=30)
    retain(*keeping, now_us + 30 * DAY_US + 1, store.damage)
    assert (kept(store), left(store)) == (["losses", "statements"], [8])
    retain(*keeping, now_us + 31 * DAY_US, store.damage)
    assert kept(store) == []


def test_by_size_the_first_committed_go_first_whatever_their_rows_say(commit):
    now_us = time.time_ns() // 1000
    ids = {7: now_us + 365 * DAY_US, 8: now_us}
    store = commit(*(("statements", [{"id": n, "started_at": at}]) for n, at in ids.items()))
    limit = sum(file.bytes for file in store.ledger.files_now()) - 1
    retain(store.data_dir, store.ledger, Retention(max_bytes=limit), now_us, store.damage)
    assert left(store) == [8]


def test_where_all_rows_are_ahead_it_may_be_our_own_clock_that_is_behind(commit):
    ahead_us = time.time_ns() // 1000 + 365 * DAY_US
    store = commit(("statements", [{"id": 7, "started_at": ahead_us}]))
    assert [file.last_us for file in store.ledger.files_now()] == [ahead_us]


def test_a_hold_keeps_rows_that_are_dated_ahead_whatever_their_segment_counts_as(commit):
    now_us = time.time_ns() // 1000
    held_us, loss = now_us + 90 * DAY_US, {"source": "t", "reason": "r", "count": 1}
    store = commit(
        ("losses", [{**loss, "occurred_at": each} for each in (now_us, held_us)]),
        ("statements", [{"id": n, "started_at": each} for n, each in ((7, now_us), (8, held_us))]),
        ("statements", [{"id": 9, "started_at": now_us}]),
    )
    hold = Hold("case 17", held_us - DAY_US, held_us + DAY_US)
    for keeping in (Retention(days=30, holds=(hold,)), Retention(max_bytes=0, holds=(hold,))):
        retain(store.data_dir, store.ledger, keeping, now_us + 120 * DAY_US, store.damage)
        assert (kept(store), left(store)) == (["losses", "statements"], [7, 8])
    beside = Hold("case 18", held_us + DAY_US, held_us + 2 * DAY_US)
    retain(
        store.data_dir,
        store.ledger,
        Retention(days=30, holds=(beside,)),
        now_us + 120 * DAY_US,
        store.damage,
    )
    assert kept(store) == []


@pytest.mark.parametrize("left", ["losses", "accesses"])
def test_an_event_is_proven_when_rows_of_another_table_of_its_commit_went(tmp_path, left):
    gone = {"losses": "accesses", "accesses": "losses"}[left]
    store = Store(tmp_path / "data", commit_seconds=0.2)
    store.tidying.looked_at = float("inf")
    store.start()
    for days in (40, 40, 0):
        called = {"name": "ann", "method": "Operator.Tail", "outcome": "allowed", "count": 1}
        lost = {"source": "t", "reason": f"{days}", "count": 1}
        at_us = {gone: at(days), left: at(0)}
        store.append("accesses", [{**called, "occurred_at": at_us["accesses"]}])
        store.append("losses", [{**lost, "occurred_at": at_us["losses"]}])
        assert store.segments.flush()
    assert store.heads.sign()
    numbers = {"accesses": 1, "losses": 2}
    keys = public_keys((store.data_dir / "ledger.pub").read_bytes())
    before = Prover(store.data_dir).event(1, numbers[left])
    keeping = Retention(days_of={gone: 30})
    assert len(retain(store.data_dir, store.ledger, keeping, NOW_US, store.damage)) == 2
    prover = Prover(store.data_dir)
    proof = prover.event(1, numbers[left])
    assert proof["event"] == before["event"]
    assert check_proof(proof, keys) == check_proof(before, keys) == []
    with pytest.raises(GoneError, match=f"segments/{gone}/000000000001.parquet is gone"):
        prover.event(1, numbers[gone])
    with pytest.raises(ProofError, match="entry 1 has 2 security events"):
        prover.event(1, 3)
    assert list(prover.matching(lambda event: event["table"] == left)) == [
        (seq, numbers[left]) for seq in (1, 2, 3)
    ]
    for wrong in ({"event_table": gone}, {"event": proof["event"].replace("1", "2")}):
        assert check_proof({**proof, **wrong}, keys)
    assert list(prover.contradictions()) == []
    store.close()
