"""A statement that looks like the cause, and by its text is about something else."""

from __future__ import annotations

import pytest

from collector.drift.apart import owner_said
from tests.collector.drift.story import Changes, cause_of, frame, ran

DEFAULTS = "ALTER DEFAULT PRIVILEGES FOR ROLE w {}GRANT INSERT ON TABLES TO y"
NEW_DATABASE = ("alice", "CREATE DATABASE db OWNER etl"), ("erin", "ALTER DATABASE db OWNER TO g2")
CASES = {
    "default privileges in a schema are not those in all": (
        [("bob", DEFAULTS.format("")), ("carol", DEFAULTS.format("IN SCHEMA hr "))],
        ("privilege", "default:tables of w in hr<-y", None, "INSERT"), "carol",
    ),
    "members of a new role are not of the group it is in": (
        [("dave", "ALTER GROUP m1 ADD USER m2"),
         ("erin", "CREATE ROLE m4 IN ROLE m1 ADMIN m2 ROLE m3")],
        ("membership", "m1<-m2", None, "member"), "dave",
    ),
    "a new role is": (
        [("dave", "ALTER GROUP m1 ADD USER m2"),
         ("erin", "CREATE ROLE m4 IN ROLE m1 ADMIN m2 ROLE m3")],
        ("membership", "m4<-m2", None, "admin"), "erin",
    ),
    "a setting of a role everywhere is not one in a database": (
        [("carol", "ALTER ROLE u SET work_mem = '1MB'"),
         ("dave", "ALTER ROLE u IN DATABASE db1 SET work_mem = '2MB'")],
        ("setting", "work_mem@u/db1", None, "2MB"), "dave",
    ),
    "a membership that was taken back": (
        [("alice", "GRANT m TO n"), ("bob", "REVOKE m FROM n"),
         ("carol", "GRANT m TO n WITH ADMIN OPTION")],
        ("membership", "m<-n", None, "admin"), "carol",
    ),
    "a new owner lets PUBLIC do nothing": (
        [*NEW_DATABASE], ("privilege", "database:db<-PUBLIC", None, "CONNECT"), "alice",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_who_did_something_else_is_not_named(case):
    statements, step, actor = CASES[case]
    of_cluster = step[1].startswith("database:")
    rows = [ran(10 + n, user, sql) for n, (user, sql) in enumerate(statements)]
    found = cause_of(rows, *step, database="" if of_cluster else None)
    assert (found.change.actor, found.others, found.shares) == (actor, (), ())


@pytest.mark.parametrize("turned", [False, True])
def test_a_plain_insert_changes_no_row(turned):
    both = [
        ("alice", "INSERT INTO flags VALUES ('k', 'on')"),
        ("bob", "UPDATE flags SET value = 'x' WHERE name = 'a'"),
    ]
    rows = [ran(10 + n, *each) for n, each in enumerate(both[::-1] if turned else both)]
    step = ("watched", "public.flags[a]", "value: 1", "value: x")
    found = cause_of(rows, *step, watched=frozenset(("flags",)))
    assert (found.change.actor, found.undecided, found.others) == ("bob", False, ())


def test_an_insert_that_says_what_becomes_of_rows_may_change_one():
    upsert = "INSERT INTO flags VALUES ('a', 'x') ON CONFLICT (name) DO UPDATE SET value = 'x'"
    rows = [ran(10, "alice", upsert), ran(11, "bob", "UPDATE flags SET value = 'y'")]
    step = ("watched", "public.flags[a]", "value: 1", "value: x")
    assert cause_of(rows, *step, watched=frozenset(("flags",))).undecided


@pytest.mark.parametrize(
    ("sql", "owner"),
    [
        ("CREATE DATABASE db OWNER etl", "etl"),
        ("CREATE DATABASE db WITH OWNER = etl TEMPLATE template0", "etl"),
        ("CREATE DATABASE db", "alice"),
        ("CREATE SCHEMA s AUTHORIZATION CURRENT_USER", "alice"),
        ("CREATE SCHEMA s AUTHORIZATION etl", "etl"),
        ("CREATE TABLESPACE t OWNER etl LOCATION '/x'", "etl"),
        ("CREATE TABLE t (owner text)", "alice"),
    ],
)
def test_what_is_made_for_another_role_is_owned_by_it_at_first(sql, owner):
    changes = Changes()
    changes.observe(frame([ran(10, "alice", sql)]))
    assert owner_said(changes.find("host-a", 1)) == owner


@pytest.mark.parametrize("value", ["owned by: hr.t.g\nowner: alice", "owner: alice"])
@pytest.mark.parametrize("column", ["int GENERATED ALWAYS AS IDENTITY", "bigserial"])
@pytest.mark.parametrize("other", ["REPLICA IDENTITY FULL", "ADD COLUMN h int", "SET LOGGED"])
def test_a_sequence_is_of_who_added_the_column_that_it_counts_for(column, other, value):
    rows = [
        ran(5, "alice", f"ALTER TABLE hr.t ADD COLUMN g {column}"),
        ran(6, "bob", f"ALTER TABLE hr.t {other}"),
    ]
    for order in (rows, [rows[0] | {"started_at": rows[1]["started_at"] + 1}, rows[1]]):
        found = cause_of(order, "sequence", "hr.t_g_seq", None, value)
        assert (found.change.actor, found.others) == ("alice", ())
