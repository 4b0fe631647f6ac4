"""What began after a look ended is no cause of what the look saw."""

from __future__ import annotations

import pytest

from collector.drift.engine import Drift
from model.catalog import CatalogItem, CatalogKind, Snapshot
from tests.collector.drift.story import START_US, S, cause_of, frame, ran

LOOKED = 100
"""Second of the look, see ``story.AFTER_US``."""
SERVER = (
    "foreign_server",
    "far",
    "owner: x\nforeign options: host=a",
    "owner: x\nforeign options: host=b",
)
ENUM = ("type", "hr.mood", "kind: enum\nlabels: 'a'", "kind: enum\nlabels: 'a', 'b'")
COLUMN = (
    "table", "hr.t", "kind: table\ncolumn a: integer", "kind: table\ncolumn b: integer",
)  # fmt: skip


@pytest.mark.parametrize(
    ("first", "second", "step"),
    [
        ("ALTER TYPE hr.mood ADD VALUE 'b'", "ALTER TYPE hr.mood RENAME VALUE 'b' TO 'c'", ENUM),
        ("ALTER TABLE hr.t RENAME a TO b", "ALTER TABLE hr.t DROP COLUMN b", COLUMN),
    ],
)  # fmt: skip
def test_who_began_after_the_look_did_not_make_what_it_saw(first, second, step):
    rows = [ran(LOOKED - 0.1, "alice", first), ran(LOOKED + 0.3, "bob", second)]
    found = cause_of(rows, *step)
    assert (found.change.actor, found.others, found.shares) == ("alice", (), ())


def test_where_nothing_earlier_explains_it_two_clocks_may_differ():
    found = cause_of([ran(LOOKED + 0.3, "bob", "ALTER SERVER far OPTIONS (SET host 'b')")], *SERVER)
    assert found.change.actor == "bob"


def test_settings_are_read_a_while_after_the_looks_moment():
    rows = [
        ran(LOOKED - 5, "alice", "ALTER SYSTEM SET work_mem = '8MB'"),
        ran(LOOKED + 0.1, "bob", "ALTER SYSTEM SET work_mem = '9MB'"),
    ]
    assert cause_of(rows, "setting", "work_mem", "4MB", "9MB").change.actor == "bob"


def test_what_the_look_did_not_see_is_of_who_began_after_it(tmp_path):
    kind, drift = CatalogKind.FOREIGN_SERVER, Drift(tmp_path)

    def look(second, options):
        item = CatalogItem(kind, "shop", "far", f"owner: x\nforeign options: {options}")
        at_us = START_US + int(second * S)
        return [("host-a", Snapshot(at_us, "5432", "shop", (kind,), (item,), "15.4"))], at_us

    def commit(number, second, options, *rows):
        seen, at_us = look(second, options)
        frames = {"statements": frame([*rows], first_id=10 * number)} if rows else {}
        drift.on_commit(frames, seen, number, at_us)

    commit(1, 0, "host=a")
    did = [
        ran(9.8, "alice", "ALTER SERVER far OPTIONS (SET host 'b')"),
        ran(10.3, "bob", "ALTER SERVER far OPTIONS (SET dbname 'y')"),
    ]
    commit(2, 10, "host=b", *did)
    commit(3, 13, "dbname=y, host=b")
    drift.tick(START_US + 30 * S)
    rows = [*drift.status().rows]
    assert [(row["actor"], row["observed"].splitlines()[-1]) for row in rows] == [
        ("bob", "foreign options: dbname=y, host=b")
    ]
