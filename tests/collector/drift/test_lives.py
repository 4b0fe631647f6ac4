"""What several people did to one thing between two looks: made, renamed, dropped, made anew."""

from __future__ import annotations

import pytest

from tests.collector.drift.story import ran
from tests.collector.drift.test_renamed_after import (
    ALL,
    LINES,
    World,
    policy,
    privilege,
    role,
    rows,
    schema,
    table,
)
from tests.collector.drift.test_renamed_beside import SWAP, played

FRANKS = LINES.replace("owner: hr", "owner: frank")


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def seen(name, value, columns="1", oid=16500):
    return {("table", "shop", name): (value, f"oid {oid}; column {columns}")}


def lines(world):
    """Of each row who did it, and the lines that became other."""
    found = set()
    for row in world.drift.status().rows:
        before, after = ({*row[side].split("\n")} for side in ("desired", "observed"))
        found.add((row["actor"], *sorted(after - before)))
    return found


def note_of(world, name):
    [row] = [row for row in world.drift.status().rows if row["name"] == name]
    return row["note"]


def transaction(user, *statements):
    begin = ran(0.5, user, "BEGIN", transaction="IT")
    commit = ran(8, user, "COMMIT", transaction="TI", tag="COMMIT")
    inside = [ran(1 + at, user, sql, transaction="TT") for at, sql in enumerate(statements)]
    return [begin, *inside, commit]


SCHEMAS_SWAP = (
    "ALTER SCHEMA q1 RENAME TO sx", "ALTER SCHEMA q2 RENAME TO q1", "ALTER SCHEMA sx RENAME TO q2",
)  # fmt: skip
BY_HAND = ran(8.5, "frank", "UPDATE pg_class SET reltuples = 1 WHERE oid = 7")
ONE, TWO = f"{LINES}\ncolumn i: integer", f"{LINES}\ncolumn j: integer"


@pytest.mark.parametrize("beside", [[], [BY_HAND]])
def test_tables_of_schemas_that_change_places_are_of_who_renamed_these(world, beside):
    before = schema("q1") | schema("q2", 16401) | table("q1.x", ONE) | table("q2.x", TWO, 16501)
    after = schema("q2") | schema("q1", 16401) | table("q2.x", ONE) | table("q1.x", TWO, 16501)
    played(world, before, after, *transaction("heidi", *SCHEMAS_SWAP), *beside)
    assert rows(world) == {("q1.x", "changed", "heidi"), ("q2.x", "changed", "heidi")}


def test_a_new_role_that_another_one_renames_is_of_who_made_it(world):
    done = [
        ran(1, "paul", "CREATE ROLE nx SUPERUSER"),
        ran(2, "sam", "ALTER ROLE nx RENAME TO ny"),
    ]
    played(world, role("eve"), role("eve") | role("ny", 11, superuser="true"), *done)
    assert rows(world) == {("ny", "added", "paul")}


def test_what_was_made_of_a_new_role_before_another_one_renames_it_is_of_who_did_it(world):
    done = [
        ran(1, "paul", "CREATE ROLE nx"),
        ran(2, "vera", "ALTER ROLE nx SUPERUSER"),
        ran(3, "kate", "GRANT nx TO eve"),
        ran(3.5, "judy", "ALTER ROLE nx SET work_mem = '9MB'"),
        ran(4, "sam", "ALTER ROLE nx RENAME TO ny"),
    ]
    after = role("eve") | role("ny", 11, superuser="true")
    after |= {("membership", "", "ny<-eve"): ("member", "")}
    after |= {("setting", "", "work_mem@ny"): ("9MB", "of a role")}
    played(world, role("eve"), after, *done)
    assert rows(world) == {
        ("ny", "added", "paul"), ("ny", "changed", "vera"),
        ("ny<-eve", "added", "kate"), ("work_mem@ny", "added", "judy"),
    }  # fmt: skip


def test_who_made_another_one_by_the_former_name_did_not_make_the_renamed_one(world):
    done = [
        ran(1, "paul", "CREATE TABLE hr.x (id bigint)"),
        ran(2, "sam", "ALTER TABLE hr.x RENAME TO y"),
        ran(3, "vera", "CREATE TABLE hr.x (id bigint)"),
    ]
    after = table("hr.t") | table("hr.y", LINES, 16501) | table("hr.x", LINES, 16502)
    played(world, table("hr.t"), after, *done)
    assert rows(world) == {("hr.y", "added", "paul"), ("hr.x", "added", "vera")}


