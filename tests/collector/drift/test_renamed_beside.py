"""What others did to an object in the look in which somebody gives it another name is theirs."""

from __future__ import annotations

import pytest

from tests.collector.drift.story import actor_of, cause_of, ran
from tests.collector.drift.test_renamed_after import (
    ALL,
    LINES,
    World,
    policy,
    privilege,
    role,
    rows,
    table,
)

X, Y = "\ncolumn x: integer", "\ncolumn y: integer"
RENAME = ran(2, "bob", "ALTER TABLE hr.t RENAME TO u")


def seen(name, value, columns=1, oid=16500):
    return {("table", "shop", name): (value, f"oid {oid}; column 1-{columns}")}


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def played(world, before, after, *statements):
    """All of it between two looks."""
    world.commit(0, before)
    news = world.commit(9, after, statements=statements)
    world.tick(30)
    return news


def test_a_row_of_view_drift_is_told_for_each_of_them(world):
    """It tells rows apart by name and moment."""
    owned = table("hr.u", LINES.replace("owner: hr", "owner: etl"))
    played(world, table("hr.t"), owned, ran(1, "alice", "ALTER TABLE hr.t OWNER TO etl"), RENAME)
    mine = [row for row in world.drift.status().rows if row["name"] == "hr.u"]
    assert {row["actor"] for row in mine} == {"alice", "bob"}
    assert len({row["occurred_at"] for row in mine}) == 2


def test_columns_that_two_added_before_and_after_it_are_each_theirs(world):
    before = ran(1, "alice", "ALTER TABLE hr.t ADD x int")
    after = ran(3, "dave", "ALTER TABLE hr.u ADD y int")
    played(world, table("hr.t"), seen("hr.u", LINES + X + Y, 3), before, RENAME, after)
    found = {row["actor"]: row["observed"] for row in world.drift.status().rows if row["observed"]}
    assert found == {"bob": LINES, "alice": LINES + X, "dave": LINES + Y}


SWAP = (
    "ALTER TABLE hr.a RENAME TO tmp", "ALTER TABLE hr.b RENAME TO a",
    "ALTER TABLE hr.tmp RENAME TO b",
)  # fmt: skip


def in_one_transaction(*rows):
    begin = ran(0.5, "carol", "BEGIN", transaction="IT")
    commit = ran(8, "carol", "COMMIT", transaction="TI", tag="COMMIT")
    return [begin, *({**row, "transaction": "TT"} for row in rows), commit]


@pytest.mark.parametrize("wrapped", [list, lambda rows: in_one_transaction(*rows)])
def test_tables_that_change_places_are_of_who_renamed_them(world, wrapped):
    done = wrapped([ran(2 + at, "carol", sql) for at, sql in enumerate(SWAP)])
    before = table("hr.a") | seen("hr.b", LINES + X, 2, 16501)
    after = table("hr.b") | seen("hr.a", LINES + X, 2, 16501)
    played(world, before, after, *done)
    assert rows(world) == {("hr.a", "changed", "carol"), ("hr.b", "changed", "carol")}


def test_a_policy_that_takes_the_name_of_another_one(world):
    done = [
        ran(1, "carol", "DROP POLICY own ON hr.t"),
        ran(2, "carol", "ALTER POLICY other ON hr.t RENAME TO own"),
    ]
    before = table("hr.t") | policy("hr.t.own") | policy("hr.t.other", ALL, 16601)
    played(world, before, table("hr.t") | policy("hr.t.own", ALL, 16601), *done)
    assert {row["actor"] for row in world.drift.status().rows} == {"carol"}


def test_a_name_with_a_dot_in_it_is_one_name():
    sql = 'ALTER TABLE hr."odd.name" RENAME COLUMN a TO b'
    step = ("table", 'hr."odd.name"', "column a: integer", "column b: integer")
    assert actor_of([ran(1, "bob", sql)], *step) == "bob"


def test_an_attribute_of_a_role_is_of_who_set_it_and_not_of_who_renamed_it(world):
    done = [
        ran(1, "alice", "ALTER ROLE eve SUPERUSER"), ran(2, "bob", "ALTER ROLE eve RENAME TO eva"),
    ]  # fmt: skip
    played(world, role("eve"), role("eva", superuser="true"), *done)
    assert rows(world) == {
        ("eve", "removed", "bob"), ("eva", "added", "bob"), ("eva", "changed", "alice"),
    }  # fmt: skip


RETYPED = [
    [
        ran(1, "ivan", "ALTER TABLE hr.t ALTER x TYPE bigint"),
        ran(2, "bob", "ALTER TABLE hr.t RENAME COLUMN x TO z"),
    ],
    [
        ran(1, "bob", "ALTER TABLE hr.t RENAME x TO z"),
        ran(2, "ivan", "ALTER TABLE hr.t ALTER COLUMN z TYPE bigint"),
    ],
]


