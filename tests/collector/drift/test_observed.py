"""What was known, and when: read from relations with the columns of the views."""

from __future__ import annotations

from datetime import datetime

import duckdb
import pytest

from collector.drift.baseline import Fact, Scope
from collector.drift.observed import read, servers
from model.catalog import CatalogKind

ROLE = Scope("host", "5432", CatalogKind.ROLE, "")
TABLE = Scope("host", "5432", CatalogKind.TABLE, "shop")


def day(number):
    return datetime(2026, 3, number)


@pytest.fixture
def record():
    with duckdb.connect(":memory:") as connection:
        connection.execute(
            "CREATE TABLE catalog (occurred_at TIMESTAMP, agent VARCHAR, cluster VARCHAR, database"
            " VARCHAR, kind VARCHAR, name VARCHAR, value VARCHAR, detail VARCHAR)"
        )
        yield connection


def snapshot(record, at, kind, database, *names, agent="host"):
    for name in names:
        record.execute(
            "INSERT INTO catalog VALUES (?, ?, '5432', ?, ?, ?, 'v', 'd')",
            [at, agent, database, kind, name],
        )


def names(found):
    return {scope.kind.value: sorted(items) for scope, items in found.items()}


def test_of_snapshots_the_latest_of_each_scope_counts(record):
    snapshot(record, day(1), "role", "", "a", "b")
    snapshot(record, day(2), "role", "", "a")
    snapshot(record, day(1), "table", "shop", "hr.t")
    assert names(read(record)) == {"role": ["a"], "table": ["hr.t"]}
    assert names(read(record, at=day(1))) == {"role": ["a", "b"], "table": ["hr.t"]}


def test_a_database_comes_with_what_belongs_to_its_cluster(record):
    snapshot(record, day(1), "role", "", "a")
    snapshot(record, day(1), "table", "shop", "hr.t")
    snapshot(record, day(1), "table", "other", "x.t")
    assert {*read(record, database="shop")} == {ROLE, TABLE}
    assert {*read(record, agent="elsewhere")} == set()
    assert servers(read(record)) == {("host", "5432"): ["other", "shop"]}


def test_a_kind_of_a_later_release_is_left_out(record):
    snapshot(record, day(1), "hologram", "", "a")
    assert read(record) == {}


def test_a_scope_that_was_read_and_is_empty_is_there_with_nothing(record):
    record.execute("ALTER TABLE catalog ADD COLUMN op VARCHAR")
    record.execute(
        "INSERT INTO catalog VALUES (?, 'host', '5432', 'shop', 'table', '', '', '', 'covered')",
        [day(1)],
    )
    periods(record)
    assert read(record) == {TABLE: {}}


def periods(record, *rows):
    record.execute(
        "CREATE TABLE drift_observed (agent VARCHAR, cluster VARCHAR, database VARCHAR, kind"
        " VARCHAR, name VARCHAR, value VARCHAR, detail VARCHAR, valid_from TIMESTAMP, valid_to"
        " TIMESTAMP, known_from TIMESTAMP, known_to TIMESTAMP)"
    )
    for value, *moments in rows:
        record.execute(
            "INSERT INTO drift_observed VALUES"
            " ('host', '5432', '', 'role', 'a', ?, '', ?, ?, ?, ?)",
            [value, *(day(m) if m else None for m in moments)],
        )


def value(record, **moments):
    return read(record, **moments).get(ROLE, {}).get("a", Fact("", "")).value


def test_periods_tell_how_it_was_then_as_it_is_known_now_or_was_known_then(record):
    # Changed on the 3rd, which became known on the 5th.
    periods(
        record,
        ("old", 1, None, 1, 5),
        ("old", 1, 3, 5, None),
        ("new", 3, None, 5, None),
    )
    assert value(record) == "new"
    assert value(record, at=day(2)) == "old"
    assert value(record, at=day(4)) == "new"
    assert value(record, at=day(4), known_at=day(4)) == "old"
    assert value(record, at=day(4), known_at=day(6)) == "new"