def test_a_table_that_is_put_in_the_place_of_another_one_names_all_who_did_it(world):
    """As a migration does it: the new one is of who made it."""
    done = [
        ran(1, "paul", "CREATE TABLE hr.t_new (id bigint, z int)"),
        ran(2, "sam", "ALTER TABLE hr.t RENAME TO t_old"),
        ran(3, "sam", "ALTER TABLE hr.t_new RENAME TO t"),
        ran(4, "vera", "DROP TABLE hr.t_old"),
    ]
    after = table("hr.t", f"{LINES}\ncolumn z: integer", 16501)
    played(world, table("hr.t"), after, *done)
    assert rows(world) == {("hr.t", "changed", "paul")}
    assert note_of(world, "hr.t") == "part of it was done by vera (statement 4), sam (statement 3)"


def test_each_of_several_who_rename_one_thing_takes_and_gives_what_they_say(world):
    done = [
        ran(1, "paul", "ALTER TABLE hr.t RENAME TO u"),
        ran(2, "sam", "ALTER SCHEMA hr RENAME TO hr2"),
        ran(3, "vera", "ALTER TABLE hr2.u RENAME TO v"),
    ]
    before, after = schema("hr") | table("hr.t"), schema("hr2") | table("hr2.v")
    played(world, before, after, *done)
    assert rows(world) == {
        ("hr", "removed", "sam"), ("hr2", "added", "sam"),
        ("hr.t", "removed", "paul"), ("hr2.v", "added", "vera"),
    }  # fmt: skip


def test_a_new_column_that_another_one_renames_is_of_who_made_it(world):
    done = [
        ran(1, "paul", "ALTER TABLE hr.t ADD COLUMN nc1 int"),
        ran(2, "sam", "ALTER TABLE hr.t RENAME COLUMN nc1 TO nc2"),
    ]
    after = seen("hr.t", f"{LINES}\ncolumn nc2: integer", "1-2")
    played(world, table("hr.t"), after, *done)
    assert rows(world) == {("hr.t", "changed", "paul")}


def test_two_new_columns_of_which_one_was_renamed_are_each_of_who_made_it(world):
    done = [
        ran(1, "paul", "ALTER TABLE hr.t ADD COLUMN nc1 int"),
        ran(2, "sam", "ALTER TABLE hr.t RENAME COLUMN nc1 TO nc2"),
        ran(3, "kate", "ALTER TABLE hr.t ADD COLUMN k int"),
    ]
    after = seen("hr.t", f"{LINES}\ncolumn nc2: integer\ncolumn k: integer", "1-3")
    played(world, table("hr.t"), after, *done)
    assert lines(world) == {("paul", "column nc2: integer"), ("kate", "column k: integer")}


TAKEN = [
    ran(1, "erin", "ALTER TABLE hr.o RENAME TO ob"),
    ran(2, "frank", "CREATE TABLE hr.o (id bigint)"),
]


def test_who_makes_a_table_by_a_name_that_is_free_again_renamed_nothing(world):
    news = played(world, table("hr.o"), table("hr.ob") | table("hr.o", FRANKS, 16501), *TAKEN)
    assert rows(world) == {("hr.ob", "added", "erin"), ("hr.o", "changed", "frank")}
    assert note_of(world, "hr.o") == note_of(world, "hr.ob") == ""
    told = {each.identity: each.sentence for each in news.findings}
    assert "table hr.o is another one, the former one is now hr.ob" in told["frank"]
    assert "table hr.ob was renamed from hr.o" in told["erin"]
    assert "dropped" not in f"{told}"


REPLACED = [
    (
        table("hr.o"),
        table("hr.o", f"{LINES}\ncolumn z: integer", 16501),
        "DROP TABLE hr.o",
        "CREATE TABLE hr.o (id bigint, z int)",
    ),
    (
        table("hr.t") | policy("hr.t.own"),
        table("hr.t") | policy("hr.t.own", ALL, 16601),
        "DROP POLICY own ON hr.t",
        "CREATE POLICY own ON hr.t USING (true)",
    ),
    (
        role("eve"),
        role("eve", 11, superuser="true"),
        "DROP ROLE eve",
        "CREATE ROLE eve SUPERUSER",
    ),
    (
        seen("hr.t", f"{LINES}\ncolumn c: integer", "1-2"),
        seen("hr.t", f"{LINES}\ncolumn c: text", "1,3"),
        "ALTER TABLE hr.t DROP c",
        "ALTER TABLE hr.t ADD c text",
    ),
]


