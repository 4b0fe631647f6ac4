"""Statements that come when what they did was told as nobody's already."""

from __future__ import annotations

import pytest

from collector.drift.engine import Drift
from collector.drift.explanation import MOST_LATE
from model.catalog import CatalogItem, CatalogKind, Snapshot
from tests.collector.drift.story import START_US, S, frame, ran

TABLES = [f"big.t{number}" for number in range(MOST_LATE + 200)]


def look(second, names):
    kind = CatalogKind.TABLE
    items = tuple(CatalogItem(kind, "shop", name, "owner: hr") for name in names)
    return [("host-a", Snapshot(START_US + second * S, "5432", "shop", (kind,), items, "15.4"))]


def told(drift):
    return {row["name"]: row["actor"] for row in drift.status().rows}


def test_more_than_are_looked_at_at_a_time_are_found_at_the_next(tmp_path):
    drift = Drift(tmp_path)
    drift.on_commit({}, look(0, ["big.old"]), 1, START_US)
    drift.on_commit({}, look(10, ["big.old", *TABLES]), 2, START_US + 10 * S)
    drift.tick(START_US + 20 * S)
    assert {*told(drift).values()} == {""}
    made = frame([ran(5, "alice", f"CREATE TABLE {name} (i int)") for name in TABLES])
    drift.on_commit({"statements": made}, [], 3, START_US + 21 * S)
    assert [*told(drift).values()].count("alice") == MOST_LATE
    drift.tick(START_US + 22 * S)
    assert told(drift) == dict.fromkeys(TABLES, "alice")


GRANT = "GRANT SELECT ON hr.t TO rd1"


@pytest.mark.parametrize("bob", [True, False])
def test_a_statement_that_turns_out_to_be_undone_is_the_cause_no_longer(tmp_path, bob):
    """What fails at the end of its pipeline is told a second after it."""
    kind, drift = CatalogKind.PRIVILEGE, Drift(tmp_path)

    def seen(second, *names):
        items = tuple(CatalogItem(kind, "shop", name, "SELECT") for name in names)
        snapshot = Snapshot(START_US + second * S, "5432", "shop", (kind,), items, "15.4")
        return [("host-a", snapshot)]

    drift.on_commit({}, seen(0, "table:hr.old<-rd1"), 1, START_US)
    granted = [ran(2, "vera", GRANT, transaction="I?", duration_us=1000)]
    granted += [ran(5, "bob", GRANT)] if bob else []
    both = seen(6, "table:hr.old<-rd1", "table:hr.t<-rd1")
    drift.on_commit({"statements": frame(granted)}, both, 2, START_US + 6 * S)
    drift.tick(START_US + 10 * S)
    fails = {"transaction": "?I", "sqlstate": "22012", "duration_us": 1000}
    failed = frame([ran(2.001, "vera", "SELECT 1/0", **fails)], first_id=9)
    drift.on_commit({"statements": failed}, [], 3, START_US + 11 * S)
    drift.tick(START_US + 12 * S)
    assert told(drift) == {"table:hr.t<-rd1": "bob" if bob else ""}
