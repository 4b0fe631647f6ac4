"""A busy watched table: many statements, many rows that they may have written."""

from __future__ import annotations

import pytest

from collector.drift.attribution import MOST_WRITES, Changes
from collector.drift.matching import MATCHES
from model.catalog import CatalogKind
from tests.collector.drift.story import AFTER_US, BEFORE_US, difference, frame, ran, scope

WATCHED = frozenset(["flags"])


@pytest.fixture
def held(monkeypatch):
    """Statements that were held against a row of a watched table."""
    found, match = [], MATCHES[CatalogKind.WATCHED]

    def counting(change, target):
        found.append(change.id)
        return match(change, target)

    monkeypatch.setitem(MATCHES, CatalogKind.WATCHED, counting)
    return found


def updates(count, first_id=1):
    one = ran(5, "bob", "UPDATE flags SET on_ = true WHERE id = 1")
    return frame([one] * count, first_id)


def cause_of_row(changes, number, at_us=AFTER_US, since_us=BEFORE_US):
    row = scope("watched"), difference(f"public.flags[{number}]", "on: no", "on: yes")
    found = changes.cause(*row, at_us, since_us, settled=True)
    if found is not None:
        changes.took(*row, found.change)
    return found


def test_a_thousand_rows_are_held_against_their_statements_once(held):
    changes = Changes()
    changes.observe(updates(1_000), WATCHED)
    causes = {cause_of_row(changes, number).change.id for number in range(1_000)}
    assert (causes, len(held)) == ({1_000}, 1_000)


def test_a_statement_that_comes_later_counts(held):
    changes = Changes()
    changes.observe(updates(1), WATCHED)
    assert cause_of_row(changes, 1).change.id == 1
    changes.observe(updates(1, first_id=7), WATCHED)
    assert cause_of_row(changes, 2).change.id == 7


def test_rows_that_came_and_rows_that_changed_are_asked_about_apart():
    changes = Changes()
    rows = [ran(5, "bob", "UPDATE flags SET a = 1"), ran(6, "eve", "INSERT INTO flags VALUES (1)")]
    changes.observe(frame(rows), WATCHED)
    found = cause_of_row(changes, 1)
    assert (found.change.actor, found.undecided) == ("bob", False)
    added = difference("public.flags[2]", None, "on: yes")
    found = changes.cause(scope("watched"), added, AFTER_US, BEFORE_US, settled=True)
    assert (found.change.actor, found.undecided) == ("eve", False)


def test_only_the_latest_statements_of_a_busy_table_are_asked_about(held):
    changes = Changes()
    changes.observe(updates(MOST_WRITES + 50), WATCHED)
    assert cause_of_row(changes, 1).change.id == MOST_WRITES + 50
    assert len(held) == MOST_WRITES


def test_a_busy_table_drives_no_ddl_out():
    changes = Changes(limit=10)
    changes.observe(frame([ran(4, "eve", "CREATE TABLE hr.t (id int)")]))
    changes.observe(updates(100, first_id=2), WATCHED)
    made = difference("hr.t", None, "owner: eve")
    found = changes.cause(scope("table"), made, AFTER_US, BEFORE_US, settled=True)
    assert found is not None
    assert changes.find("host-a", 50) is None


def test_tables_of_a_restored_dump_are_held_against_their_own_statements(monkeypatch):
    """Whatever their defaults call: else a dump of n tables costs n times n."""
    held, match = [], MATCHES[CatalogKind.TABLE]
    monkeypatch.setitem(
        MATCHES, CatalogKind.TABLE, lambda change, target: held.append(1) or match(change, target)
    )
    changes, names = Changes(), [f"big.t{number}" for number in range(300)]
    made = [ran(5, "bob", f"CREATE TABLE {name} (at timestamptz DEFAULT now())") for name in names]
    changes.observe(frame(made))
    for number, name in enumerate(names, start=1):
        step = difference(name, None, "owner: bob\ncolumn at: timestamptz default now()")
        found = changes.cause(scope("table"), step, AFTER_US, BEFORE_US, settled=True, other_way={})
        assert found.change.id == number
    assert len(held) < 10 * len(names)
