"""Who made an object did not do what others did to it before the first look."""

from __future__ import annotations

import pytest

from collector.drift.engine import Drift
from tests.collector.drift.story import cause_of, ran
from tests.collector.drift.test_divided import BASE, by_actor, world
from tests.collector.drift.test_outcomes import approval

__all__ = ["world"]
NEW = ("role", "", "newbie")
ROLE = "superuser={} login=true createrole=false createdb=false inherit=true"
MADE = ran(2, "carol", "CREATE ROLE newbie LOGIN")
GIVEN = ran(3, "dave", "ALTER ROLE newbie SUPERUSER")
SEEN = {**BASE, NEW: (ROLE.format("true"), "")}
FRESH = ("table", "shop", "hr.fresh")
TABLE = "owner: etl\nkind: table\nrow security: on\ncolumn i: integer\ncolumn x: integer"


def shares_of(rows, kind, name, value):
    """The maker, and by line who did something to it."""
    found = cause_of(rows, kind, name, None, value)
    return found.change.actor, {key: each.actor for key, each in found.by_line.items()}


def test_a_new_role_that_another_one_made_a_superuser_is_two_findings(world, tmp_path):
    news = world.commit(6, SEEN, statements=[MADE, GIVEN])
    found = {each.identity: each for each in news.findings}
    assert found["dave"].severity == "critical"
    assert "became superuser=true" in found["dave"].sentence
    assert found["carol"].severity == "medium"
    assert "superuser" not in found["carol"].sentence
    world.drift = Drift(tmp_path)
    again = world.commit(8, SEEN).findings
    assert not [each for each in again if each.resolved_at_us]
    news = world.commit(
        11, {**BASE, NEW: (ROLE.format("false"), "")},
        statements=[ran(10, "erin", "ALTER ROLE newbie NOSUPERUSER")],
    )  # fmt: skip
    over = [each for each in news.findings if each.resolved_at_us]
    assert [(each.identity, "reverted by erin" in each.sentence) for each in over] == [
        ("dave", True)
    ]
    assert by_actor(world).keys() == {"carol"}


def test_an_approval_to_make_a_role_approves_no_attribute_that_came_later(world):
    did = [MADE, ran(3, "carol", "ALTER ROLE newbie SUPERUSER")]
    world.commit(6, SEEN, statements=did, verdicts=approval(1))
    rows = world.drift.status().rows
    told = {(row["change"], str(row["attribution"]), str(row["severity"])) for row in rows}
    assert ("changed", "attributed", "critical") in told


def test_what_the_maker_said_is_the_makers():
    rows = [ran(2, "carol", "CREATE ROLE newbie LOGIN SUPERUSER"), GIVEN]
    assert shares_of(rows, "role", "newbie", ROLE.format("true")) == ("carol", {})


def test_each_line_of_a_new_table_is_of_who_did_it():
    rows = [
        ran(2, "carol", "CREATE TABLE hr.fresh (i int)"),
        ran(3, "dave", "ALTER TABLE hr.fresh OWNER TO etl"),
        ran(4, "erin", "ALTER TABLE hr.fresh ADD COLUMN x int"),
        ran(5, "frank", "ALTER TABLE hr.fresh ENABLE ROW LEVEL SECURITY"),
    ]
    expected = {"owner": "dave", "column x": "erin", "row security": "frank"}
    assert shares_of(rows, "table", "hr.fresh", TABLE) == ("carol", expected)


def test_of_a_table_its_columns_keep_their_numbers(world):
    did = [
        ran(2, "carol", "CREATE TABLE hr.fresh (i int)"),
        ran(4, "erin", "ALTER TABLE hr.fresh ADD COLUMN x int"),
    ]
    value = "owner: carol\nkind: table\ncolumn i: integer\ncolumn x: integer"
    news = world.commit(6, {**BASE, FRESH: (value, "oid 17000; column 1-2")}, statements=did)
    rows = by_actor(world)
    assert rows["carol"]["observed"] == value.removesuffix("\ncolumn x: integer")
    told = {each.identity: dict(each.details)["consequences"] for each in news.findings}
    assert told["erin"] == "column x of table hr.fresh was created (integer)"


@pytest.mark.parametrize(
    "statement",
    ["ALTER TABLE hr.fresh ADD CHECK (i > 0)", "ALTER TABLE hr.other ADD COLUMN x int"],
)
def test_a_line_that_it_says_no_better_than_the_maker_stays_the_makers(statement):
    rows = [
        ran(2, "carol", "CREATE TABLE hr.fresh (i int PRIMARY KEY, x int)"),
        ran(3, "dave", statement),
    ]
    value = (
        "owner: carol\nkind: table\ncolumn i: integer not null\ncolumn x: integer\n"
        "constraint fresh_pkey: PRIMARY KEY (i)"
    )
    assert shares_of(rows, "table", "hr.fresh", value) == ("carol", {})


def test_a_function_that_another_one_let_run_with_its_owners_rights_is_of_both():
    rows = [
        ran(2, "carol", "CREATE FUNCTION hr.fn() RETURNS int LANGUAGE sql AS 'SELECT 1'"),
        ran(3, "dave", "ALTER FUNCTION hr.fn() SECURITY DEFINER"),
    ]
    value = "owner: carol\nlanguage: sql\nkind: function\nsecurity: definer\nbody: sha256:1"
    assert shares_of(rows, "function", "hr.fn()", value) == ("carol", {"security": "dave"})


def test_what_was_done_to_a_former_one_of_its_name_did_nothing_to_it():
    rows = [GIVEN, ran(5, "carol", "CREATE ROLE newbie LOGIN")]
    assert shares_of(rows, "role", "newbie", ROLE.format("true")) == ("carol", {})


