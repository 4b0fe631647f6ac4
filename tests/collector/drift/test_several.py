"""Several statements in one string: each counts with what it alone says."""

import pytest

from tests.collector.drift.story import actor_of, cause_of, ran

DUMP = ";\n".join(f"GRANT SELECT ON s.t{number} TO reader{number}" for number in range(200))
CASES = [
    ("GRANT USAGE ON SCHEMA s9 TO r9; GRANT SELECT ON s9.t TO r9", "schema:s9<-r9", "", "USAGE"),
    ("GRANT USAGE ON SCHEMA s9 TO r9; GRANT SELECT ON s9.t TO r9", "table:s9.t<-r9", "", "SELECT"),
    ("GRANT UPDATE ON s9.t TO st; GRANT INSERT ON s9.u TO st", "table:s9.u<-st", "", "INSERT"),
    ("GRANT UPDATE ON s9.t TO st; GRANT INSERT ON s9.u TO st", "table:s9.t<-st", "", "UPDATE"),
    ("REVOKE UPDATE ON s9.t FROM x; REVOKE INSERT ON s9.u FROM x", "table:s9.u<-x", "INSERT", ""),
    ("REVOKE ALL ON t FROM x; GRANT SELECT ON t TO x", "table:s.t<-x", "INSERT, SELECT", "SELECT"),
    ("REVOKE INSERT ON t FROM x; GRANT SELECT ON u TO x", "table:s.u<-x", "", "SELECT"),
    ("BEGIN; GRANT SELECT ON a TO x; GRANT INSERT ON b TO y; COMMIT", "table:s.b<-y", "", "INSERT"),
    (
        "GRANT SELECT ON ALL TABLES IN SCHEMA s TO x; GRANT USAGE ON SCHEMA s TO x;"
        " ALTER DEFAULT PRIVILEGES IN SCHEMA s GRANT SELECT ON TABLES TO x",
        "schema:s<-x", "", "USAGE",
    ),
    (
        "GRANT SELECT ON ALL TABLES IN SCHEMA s TO x; GRANT USAGE ON SCHEMA s TO x;"
        " ALTER DEFAULT PRIVILEGES IN SCHEMA s GRANT SELECT ON TABLES TO x",
        "default:tables of bob in s<-x", "", "SELECT",
    ),
    (
        "ALTER DEFAULT PRIVILEGES IN SCHEMA s GRANT SELECT ON TABLES TO x;"
        " GRANT UPDATE ON ALL TABLES IN SCHEMA s TO x",
        "table:s.any<-x", "", "UPDATE",
    ),
    (
        "GRANT CONNECT ON DATABASE shop TO x; GRANT SELECT ON t TO x",
        "table:s.t<-x", "", "SELECT",
    ),
    (
        "CREATE SCHEMA hr CREATE TABLE t (a int) GRANT SELECT ON t TO x GRANT INSERT ON t TO y",
        "table:hr.t<-y", "", "INSERT",
    ),
    ("GRANT USAGE ON SCHEMA s TO x; GRANT SELECT ON \"Odd ; t\" TO x",
     'table:s."Odd ; t"<-x', "", "SELECT"),
    ("SET ROLE bob; DROP OWNED BY leaver", "table:s.t<-leaver", "SELECT", ""),
    (DUMP, "table:s.t199<-reader199", "", "SELECT"),
    ("GRANT SELECT ON t TO x; DO $$ BEGIN GRANT INSERT ON u TO y; END $$",
     "table:s.u<-y", "", "INSERT"),
    ("CREATE TABLE s.n (i int); GRANT SELECT ON s.n TO x", "table:s.n<-x", "", "SELECT"),
    ("CREATE SCHEMA s; GRANT SELECT ON s.n TO x", "table:s.n<-x", "", "SELECT"),
    ("CREATE SCHEMA s; GRANT USAGE ON SCHEMA s TO x", "schema:s<-x", "", "USAGE"),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "name", "before", "after"), CASES)
def test_each_grant_of_a_string_explains_its_own_difference(sql, name, before, after):
    came = before or None, after or None
    assert actor_of([ran(50, "bob", sql)], "privilege", name, *came) == "bob"


