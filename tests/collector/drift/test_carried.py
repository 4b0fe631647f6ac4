"""What was done to an object stays with who did it when somebody gives it another name."""

from __future__ import annotations

from collector.drift.engine import Drift
from tests.collector.drift.story import ran
from tests.collector.drift.test_divided import BASE, TABLE, T, by_actor, table, world

__all__ = ["world"]
OFF = TABLE.replace("row security: on\n", "")
PAY = ("table", "shop", "hr.pay")
DISABLE = ran(2, "alice", "ALTER TABLE hr.t DISABLE ROW LEVEL SECURITY")
RENAME = ran(10, "bob", "ALTER TABLE hr.t RENAME TO pay")


def called(value, key=PAY, detail="oid 16500; column 1"):
    seen = {**BASE, key: (value, detail)}
    del seen[T]
    return seen


def open_rows(world):
    rows = world.drift.status().rows
    return {(r["name"], r["change"], r["actor"], str(r["severity"])) for r in rows}


EXPECTED = {
    ("hr.t", "removed", "bob", "medium"),
    ("hr.pay", "added", "bob", "medium"),
    ("hr.pay", "changed", "alice", "critical"),
}


def test_a_rename_takes_nothing_from_who_switched_row_security_off_before(world, tmp_path):
    world.commit(3, table(OFF), statements=[DISABLE])
    news = world.commit(11, called(OFF), statements=[RENAME])
    last = {each.identity: each for each in news.findings}
    assert last["bob"].severity == "medium"
    assert "row level security" not in last["bob"].sentence
    assert "alice" not in last or not last["alice"].resolved_at_us
    assert open_rows(world) == EXPECTED
    world.drift = Drift(tmp_path)
    assert open_rows(world) == EXPECTED


def test_nor_does_one_in_the_same_look(world):
    news = world.commit(11, called(OFF), statements=[DISABLE, RENAME])
    told = {each.identity: each for each in news.findings}
    assert dict(told["alice"].details)["consequences"] == (
        "row level security of table hr.pay is off, was on"
    )
    assert told["bob"].severity == "medium"
    assert open_rows(world) == EXPECTED


def test_what_is_done_under_the_new_name_is_found_too(world):
    after = ran(12, "alice", "ALTER TABLE hr.pay DISABLE ROW LEVEL SECURITY")
    world.commit(13, called(OFF), statements=[RENAME, after])
    assert open_rows(world) == EXPECTED


def test_another_schema_takes_its_words_along(world):
    lines = f"{TABLE}\ncolumn m: hr.mood\nindex i: CREATE INDEX i ON hr.t USING btree (id)"
    detail = "oid 16500; column 1-2"
    world.commit(3, table(lines, detail), statements=[ran(2, "dba", "ALTER TABLE hr.t ADD m text")])
    world.drift.accept("dba", "fine")
    people = ("table", "shop", "people.t")
    seen = called(lines.replace("hr.", "people."), people, detail)
    world.commit(11, seen, statements=[ran(10, "bob", "ALTER SCHEMA hr RENAME TO people")])
    assert open_rows(world) == {
        ("hr.t", "removed", "bob", "medium"), ("people.t", "added", "bob", "medium"),
    }  # fmt: skip


def test_what_was_set_back_under_the_new_name_ends(world):
    world.commit(3, table(OFF), statements=[DISABLE])
    world.commit(11, called(OFF), statements=[RENAME])
    back = [ran(20, "carol", "ALTER TABLE hr.pay ENABLE ROW LEVEL SECURITY")]
    news = world.commit(21, called(TABLE), statements=back)
    [over] = [each for each in news.findings if each.resolved_at_us]
    assert (over.identity, over.sentence.endswith("reverted by carol")) == ("alice", True)
    assert open_rows(world) == {
        ("hr.t", "removed", "bob", "medium"), ("hr.pay", "added", "bob", "medium"),
    }  # fmt: skip


def test_what_follows_on_the_renamed_one_is_a_part_of_its_own(world):
    world.commit(3, table(OFF), statements=[DISABLE])
    world.commit(11, called(OFF), statements=[RENAME])
    did = [ran(20, "oscar", "ALTER TABLE hr.pay ADD COLUMN note text")]
    [found] = world.commit(
        21, called(f"{OFF}\ncolumn note: text", detail="oid 16500; column 1-2"), statements=did
    ).findings
    assert (found.identity, found.severity) == ("oscar", "medium")
    assert by_actor(world)["alice"]["severity"] == "critical"


def test_a_plain_rename_is_two_rows_as_ever(world):
    [found] = world.commit(11, called(TABLE), statements=[RENAME]).findings
    assert dict(found.details)["consequences"] == "table hr.pay was renamed from hr.t"
    assert len(world.drift.status().rows) == 2