@pytest.mark.parametrize(("before", "after", "drop", "make"), REPLACED)
def test_what_one_dropped_and_another_one_made_anew_names_both(world, before, after, drop, make):
    done = [ran(1, "carol", drop), ran(2, "dave", make)]
    played(world, before, after, *done)
    [row] = world.drift.status().rows
    assert row["actor"] == "dave"
    assert row["note"] == "part of it was done by carol (statement 1)"


@pytest.mark.parametrize(("before", "after", "drop", "make"), REPLACED)
def test_what_one_dropped_and_made_anew_is_theirs_alone(world, before, after, drop, make):
    done = [ran(1, "carol", drop), ran(2, "carol", make)]
    played(world, before, after, *done)
    [row] = world.drift.status().rows
    assert row["actor"] == "carol"
    assert "carol" not in row["note"]


def test_a_column_by_a_name_that_is_free_again_is_of_who_made_it(world):
    done = [
        ran(1, "alice", "ALTER TABLE hr.t RENAME c TO cc"),
        ran(2, "bob", "ALTER TABLE hr.t ADD c text"),
    ]
    before = seen("hr.t", f"{LINES}\ncolumn c: integer", "1-2")
    after = seen("hr.t", f"{LINES}\ncolumn cc: integer\ncolumn c: text", "1-3")
    played(world, before, after, *done)
    assert lines(world) == {("alice", "column cc: integer"), ("bob", "column c: text")}
    assert {row["note"] for row in world.drift.status().rows} == {""}


def test_a_name_in_another_schema_that_is_free_again(world):
    done = [
        ran(1, "judy", "ALTER TABLE hr.o SET SCHEMA s2"),
        ran(2, "kate", "CREATE TABLE hr.o (id bigint)"),
    ]
    played(world, table("hr.o"), table("s2.o") | table("hr.o", FRANKS, 16501), *done)
    assert rows(world) == {("s2.o", "added", "judy"), ("hr.o", "changed", "kate")}


def test_a_schema_that_is_put_aside_for_another_one(world):
    done = [
        ran(1, "nina", "ALTER SCHEMA sc RENAME TO sc_old"),
        ran(2, "oscar", "CREATE SCHEMA sc"),
        ran(3, "paul", "CREATE TABLE sc.t (id bigint)"),
    ]
    before = schema("sc") | table("sc.t") | privilege("table:sc.t<-g1")
    after = schema("sc_old") | table("sc_old.t") | privilege("table:sc_old.t<-g1")
    after |= {("schema", "shop", "sc"): ("owner: oscar", "oid 16401")} | table("sc.t", FRANKS, 1)
    played(world, before, after, *done)
    assert rows(world) == {
        ("sc_old", "added", "nina"), ("sc", "changed", "oscar"),
        ("sc_old.t", "added", "nina"), ("sc.t", "changed", "paul"),
        ("table:sc.t<-g1", "removed", "nina"), ("table:sc_old.t<-g1", "added", "nina"),
    }  # fmt: skip


def test_what_was_done_under_a_name_in_between_is_of_who_did_it(world):
    done = [
        ran(1, "alice", "ALTER TABLE hr.a RENAME TO tmp"),
        ran(2, "bob", "ALTER TABLE hr.tmp ADD x int"),
        ran(3, "carol", "ALTER TABLE hr.tmp RENAME TO a"),
        ran(4, "sam", "ALTER TABLE hr.a DISABLE ROW LEVEL SECURITY"),
    ]
    off = LINES.replace("row security: on\n", "")
    played(world, table("hr.a"), seen("hr.a", f"{off}\ncolumn x: integer", "1-2"), *done)
    found = {row["actor"]: row["observed"] for row in world.drift.status().rows}
    assert found == {"sam": off, "bob": f"{LINES}\ncolumn x: integer"}


F_LINES = "owner: hr\nlanguage: sql\nsecurity: {}"


def function(name, security):
    return {("function", "shop", name): (F_LINES.format(security), "oid 16700")}