def test_a_restored_table_is_one_finding(world):
    did = [
        ran(1, "mona", "SET check_function_bodies = false"),
        ran(2, "mona", "CREATE TABLE hr.fresh (i int)"),
        ran(3, "mona", "ALTER TABLE hr.fresh OWNER TO etl"),
        ran(4, "mona", "ALTER TABLE ONLY hr.fresh ADD CONSTRAINT fresh_pkey PRIMARY KEY (i)"),
    ]
    value = "owner: etl\nkind: table\ncolumn i: integer\nconstraint fresh_pkey: PRIMARY KEY (i)"
    seen = {**BASE, FRESH: (value, "oid 17000; column 1; constraint 17001")}
    [found] = world.commit(6, seen, statements=did).findings
    assert found.identity == "mona"


LATER = [
    ("policy", "hr.t.p", "command: all\nroles: PUBLIC\nkind: permissive\nusing: true",
     "CREATE POLICY p ON hr.t USING (i > 0)", "ALTER POLICY p ON hr.t USING (true)", "using"),
    ("trigger", "hr.t.g", "definition: CREATE TRIGGER g\nenabled: disabled\nfunction: hr.f",
     "CREATE TRIGGER g BEFORE UPDATE ON hr.t EXECUTE FUNCTION hr.f()",
     "ALTER TABLE hr.t DISABLE TRIGGER g", "enabled"),
    ("schema", "s8", "owner: etl", "CREATE SCHEMA s8", "ALTER SCHEMA s8 OWNER TO etl", "owner"),
    ("schema", "s8", "owner: etl\ncollation c: icu de, owner carol", "CREATE SCHEMA s8",
     "ALTER SCHEMA s8 OWNER TO etl", "owner"),
    ("type", "hr.e", "owner: carol\nkind: enum\nlabels: 'a', 'b'",
     "CREATE TYPE hr.e AS ENUM ('a')", "ALTER TYPE hr.e ADD VALUE 'b'", "labels"),
    ("database", "d5", "owner: carol\nallow connections: yes\nconnection limit: 3",
     "CREATE DATABASE d5", "ALTER DATABASE d5 CONNECTION LIMIT 3", "connection limit"),
    ("database", "d5", "owner: etl\nallow connections: yes",
     "CREATE DATABASE d5", "ALTER DATABASE d5 OWNER TO etl", "owner"),
    ("event_trigger", "e", "owner: carol\nevent: ddl_command_end\nenabled: disabled",
     "CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION f()",
     "ALTER EVENT TRIGGER e DISABLE", "enabled"),
    ("publication", "p", "owner: carol\noperations: insert",
     "CREATE PUBLICATION p", "ALTER PUBLICATION p SET (publish = 'insert')", "operations"),
    ("table", "hr.v", "owner: carol\nkind: view\ndefinition: sha256:1",
     "CREATE VIEW hr.v AS SELECT 1", "CREATE OR REPLACE VIEW hr.v AS SELECT 2", "definition"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name", "value", "made", "after", "line"), LATER)
def test_what_another_one_did_to_a_new_object_is_not_its_makers(
    kind, name, value, made, after, line
):
    rows = [ran(2, "carol", made), ran(3, "dave", after)]
    maker, lines = shares_of(rows, kind, name, value)
    assert maker == "carol"
    assert lines.pop(line) == "dave"
    assert {*lines} <= {"kind"}


@pytest.mark.parametrize(("kind", "name", "value", "made", "after", "line"), LATER)
def test_and_what_came_before_it_was_made_did_nothing_to_it(kind, name, value, made, after, line):
    rows = [ran(1, "dave", after), ran(2, "carol", made)]
    maker, lines = shares_of(rows, kind, name, value)
    assert (maker, lines) == ("carol", {}) or after.startswith("CREATE OR REPLACE")


PUBLISHED = "owner: carol\noperations: insert\ntable hr.t17: all columns\ntable hr.t18: all columns"


@pytest.mark.parametrize("path", ["", "hr."])
def test_a_table_of_a_new_publication_is_of_who_named_it(path):
    rows = [
        ran(5, "carol", f"CREATE PUBLICATION pu FOR TABLE {path}t17"),
        ran(6, "dave", f"ALTER PUBLICATION pu ADD TABLE {path}t18"),
    ]
    found = cause_of(rows, "publication", "pu", None, PUBLISHED)
    did = {key: change.actor for key, change in found.by_line.items()}
    assert (found.change.actor, did) == ("carol", {"table hr.t18": "dave"})


def test_who_validated_a_constraint_that_another_one_added_is_named_beside_him():
    rows = [
        ran(5, "dave", "ALTER TABLE hr.t ADD CONSTRAINT ck CHECK (i > 0) NOT VALID"),
        ran(6, "erin", "ALTER TABLE hr.t VALIDATE CONSTRAINT ck"),
        ran(7, "ivan", "ALTER TABLE hr.t VALIDATE CONSTRAINT other"),
    ]
    after = "owner: o\nkind: table\nconstraint ck: CHECK ((i > 0))"
    found = cause_of(rows, "table", "hr.t", "owner: o\nkind: table", after)
    assert {found.change.actor, *(each.actor for each in found.shares)} == {"dave", "erin"}


def test_who_took_the_slot_of_a_new_subscription_is_named_beside_who_made_it():
    rows = [
        ran(5, "erin", "CREATE SUBSCRIPTION s CONNECTION 'host=x' PUBLICATION p"),
        ran(6, "frank", "ALTER SUBSCRIPTION s SET (slot_name = NONE)"),
    ]
    found = cause_of(rows, "subscription", "s", None, "owner: erin\nenabled: no\npublications: p")
    assert [found.change.actor, *(each.actor for each in found.shares)] == ["erin", "frank"]