@pytest.mark.parametrize("done", RETYPED)
@pytest.mark.parametrize("more", ["", Y])
def test_a_column_that_is_of_another_type_besides_is_of_who_made_it_so(world, done, more):
    done = [*done, ran(3, "dave", "ALTER TABLE hr.t ADD y int")] if more else done
    before, after = LINES + X, f"{LINES}\ncolumn z: bigint{more}"
    played(world, seen("hr.t", before, 2), seen("hr.t", after, 3 if more else 2), *done)
    found = {row["actor"]: row["note"] for row in world.drift.status().rows}
    number = [row["user_name"] for row in done].index("bob") + 1
    assert found["ivan"] == f"part of it was done by bob (statement {number})"
    assert "bob" not in found


def test_a_column_that_has_another_name_alone_is_of_who_renamed_it(world):
    done = RETYPED[0][1:]
    after = seen("hr.t", f"{LINES}\ncolumn z: integer", 2)
    played(world, seen("hr.t", LINES + X, 2), after, *done)
    assert rows(world) == {("hr.t", "changed", "bob")}


ROLES = ran(3, "bob", "ALTER ROLE r1 RENAME TO r2")
DEFAULT = "default:tables of r1 in hr<-x"
GIVEN = [
    (("membership", "", "g<-r1"), "member", "GRANT g TO r1"),
    (("membership", "", "r1<-g"), "member", "GRANT r1 TO g"),
    (("setting", "", "work_mem@r1"), "9MB", "ALTER ROLE r1 SET work_mem = '9MB'"),
    (("privilege", "shop", "table:hr.t<-r1"), "INSERT", "GRANT INSERT ON hr.t TO r1"),
    (
        ("privilege", "shop", DEFAULT),
        "SELECT",
        "ALTER DEFAULT PRIVILEGES FOR ROLE r1 IN SCHEMA hr GRANT SELECT ON TABLES TO x",
    ),
]


def given(place, value, role_name="r1"):
    kind, database, name = place
    return {(kind, database, name.replace("r1", role_name)): (value, "")}


@pytest.mark.parametrize(("place", "value", "sql"), GIVEN)
def test_what_a_role_is_given_and_it_is_renamed_is_of_who_gave_it(world, place, value, sql):
    after = role("r2") | given(place, value, "r2")
    played(world, role("r1"), after, ran(1, "alice", sql), ROLES)
    assert (place[2].replace("r1", "r2"), "added", "alice") in rows(world)


@pytest.mark.parametrize(("place", "value", "sql"), GIVEN)
def test_who_renames_a_role_gives_it_nothing(world, place, value, sql):
    """What nobody is known to have given it is nobody's."""
    played(world, role("r1"), role("r2") | given(place, value, "r2"), ROLES)
    assert (place[2].replace("r1", "r2"), "added", "") in rows(world)


@pytest.mark.parametrize(("place", "value", "sql"), GIVEN)
def test_what_a_role_had_goes_along_with_its_name(world, place, value, sql):
    before, after = (role(name) | given(place, value, name) for name in ("r1", "r2"))
    played(world, before, after, ROLES)
    name = place[2]
    assert {(name, "removed", "bob"), (name.replace("r1", "r2"), "added", "bob")} <= rows(world)


def test_default_privileges_for_what_a_role_makes_stay_with_who_gave_them(world):
    place, value, sql = GIVEN[-1]
    world.commit(0, role("r1"))
    world.commit(5, role("r1") | given(place, value), statements=[ran(1, "alice", sql)])
    late = ran(15, "bob", "ALTER ROLE r1 RENAME TO r2")
    world.commit(20, role("r2") | given(place, value, "r2"), statements=[late])
    world.tick(40)
    assert ("default:tables of r2 in hr<-x", "added", "alice") in rows(world)


ODD = ('q"t', "dot.t", "sq'x", "back\\sl", "colon:x", "n\\x0al", "a;b", "a(b)", "a<-b")


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


@pytest.mark.parametrize("name", ODD)
def test_names_that_only_quotes_can_say_lose_nobody(world, name):
    """Their text is redacted; what is known of them are the names of objects."""
    old, new = (f"nm.{quoted(each)}" for each in (name, f"{name}z"))
    members = {("membership", "", f"{name}<-g"): ("member", "")}
    grants = privilege(f"table:nm.t<-{name}")
    after = table(new) | privilege(f"table:{new}<-x") | grants | members
    did = [
        f"GRANT INSERT ON {old} TO x",
        f"GRANT {quoted(name)} TO g",
        f"GRANT INSERT ON nm.t TO {quoted(name)}",
        f"ALTER TABLE {old} RENAME TO {quoted(name + 'z')}",
    ]
    played(world, table(old), after, *(ran(1 + at, "bob", sql) for at, sql in enumerate(did)))
    found = world.drift.status().rows
    assert len(found) == 5
    assert {row["name"] for row in found if row["actor"] != "bob"} == set()


def test_who_alters_a_database_is_not_who_may_have_renamed_it():
    done = [
        ran(1, "kate", "ALTER DATABASE src CONNECTION LIMIT 3", database="postgres"),
        ran(2, "bob", "ALTER DATABASE src RENAME TO src2", database="postgres"),
    ]
    found = cause_of(done, "database", "src", "owner: bob", None)
    assert (found.change.actor, found.others) == ("bob", ())
