"""The server's numbers of objects tell a rename from a drop and a create."""

from __future__ import annotations

import pytest

from collector.drift.baseline import Fact
from collector.drift.engine import Drift
from collector.drift.numbers import other_parts, renamed_parts
from model.catalog import CatalogItem, CatalogKey, CatalogKind, Snapshot
from model.verdict import Severity
from tests.collector.drift.story import START_US, S, frame, ran

KINDS = (CatalogKind.TABLE, CatalogKind.POLICY)
PAY = "owner: hr\nkind: table\ncolumn id: bigint\ncolumn pay: numeric\nindex by: ON hr.wages (pay)"
OWN = "command: all\nroles: PUBLIC\nkind: permissive\nusing: (id > 0)"


def items(**named):
    """``table`` or ``policy`` -> name -> (value, detail)"""
    return tuple(
        CatalogItem(CatalogKind(kind), "shop", name, *fact)
        for kind, facts in named.items()
        for name, fact in facts.items()
    )


def look(second, *found, gone=(), base=0):
    at_us = START_US + int(second * S)
    since_us = START_US + int(base * S)
    keys = tuple(CatalogKey(CatalogKind(kind), "shop", name) for kind, name in gone)
    return Snapshot(
        at_us, "5432", "shop", KINDS, found, "15.4", base_at_us=since_us if gone else 0,
        removed=keys, since_us=since_us,
    )  # fmt: skip


class World:
    """One table of some number that was accepted."""

    def __init__(self, folder, *first):
        self.folder, self.seq = folder, 0
        self.open()
        self.commit(0, look(0, *first))

    def open(self):
        self.drift = Drift(self.folder, clock_us=lambda: START_US + 9_999 * S)

    def commit(self, second, *snapshots, statements=()):
        self.seq += 1
        frames = {"statements": frame(list(statements), 1000 * self.seq)} if statements else {}
        seen = [("host-a", snapshot) for snapshot in snapshots]
        return self.drift.on_commit(frames, seen, self.seq, START_US + int(second * S))

    def told(self, second, *found, statements=()):
        """Findings and rows of a look that finds this, once nothing more is waited for."""
        news = self.commit(second, look(second, *found), statements=statements)
        later = self.drift.tick(START_US + int((second + 4) * S))
        return [*news.findings, *later.findings], [*news.rows, *later.rows], news.changes


@pytest.fixture
def world(tmp_path):
    return World(tmp_path, *items(table={"hr.wages": (PAY, "oid 7; column 1-2")}))


RENAME = ran(9, "alice", "ALTER TABLE hr.wages RENAME TO salary")


def test_a_renamed_table_is_one_change_of_who_renamed_it(world):
    value = PAY.replace("wages", "salary")
    found, rows, _ = world.told(
        10, *items(table={"hr.salary": (value, "oid 7; column 1-2")}), statements=[RENAME]
    )
    [finding] = found
    assert finding.title == "Drift: table hr.salary renamed from hr.wages"
    assert finding.sentence.endswith("psql: table hr.salary was renamed from hr.wages")
    assert (finding.identity, finding.severity) == ("alice", Severity.MEDIUM)
    assert {(row["name"], row["renamed"], row["actor"]) for row in rows} == {
        ("hr.salary", "renamed from hr.wages", "alice"),
        ("hr.wages", "renamed to hr.salary", "alice"),
    }


def test_what_else_changed_with_the_name_is_no_doing_of_who_renamed_it(world):
    value = f"{PAY.replace('wages', 'salary')}\nrow security: on"
    world.commit(1, look(1, *items(table={"hr.wages": (f"{PAY}\nrow security: on", "oid 7")})))
    world.drift.accept("eve", "so it is")
    world.drift.tick(START_US + 2 * S)
    without = value.replace("\nrow security: on", "")
    found, _, _ = world.told(
        10, *items(table={"hr.salary": (without, "oid 7")}), statements=[RENAME]
    )
    told = {finding.identity: finding for finding in found}
    assert "row level security of table hr.salary is off, was on" in told[""].sentence
    assert told[""].severity is Severity.CRITICAL
    assert told["alice"].sentence.endswith("psql: table hr.salary was renamed from hr.wages")
    assert told["alice"].severity is Severity.MEDIUM


def test_one_dropped_and_another_made_like_it_is_no_rename(world):
    one = [
        ran(9, "alice", "DO $$ BEGIN DROP TABLE hr.wages; CREATE TABLE hr.salary (id int); END $$")
    ]
    found, rows, _ = world.told(
        10, *items(table={"hr.salary": (PAY, "oid 8; column 1-2")}), statements=one
    )
    assert {row["renamed"] for row in rows} == {""}
    assert not any("became" in each.sentence or "renamed" in each.sentence for each in found)


