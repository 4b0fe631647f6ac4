"""The history of the catalog is bounded; what is so now stays, however old."""

import pytest

from collector.expiry import DAY_US, expire_history
from collector.ledger_reading import verify
from collector.pgwarden_verify import check_folder
from collector.proofs import Prover
from collector.retention import Hold, Retention
from collector.store import Store, open_views
from tests.waiting import wait_until

NOW_US = 1_790_000_000_000_000
DAYS = 30
BEFORE_US = NOW_US - DAYS * DAY_US
ABOUT = {"agent": "a", "cluster": "5432", "database": "shop", "kind": "table"}


def change(days_ago, name, what, before="", after=""):
    at = NOW_US - days_ago * DAY_US
    return ABOUT | {
        "occurred_at": at, "known_at": at, "name": name, "change": what,
        "before": before, "after": after,
    }  # fmt: skip


def difference(days_ago, name, resolved_days_ago=None):
    at = NOW_US - days_ago * DAY_US
    end = None if resolved_days_ago is None else NOW_US - resolved_days_ago * DAY_US
    return ABOUT | {"occurred_at": at, "known_at": end or at, "name": name, "resolved_at": end}


COMMITS = [
    ("catalog_changes", [
        change(100, "kept", "added", after="1"), change(100, "gone", "added", after="1"),
        change(100, "moving", "added", after="1"), change(100, "again", "added", after="1"),
    ]),
    ("catalog_changes", [
        change(90, "moving", "changed", "1", "2"), change(80, "gone", "removed", "1"),
        change(70, "again", "removed", "1"),
    ]),
    ("catalog_changes", [
        change(10, "moving", "changed", "2", "3"), change(5, "again", "added", after="2"),
    ]),
    ("drift", [difference(90, "moving"), difference(90, "over"), difference(90, "late")]),
    ("drift", [difference(90, "over", 60), difference(90, "late", 3)]),
    ("catalog", [ABOUT | {"occurred_at": NOW_US - 90 * DAY_US, "name": "kept", "op": "put"}]),
    ("catalog", [ABOUT | {"occurred_at": NOW_US - DAY_US, "name": "kept", "op": "put"}]),
]  # fmt: skip


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "data", commit_seconds=0.01)
    store.start()
    for table, rows in COMMITS:
        store.append(table, rows)
        assert store.segments.flush()
    yield store
    store.close()


def test_what_was_over_before_is_gone_and_what_is_so_now_stays(store):
    replaced = expire_history(store.data_dir, store.ledger, BEFORE_US, store.damage)
    assert len(replaced) == 5
    with open_views(store.data_dir) as views:
        was = views.execute(
            "SELECT name, value FROM drift_observed WHERE known_to IS NULL ORDER BY ALL"
        ).fetchall()
        said = views.execute("SELECT name FROM drift_changes ORDER BY ALL").fetchall()
        came = views.execute("SELECT count(*) FROM catalog").fetchall()
    assert was == [("again", "2"), ("kept", "1"), ("moving", "2"), ("moving", "3")]
    assert said == [("late",), ("late",), ("moving",)]
    assert came == [(1,)]
    assert verify(store.data_dir) == []
    assert expire_history(store.data_dir, store.ledger, BEFORE_US, store.damage) == []


def test_what_was_so_since_then_reads_as_before(store):
    def observed():
        with open_views(store.data_dir) as views:
            return views.execute(
                "SELECT name, value FROM drift_observed WHERE valid_from <= make_timestamp(?)"
                " AND coalesce(valid_to > make_timestamp(?), true) AND known_to IS NULL"
                " ORDER BY ALL",
                [BEFORE_US + DAY_US] * 2,
            ).fetchall()

    before = observed()
    assert before == [("kept", "1"), ("moving", "2")]
    expire_history(store.data_dir, store.ledger, BEFORE_US, store.damage)
    assert observed() == before


