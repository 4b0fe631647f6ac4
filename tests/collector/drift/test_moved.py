"""Who renames a schema, table or role did not do what others did to it at the same time."""

from __future__ import annotations

import pytest

from tests.collector.drift.story import ran
from tests.collector.drift.test_outcomes import World

SELECT = "SELECT"
RENAME = ran(10, "bob", "ALTER SCHEMA app RENAME TO app2")
LINES = "owner: hr\nkind: table\ncolumn id: bigint"


def privilege(name):
    return ("privilege", "shop", name)


def object_of(name, oid):
    return {("table", "shop", name): (LINES, f"oid {oid}")}


SCHEMA = {("schema", "shop", "app"): ("owner: hr", "oid 16400")}
SCHEMA2 = {("schema", "shop", "app2"): ("owner: hr", "oid 16400")}
BEFORE = SCHEMA | object_of("app.t", 16500) | {privilege("table:app.t<-analyst"): (SELECT, "")}
AFTER = SCHEMA2 | object_of("app2.t", 16500) | {privilege("table:app2.t<-analyst"): (SELECT, "")}


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.commit(0, BEFORE)
    return world


def actors(world):
    """By name."""
    return {row["name"]: row["actor"] for row in world.drift.status().rows}


@pytest.mark.parametrize(
    ("second", "table"), [(5, "app.t"), (5, "t"), (15, "app2.t")], ids=["former", "bare", "new"]
)
def test_a_right_for_everybody_beside_a_rename_is_of_who_gave_it(world, second, table):
    grant = ran(second, "alice", f"GRANT SELECT ON {table} TO PUBLIC")
    seen = {**AFTER, privilege("table:app2.t<-PUBLIC"): (SELECT, "")}
    world.commit(20, seen, statements=[grant, RENAME])
    found = actors(world)
    assert found.pop("table:app2.t<-PUBLIC") == "alice"
    assert {*found.values()} == {"bob"}


def test_a_right_that_was_there_goes_along_whoever_grants_it_once_more(world):
    again = ran(15, "alice", "GRANT SELECT ON app2.t TO analyst")
    world.commit(20, AFTER, statements=[RENAME, again])
    assert {*actors(world).values()} == {"bob"}


def test_of_two_rights_the_one_that_is_new_is_of_who_gave_it(world):
    grant = ran(5, "alice", "GRANT INSERT ON app.t TO analyst")
    seen = {**AFTER, privilege("table:app2.t<-analyst"): ("INSERT, SELECT", "")}
    world.commit(20, seen, statements=[grant, RENAME])
    rows = [row for row in world.drift.status().rows if row["name"] == "table:app2.t<-analyst"]
    assert {(row["actor"], row["observed"]) for row in rows} == {
        ("alice", "INSERT"), ("bob", "SELECT"),
    }  # fmt: skip


@pytest.mark.parametrize(("second", "table"), [(5, "app.t"), (15, "app2.t")], ids=["former", "new"])
def test_a_right_that_is_taken_beside_a_rename_is_taken_by_who_says_so(world, second, table):
    revoke = ran(second, "alice", f"REVOKE SELECT ON {table} FROM analyst")
    seen = {name: value for name, value in AFTER.items() if name[0] != "privilege"}
    world.commit(20, seen, statements=[revoke, RENAME])
    assert actors(world)["table:app.t<-analyst"] == "alice"


def test_what_is_made_in_a_schema_that_is_renamed_is_of_who_made_it(world):
    made = ran(4, "alice", "CREATE TABLE app.fresh (id bigint)")
    world.commit(20, AFTER | object_of("app2.fresh", 17000), statements=[made, RENAME])
    found = actors(world)
    assert found["app2.fresh"] == "alice"
    assert {found[name] for name in ("app", "app2", "app.t", "app2.t")} == {"bob"}


def test_what_goes_from_a_schema_that_is_renamed_is_of_who_dropped_it(world):
    drop = ran(15, "alice", "DROP TABLE app2.t")
    world.commit(20, SCHEMA2, statements=[RENAME, drop])
    found = actors(world)
    assert (found["app.t"], found["app2"]) == ("alice", "bob")


def test_what_was_not_accepted_yet_moves_with_its_schema(world):
    made = ran(4, "alice", "CREATE TABLE app.fresh (id bigint)")
    world.commit(6, BEFORE | object_of("app.fresh", 17000), statements=[made])
    world.commit(20, AFTER | object_of("app2.fresh", 17000), statements=[RENAME])
    found = actors(world)
    assert found.pop("app2.fresh") == "alice"
    assert {*found.values()} == {"bob"}


def test_a_grant_to_the_former_name_of_a_role_is_of_who_gave_it(world):
    grant = ran(5, "alice", "GRANT INSERT ON app.t TO leaver")
    seen = {**BEFORE, privilege("table:app.t<-joiner"): ("INSERT", "")}
    world.commit(20, seen, statements=[grant, ran(10, "bob", "ALTER ROLE leaver RENAME TO joiner")])
    assert actors(world)["table:app.t<-joiner"] == "alice"


def test_a_table_that_is_renamed_within_a_schema_that_is_renamed_too(world):
    did = [
        ran(5, "alice", "GRANT SELECT ON app.t TO PUBLIC"),
        RENAME,
        ran(12, "carol", "ALTER TABLE app2.t RENAME TO u"),
    ]
    seen = SCHEMA2 | object_of("app2.u", 16500)
    seen |= {privilege(f"table:app2.u<-{who}"): (SELECT, "") for who in ("analyst", "PUBLIC")}
    world.commit(20, seen, statements=did)
    found = actors(world)
    assert found["table:app2.u<-PUBLIC"] == "alice"
    assert found["table:app2.u<-analyst"] in ("bob", "carol")
