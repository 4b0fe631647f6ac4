"""A statement that does not say what was set has not set it, whatever else it did to the object."""

from __future__ import annotations

import pytest

from tests.collector.drift.story import actor_of, ran
from tests.collector.drift.test_renamed_after import OFF, World, role, table
from tests.collector.drift.test_renamed_beside import X, played, seen

SUPER = ("role", "r", "superuser=false login=true", "superuser=true login=true")
FUNCTION = "language: plpgsql\nbody: sha256:aa"


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER ROLE r PASSWORD 'abc'", "ALTER ROLE r CONNECTION LIMIT 3", "ALTER ROLE r CREATEDB",
        "ALTER ROLE r VALID UNTIL '2030-01-01'", "ALTER ROLE r NOSUPERUSER",
    ],
)  # fmt: skip
def test_an_attribute_that_an_alter_role_does_not_say_is_not_its_doing(sql):
    assert actor_of([ran(50, "mona", sql)], *SUPER) == ""


def test_what_is_hidden_beside_a_password_may_be_any_attribute():
    sql = "ALTER ROLE r ENCRYPTED PASSWORD 'abc' SUPERUSER"
    assert actor_of([ran(50, "mona", sql)], *SUPER) == "mona"


BY_HAND = ran(60, "frank", "UPDATE pg_catalog.pg_authid SET rolsuper = true WHERE oid = 7")


@pytest.mark.parametrize("sql", ["ALTER ROLE r PASSWORD 'abc'", "ALTER ROLE r CREATEDB"])
def test_who_wrote_it_by_hand_is_named_beside_who_altered_the_role(sql):
    assert actor_of([ran(50, "mona", sql), BY_HAND], *SUPER) == "frank"


@pytest.mark.parametrize("by_hand", [True, False])
def test_each_attribute_is_of_who_says_it_or_wrote_it_by_hand_or_of_nobody(world, by_hand):
    limited = {("role", "", "r"): ("superuser=false login=true connection_limit=3", "oid 10")}
    both = {("role", "", "r"): ("superuser=true login=true connection_limit=3", "oid 10")}
    done = [ran(1, "bob", "ALTER ROLE r CONNECTION LIMIT 3")]
    done += [{**BY_HAND, "started_at": done[0]["started_at"] + 2_000_000}] if by_hand else []
    played(world, role("r"), both, *done)
    rows = world.drift.status().rows
    found = {row["actor"]: row["observed"] for row in rows}
    nobody_or_frank = "frank" if by_hand else ""
    assert found.keys() == {"bob", nobody_or_frank}
    assert found["bob"] == limited["role", "", "r"][0]
    assert "superuser=true" in found[nobody_or_frank]


def test_row_security_that_no_alter_table_says_is_of_who_wrote_the_catalog(world):
    done = [
        ran(1, "alice", "ALTER TABLE hr.t ADD x int"),
        ran(2, "frank", "UPDATE pg_class SET relrowsecurity = false WHERE relname = 't'"),
    ]
    played(world, table("hr.t"), seen("hr.t", OFF + X, 2), *done)
    rows = {row["actor"]: row["observed"] for row in world.drift.status().rows}
    assert rows.keys() == {"alice", "frank"}
    assert "row security: on" in rows["alice"]
    assert rows["frank"] == OFF


def test_row_security_that_a_string_or_its_own_command_says_is_of_that(world):
    done = [
        ran(1, "alice", "ALTER TABLE hr.t ADD x int; ALTER TABLE hr.t DISABLE ROW LEVEL SECURITY")
    ]
    played(world, table("hr.t"), seen("hr.t", OFF + X, 2), *done)
    assert {row["actor"] for row in world.drift.status().rows} == {"alice"}


@pytest.mark.parametrize(
    ("sql", "did"),
    [
        ("ALTER FUNCTION hr.f() STABLE", False),
        ("ALTER FUNCTION hr.f() SECURITY DEFINER", True),
        ("CREATE OR REPLACE FUNCTION hr.f() RETURNS int LANGUAGE sql AS ''", True),
    ],
)
def test_a_function_runs_with_its_owners_rights_by_what_says_so_or_replaces_it(sql, did):
    step = ("function", "hr.f()", FUNCTION, f"{FUNCTION}\nsecurity: definer")
    detail = "oid 16800"
    by_hand = ran(2, "frank", "UPDATE pg_proc SET prosecdef = true WHERE proname = 'f'")
    rows = [ran(1, "erin", sql), by_hand]
    assert actor_of(rows[:1], *step, detail=detail) == ("erin" if did else "")
    assert actor_of(rows, *step, detail=detail) == ("erin" if did else "frank")