OFF = LINES.replace("row security: on\n", "")
THERE_AND_BACK = [
    (
        table("hr.a"), table("hr.a", OFF),
        [
            "ALTER TABLE hr.a RENAME TO x",
            "ALTER TABLE hr.x DISABLE ROW LEVEL SECURITY",
            "ALTER TABLE hr.x RENAME TO a",
        ],
    ),
    (
        table("hr.a"), table("hr.a", OFF),
        [
            "ALTER TABLE hr.a SET SCHEMA s2",
            "ALTER TABLE s2.a DISABLE ROW LEVEL SECURITY",
            "ALTER TABLE s2.a SET SCHEMA hr",
        ],
    ),
    (
        schema("hr") | table("hr.a"), schema("hr") | table("hr.a", OFF),
        [
            "ALTER SCHEMA hr RENAME TO h2",
            "ALTER TABLE h2.a DISABLE ROW LEVEL SECURITY",
            "ALTER SCHEMA h2 RENAME TO hr",
        ],
    ),
    (
        table("hr.t") | policy("hr.t.own"), table("hr.t") | policy("hr.t.own", ALL),
        [
            "ALTER POLICY own ON hr.t RENAME TO p2",
            "ALTER POLICY p2 ON hr.t USING (true)",
            "ALTER POLICY p2 ON hr.t RENAME TO own",
        ],
    ),
    (
        function("hr.f()", "invoker"), function("hr.f()", "definer"),
        [
            "ALTER FUNCTION hr.f() RENAME TO g",
            "ALTER FUNCTION hr.g() SECURITY DEFINER",
            "ALTER FUNCTION hr.g() RENAME TO f",
        ],
    ),
    (
        role("eve"), role("eve", superuser="true"),
        [
            "ALTER ROLE eve RENAME TO eva", "ALTER ROLE eva SUPERUSER",
            "ALTER ROLE eva RENAME TO eve",
        ],
    ),
    (
        table("hr.t") | privilege("table:hr.t<-g", "SELECT"),
        table("hr.t") | privilege("table:hr.t<-g", "INSERT, SELECT"),
        [
            "ALTER TABLE hr.t RENAME TO u", "GRANT INSERT ON hr.u TO g",
            "ALTER TABLE hr.u RENAME TO t",
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "did"), THERE_AND_BACK)
@pytest.mark.parametrize("people", [("bob", "bob", "bob"), ("alice", "bob", "carol")])
@pytest.mark.parametrize("together", [False, True])
def test_a_name_that_is_given_back_hides_nothing(world, before, after, did, people, together):
    if together:
        done = transaction("bob", *did)
    else:
        done = [ran(1 + n, *who) for n, who in enumerate(zip(people, did, strict=True))]
    played(world, before, after, *done)
    assert {who for _, _, who in rows(world)} == {"bob"}


def test_who_adds_a_column_to_what_took_a_name_renamed_nothing(world):
    done = [
        ran(1, "erin", "ALTER TABLE hr.b RENAME TO b2"),
        ran(2, "frank", "ALTER TABLE hr.c RENAME TO b"),
        ran(3, "grace", "ALTER TABLE hr.b ADD y int"),
    ]
    before = table("hr.b", ONE) | table("hr.c", TWO, 16501)
    after = table("hr.b2", ONE) | seen("hr.b", f"{TWO}\ncolumn y: integer", "1", 16501)
    played(world, before, after, *done)
    assert rows(world) == {
        ("hr.b2", "added", "erin"), ("hr.c", "removed", "frank"),
        ("hr.b", "changed", "frank"), ("hr.b", "changed", "grace"),
    }  # fmt: skip


def test_a_role_by_a_name_that_is_free_again_hides_no_rename(world):
    """The new one is like the former one, which is no difference."""
    done = [ran(1, "ivan", "ALTER ROLE z1 RENAME TO z2"), ran(2, "kate", "CREATE ROLE z1")]
    news = played(world, role("z1"), role("z1", 11) | role("z2"), *done)
    assert rows(world) == {("z2", "added", "ivan")}
    [told] = [each.sentence for each in news.findings if each.identity == "ivan"]
    assert "role z2 was renamed from z1" in told


@pytest.mark.parametrize("begins", [SWAP, ("DROP TABLE hr.a", "CREATE TABLE hr.a (i int)")])
def test_what_several_did_to_a_thing_that_has_another_ones_name_is_of_each(world, begins):
    done = [ran(1 + at, "carol", sql) for at, sql in enumerate(begins)]
    swapped = begins is SWAP
    base = table("hr.a", ONE) | table("hr.b", TWO, 16501)
    other = table("hr.b", ONE) if swapped else {}
    played(world, base, other | table("hr.a", TWO, 16501), *done)
    later = [
        ran(41, "alice", "ALTER TABLE hr.a DISABLE ROW LEVEL SECURITY"),
        ran(42, "dave", "ALTER TABLE hr.a ADD y int"),
    ]
    after = TWO.replace("row security: on\n", "") + "\ncolumn y: integer"
    world.commit(50, other | seen("hr.a", after, "1-3", 16501), statements=later)
    world.tick(70)
    found = {(row["name"], row["actor"]) for row in world.drift.status().rows}
    assert {("hr.a", "carol"), ("hr.a", "alice"), ("hr.a", "dave")} <= found