@pytest.mark.parametrize(
    ("sql", "name", "after"),
    [
        ("GRANT SELECT ON s.t TO x; GRANT INSERT ON s.u TO y", "table:s.u<-y", "SELECT"),
        ("GRANT SELECT ON s.t TO x; GRANT INSERT ON s.u TO y", "table:s.u<-x", "INSERT"),
        ("GRANT SELECT ON s.t TO x; GRANT INSERT ON z.t TO x", "table:s.t<-x", "INSERT"),
        ("GRANT USAGE ON SCHEMA public TO x; GRANT SELECT ON t TO PUBLIC",
         "schema:public<-PUBLIC", "USAGE"),
        ("GRANT SELECT ON x TO y; GRANT INSERT ON t TO x", "table:s.x<-x", "SELECT"),
        ("GRANT SELECT ON t TO x; REVOKE INSERT ON u FROM y", "table:s.u<-y", "INSERT"),
        ("ALTER DEFAULT PRIVILEGES IN SCHEMA s REVOKE SELECT ON TABLES FROM x; SELECT 1",
         "default:tables of bob in s<-x", "SELECT"),
        ("CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN GRANT SELECT ON a TO x;"
         " END $$; GRANT UPDATE ON b TO y", "table:s.a<-x", "SELECT"),
    ],
)  # fmt: skip
def test_what_only_two_of_them_together_would_say_none_of_them_did(sql, name, after):
    assert actor_of([ran(50, "bob", sql)], "privilege", name, None, after) == ""


def test_a_membership_is_of_the_statement_that_names_both_roles():
    sql = "GRANT staff TO eve; GRANT admins TO bob"
    assert actor_of([ran(50, "bob", sql)], "membership", "admins<-bob", None, "member") == "bob"
    assert actor_of([ran(50, "bob", sql)], "membership", "admins<-eve", None, "member") == ""


def test_default_privileges_first_do_not_hide_the_ddl_that_follows():
    sql = "ALTER DEFAULT PRIVILEGES IN SCHEMA s GRANT SELECT ON TABLES TO x; CREATE TABLE s.n ()"
    assert actor_of([ran(50, "bob", sql)], "table", "s.n", None, "owner: bob") == "bob"


def test_two_strings_share_what_each_of_their_grants_gave():
    rows = [
        ran(50, "bob", "GRANT USAGE ON SCHEMA s TO x; GRANT SELECT ON s.t TO x"),
        ran(51, "eve", "GRANT USAGE ON SCHEMA s TO x; GRANT INSERT ON s.t TO x"),
    ]
    cause = cause_of(rows, "privilege", "table:s.t<-x", None, "INSERT, SELECT")
    assert cause is not None
    assert {cause.change.actor, *(change.actor for change in cause.shares)} == {"bob", "eve"}


ROLE = ("role", "r", None, "superuser=true login=false")
SUPER = ("role", "r", "superuser=false login=true", "superuser=true login=true")
POLICY = ("policy", "hr.t.p", None, "command: all")


@pytest.mark.parametrize(
    ("sql", "step"),
    [
        ("CREATE SCHEMA s; CREATE ROLE r SUPERUSER", ROLE),
        ("CREATE SCHEMA s; ALTER ROLE r SUPERUSER", SUPER),
        ("CREATE SCHEMA s; CREATE POLICY p ON hr.t USING (true)", POLICY),
        ("CREATE SCHEMA s; CREATE TABLE s.t (i int)", ("table", "s.t", None, "owner: bob")),
        ("CREATE SCHEMA s; CREATE TABLE t (i int)", ("table", "hr.t", None, "owner: bob")),
        ("CREATE SCHEMA s CREATE TABLE t (i int)", ("table", "s.t", None, "owner: bob")),
        ("CREATE SCHEMA AUTHORIZATION r", ("schema", "r", None, "owner: r")),
        ("CREATE SCHEMA IF NOT EXISTS AUTHORIZATION r", ("schema", "r", None, "owner: r")),
        ("CREATE SCHEMA AUTHORIZATION CURRENT_USER", ("schema", "bob", None, "owner: bob")),
    ],
)
def test_what_stands_behind_a_create_schema_is_not_in_that_schema(sql, step):
    assert actor_of([ran(50, "bob", sql)], *step) == "bob"


def test_an_element_of_a_create_schema_is_in_that_schema_alone():
    made = [ran(50, "bob", "CREATE SCHEMA s CREATE TABLE t (i int)")]
    assert actor_of(made, "table", "hr.t", None, "owner: eve") == ""