def test_without_numbers_the_same_values_are_still_called_one(tmp_path):
    """Agents of older releases."""
    world = World(tmp_path, *items(table={"hr.wages": (PAY, "")}))
    found, _, _ = world.told(10, *items(table={"hr.salary": (PAY, "")}), statements=[RENAME])
    assert "table hr.wages became hr.salary" in found[0].sentence


def test_numbers_that_an_agent_tells_for_the_first_time_are_no_difference(tmp_path):
    world = World(tmp_path, *items(table={"hr.wages": (PAY, "")}))
    found, rows, changes = world.told(5, *items(table={"hr.wages": (PAY, "oid 7; column 1-2")}))
    assert (found, rows) == ([], [])
    assert [row["detail"] for row in changes.values()] == ["oid 7; column 1-2"]
    found, _, _ = world.told(10, *items(table={"hr.salary": (PAY, "oid 7")}), statements=[RENAME])
    assert "renamed from hr.wages" in found[0].title


def test_a_restored_dump_has_other_numbers_and_is_no_difference(world):
    found, rows, changes = world.told(5, *items(table={"hr.wages": (PAY, "oid 9; column 1-2")}))
    assert (found, rows) == ([], [])
    [row] = changes.values()
    assert (row["change"], row["before"], row["after"]) == ("changed", PAY, PAY)


def test_one_that_differs_and_is_another_object_is_said_to_be_made_anew(world):
    value = PAY.replace("numeric", "text")
    [finding], [*rows], _ = world.told(5, *items(table={"hr.wages": (value, "oid 9; column 1-2")}))
    assert "table hr.wages was dropped and made anew" in finding.sentence
    assert "column pay of table hr.wages is text, was numeric" in finding.sentence
    assert rows[-1]["renamed"] == "dropped and made anew"


def test_a_renamed_column_is_neither_dropped_nor_new(world):
    value = PAY.replace("column pay", "column salary")
    alter = ran(4, "alice", "ALTER TABLE hr.wages RENAME COLUMN pay TO salary")
    detail = "oid 7; column 1-2"
    [finding], _, _ = world.told(5, *items(table={"hr.wages": (value, detail)}), statements=[alter])
    assert "of table hr.wages, column pay renamed to salary" in finding.sentence
    assert "was dropped" not in finding.sentence
    assert finding.identity == "alice"


def test_two_that_change_names_with_each_other_are_told_by_both(tmp_path):
    one, other = ("column a: text", "oid 1"), ("column b: text", "oid 2")
    world = World(tmp_path, *items(table={"hr.a": one, "hr.b": other}))
    _, rows, _ = world.told(5, *items(table={"hr.a": other, "hr.b": one}))
    assert {row["name"]: row["renamed"] for row in rows} == {
        "hr.a": "renamed from hr.b", "hr.b": "renamed from hr.a",
    }  # fmt: skip


def test_the_half_that_nobody_is_found_for_has_the_actor_of_the_other(tmp_path):
    """A policy of a renamed table says its own name nowhere in the statement."""
    world = World(
        tmp_path,
        *items(table={"hr.wages": (PAY, "oid 7")}, policy={"hr.wages.own": (OWN, "oid 8")}),
    )
    [finding], rows, _ = world.told(
        10,
        *items(table={"hr.salary": (PAY, "oid 7")}, policy={"hr.salary.own": (OWN, "oid 8")}),
        statements=[RENAME],
    )
    assert {row["actor"] for row in rows} == {"alice"}
    assert finding.severity is Severity.MEDIUM
    assert "policy hr.salary.own was renamed from hr.wages.own" in finding.sentence


def test_open_renames_survive_a_restart(world):
    world.told(10, *items(table={"hr.salary": (PAY, "oid 7")}), statements=[RENAME])
    world.open()
    [again] = world.drift.tick(START_US + 20 * S).findings
    assert again.title == "Drift: table hr.salary renamed from hr.wages"


def test_parts_are_told_by_their_numbers():
    before = Fact(
        "column a: int\ncolumn b: text\nconstraint k: UNIQUE (a)", "oid 1; column 1-2; constraint 9"
    )
    after = Fact(
        "column c: int\ncolumn b: text\nconstraint k2: UNIQUE (c)",
        "oid 1; column 1,3; constraint 9",
    )
    assert [tuple(part) for part in renamed_parts(before, after)] == [
        ("column", "a", "c"), ("constraint", "k", "k2"),
    ]  # fmt: skip
    assert other_parts(before, after) == {"column b"}


def test_numbers_that_do_not_fit_the_lines_say_nothing():
    """A value or a detail may be cut on the way."""
    before = Fact("column a: int\ncolumn b: text", "oid 1; column 1-3")
    assert renamed_parts(before, Fact("column x: int", "oid 1; column 1")) == []
    assert renamed_parts(before, Fact("column x: int", "oid 1; column 1... cut, 9999 bytes")) == []
