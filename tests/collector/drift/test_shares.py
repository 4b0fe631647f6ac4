"""Several people at one object between two looks: each of them is named."""

import pytest

from tests.collector.drift.story import cause_of, ran

BEFORE = "owner: bob\nkind: table\ncolumn id: bigint\ncolumn note: text"
INDEX = "index by_note: CREATE INDEX by_note ON hr.t USING btree (note)"
BOTH = f"{BEFORE} default 'x'\n{INDEX}"


def told(rows, after):
    found = cause_of(rows, "table", "hr.t", BEFORE, after)
    return {found.change.actor, *(share.actor for share in found.shares)}, found.others


@pytest.mark.parametrize("second", [10, 30])
def test_two_who_changed_other_lines_of_one_table_are_both_named(second):
    rows = [
        ran(20, "alice", "CREATE INDEX by_note ON hr.t (note)"),
        ran(second, "bob", "ALTER TABLE hr.t ALTER COLUMN note SET DEFAULT 'x'"),
    ]
    assert told(rows, BOTH) == ({"alice", "bob"}, ())


def test_two_who_added_a_column_each_are_both_named():
    rows = [
        ran(10, "alice", "ALTER TABLE hr.t ADD COLUMN one text"),
        ran(20, "bob", "ALTER TABLE hr.t ADD COLUMN two text"),
    ]
    assert told(rows, f"{BEFORE}\ncolumn one: text\ncolumn two: text") == ({"alice", "bob"}, ())


def test_who_did_all_of_it_shares_it_with_nobody():
    rows = [
        ran(5, "eve", "ALTER TABLE hr.other ADD COLUMN one text"),
        ran(10, "alice", "ALTER TABLE hr.t ADD COLUMN one text, ADD COLUMN two text"),
        ran(20, "bob", "CREATE TRIGGER tr BEFORE UPDATE ON hr.t EXECUTE FUNCTION f()"),
    ]
    after = f"{BEFORE}\ncolumn one: text\ncolumn two: text"
    assert told(rows, after) == ({"alice"}, ())


OPEN = BEFORE.replace("kind: table", "kind: table\nrow security: on")


@pytest.mark.parametrize("second", [5, 20])
def test_of_two_statements_of_one_actor_the_one_that_did_the_worst_is_claimed(second):
    rows = [
        ran(second, "alice", "ALTER TABLE hr.t DISABLE ROW LEVEL SECURITY"),
        ran(10, "alice", "ALTER TABLE hr.t ADD COLUMN one text"),
    ]
    found = cause_of(rows, "table", "hr.t", OPEN, f"{BEFORE}\ncolumn one: text")
    assert "DISABLE" in found.change.said
    assert [share.said for share in found.shares] == ["ALTER TABLE hr.t ADD COLUMN one text"]


def test_a_statement_that_did_all_of_it_is_the_only_one():
    rows = [ran(5, "alice", "ALTER TABLE hr.t ADD COLUMN one text, ADD COLUMN two text")]
    found = cause_of(rows, "table", "hr.t", BEFORE, f"{BEFORE}\ncolumn one: text\ncolumn two: text")
    assert found.shares == ()