def test_a_collector_that_starts_afterwards_finds_its_record_whole(store):
    replaced = expire_history(store.data_dir, store.ledger, BEFORE_US, store.damage)
    store.close()
    again = Store(store.data_dir)
    try:
        assert again.quarantined == []
        assert not any(path.exists() for path in replaced)
    finally:
        again.close()


def test_a_verifier_is_told_why_rows_are_gone(store):
    replaced = expire_history(store.data_dir, store.ledger, BEFORE_US, store.damage)
    store.close()
    report = check_folder(store.data_dir)
    assert report.problems == []
    assert len([told for told in report.notices if told.endswith("expired")]) == len(replaced)
    assert list(Prover(store.data_dir).contradictions()) == []


def tables_of(store):
    return {
        table: store.query(f"SELECT * FROM {table} ORDER BY ALL")
        for table in ("catalog", "catalog_changes", "drift")
    }


def hold(starts_days_ago, ends_days_ago, *tables):
    day = NOW_US - starts_days_ago * DAY_US, NOW_US - ends_days_ago * DAY_US
    return Hold("case 17", *day, tables)


def test_a_hold_keeps_what_it_covers_and_what_tells_how_things_were_when_it_began(store):
    before = tables_of(store)
    holds = (hold(95, 60), hold(20, 10))
    expire_history(store.data_dir, store.ledger, BEFORE_US, store.damage, holds)
    after = tables_of(store)
    assert after == before


def test_what_came_after_a_hold_goes_as_ever(store):
    replaced = expire_history(
        store.data_dir, store.ledger, BEFORE_US, store.damage, (hold(110, 95),)
    )
    assert {path.parent.name for path in replaced} == {"catalog", "catalog_changes", "drift"}
    with open_views(store.data_dir) as views:
        kept = views.execute("SELECT count(*) FROM catalog_changes").fetchall()
    # The first segment is held; of the second what is not the last of its fact goes.
    assert kept == [(4 + 1 + 2,)]


def test_a_hold_on_one_table_leaves_the_others(store):
    before = tables_of(store)
    expire_history(store.data_dir, store.ledger, BEFORE_US, store.damage, (hold(100, 50, "drift"),))
    after = tables_of(store)
    assert after["drift"] == before["drift"]
    assert len(after["catalog"]) == len(before["catalog"]) - 1


def test_the_ledger_says_by_what_rule_it_went(store):
    expire_history(store.data_dir, store.ledger, BEFORE_US, store.damage)
    assert store.ledger.last_notes["expired"] == {
        "kind": "expired", "table": "drift", "cause": "age", "before_us": BEFORE_US,
    }  # fmt: skip


def test_a_store_with_a_limit_keeps_to_its_holds(tmp_path):
    held = Retention(holds=(Hold("case 17", 0, 2 * DAY_US),))
    store = Store(tmp_path / "data", commit_seconds=0.01, history_days=DAYS, retention=held)
    store.start()
    store.tidying.looked_at = float("-inf")
    store.append("catalog", [ABOUT | {"occurred_at": DAY_US, "name": "held", "op": "put"}])
    store.append("catalog", [ABOUT | {"occurred_at": 3 * DAY_US, "name": "old", "op": "put"}])
    assert store.segments.flush()
    wait_until(lambda: store.tidying.looks)
    assert store.query("SELECT name FROM catalog ORDER BY 1")[0] == ("held",)
    store.close()


def test_a_store_with_a_limit_keeps_to_it(tmp_path):
    store = Store(tmp_path / "data", commit_seconds=0.01, history_days=DAYS)
    store.start()
    store.tidying.looked_at = float("-inf")
    store.append("catalog", [ABOUT | {"occurred_at": DAY_US, "name": "old", "op": "put"}])
    assert store.segments.flush()
    wait_until(lambda: store.query("SELECT count(*) FROM catalog") == [(0,)])
    store.close()
