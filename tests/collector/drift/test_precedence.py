"""Several statements between two looks that fit alike: who made the difference."""

import pytest

from tests.collector.drift.story import actor_of, cause_of, ran

TABLE = ("table", "hr.t")
CAME = (*TABLE, None, "owner: app\nkind: table")
WENT = (*TABLE, "owner: app\nkind: table", None)
GRANTED = ("privilege", "table:hr.t<-etl", None, "SELECT")
OPEN = (*TABLE, "owner: o\nkind: table\nrow security: on", "owner: o\nkind: table")


def told(*rows):
    """``alice: CREATE TABLE hr.t (i int)``, a second apart."""
    pairs = [row.partition(": ") for row in rows]
    return [ran(5 + n, user, sql) for n, (user, _, sql) in enumerate(pairs)]


@pytest.mark.parametrize(
    ("rows", "step"),
    [
        (["alice: CREATE TABLE hr.t (i int)", "bot: CREATE TABLE IF NOT EXISTS hr.t ()"], CAME),
        (["alice: CREATE TABLE IF NOT EXISTS hr.t (i int)",
          "bot: CREATE TABLE IF NOT EXISTS hr.t (i int)"], CAME),
        (["alice: DROP TABLE hr.t", "bot: DROP TABLE IF EXISTS hr.t"], WENT),
        (["alice: DROP TABLE IF EXISTS hr.t", "bot: DROP TABLE IF EXISTS hr.t"], WENT),
        (["alice: GRANT SELECT ON hr.t TO etl", "bot: GRANT SELECT ON hr.t TO etl"], GRANTED),
        (["alice: REVOKE SELECT ON hr.t FROM etl", "bot: REVOKE SELECT ON hr.t FROM etl"],
         (*GRANTED[:2], "SELECT", None)),
        (["alice: GRANT dba TO etl", "bot: GRANT dba TO etl"],
         ("membership", "dba<-etl", None, "member")),
        (["alice: CREATE ROLE etl", "bot: ALTER ROLE etl LOGIN"],
         ("role", "etl", None, "superuser=false login=true")),
        (["alice: ALTER TABLE hr.t DISABLE ROW LEVEL SECURITY",
          "bot: ALTER TABLE hr.t DISABLE ROW LEVEL SECURITY"], OPEN),
        (["alice: ALTER TABLE hr.t DISABLE ROW LEVEL SECURITY",
          "eve: ALTER TABLE hr.t ADD COLUMN one text",
          "bot: alter table hr.t disable row level security;"], OPEN),
        (["alice: ALTER TABLE hr.t ADD COLUMN one text DEFAULT 'x'",
          "bot: ALTER TABLE hr.t ADD COLUMN IF NOT EXISTS one text"],
         (*TABLE, "owner: o\nkind: table", "owner: o\nkind: table\ncolumn one: text default 'x'")),
        (["alice: ALTER SYSTEM SET fsync = off", "bot: ALTER SYSTEM SET fsync = off"],
         ("setting", "fsync", "on", "off")),
    ],
)  # fmt: skip
def test_what_only_repeats_is_not_the_cause(rows, step):
    assert actor_of(told(*rows), *step) == "alice"


@pytest.mark.parametrize(
    ("rows", "step"),
    [
        (["bot: CREATE TABLE hr.t (i int)", "bot: DROP TABLE hr.t",
          "alice: CREATE TABLE IF NOT EXISTS hr.t (i int)"], CAME),
        (["bot: CREATE TABLE IF NOT EXISTS hr.t (i int)", "bot: DROP SCHEMA hr CASCADE",
          "alice: CREATE TABLE hr.t (i int)"], CAME),
        (["bot: DROP TABLE IF EXISTS hr.t; CREATE TABLE hr.t (i int)",
          "alice: DROP TABLE IF EXISTS hr.t; CREATE TABLE hr.t (i int)"], CAME),
        (["bot: DROP TABLE hr.t", "bot: CREATE TABLE IF NOT EXISTS hr.t (i int)",
          "alice: DROP TABLE IF EXISTS hr.t"], WENT),
        (["bot: GRANT SELECT ON hr.t TO etl", "eve: REVOKE ALL ON hr.t FROM etl",
          "alice: GRANT SELECT ON hr.t TO etl", "bot: GRANT SELECT ON hr.t TO etl"], GRANTED),
        (["bot: ALTER TABLE hr.t DISABLE ROW LEVEL SECURITY",
          "eve: ALTER TABLE hr.t ENABLE ROW LEVEL SECURITY",
          "alice: ALTER TABLE hr.t DISABLE ROW LEVEL SECURITY"], OPEN),
    ],
)  # fmt: skip
def test_what_was_undone_in_between_is_not_the_cause(rows, step):
    assert actor_of(told(*rows), *step) == "alice"


@pytest.mark.parametrize(
    ("rows", "step"),
    [
        (["bot: ALTER TABLE hr.t ALTER one SET DEFAULT 'y'",
          "alice: ALTER TABLE hr.t ALTER one SET DEFAULT 'x'"],
         (*TABLE, "owner: o\ncolumn one: text", "owner: o\ncolumn one: text default 'x'")),
        (["bot: ALTER ROLE etl SET work_mem = '1GB'", "alice: ALTER ROLE etl SET work_mem = '2GB'"],
         ("setting", "work_mem@etl", None, "2GB")),
        (["bot: CREATE FUNCTION hr.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
          "alice: CREATE OR REPLACE FUNCTION hr.f() RETURNS int LANGUAGE sql AS 'SELECT 2'"],
         ("function", "hr.f()", None, "owner: app\nkind: function")),
        (["bot: GRANT SELECT ON hr.t TO etl",
          "alice: GRANT SELECT, INSERT ON hr.t TO etl"], (*GRANTED[:3], "INSERT, SELECT")),
        (["bot: GRANT SELECT ON hr.t TO etl",
          "alice: GRANT SELECT ON hr.t TO etl WITH GRANT OPTION"], (*GRANTED[:3], "SELECT*")),
        (["bot: GRANT dba TO etl", "alice: GRANT dba TO etl WITH ADMIN OPTION"],
         ("membership", "dba<-etl", "member", "admin")),
    ],
)  # fmt: skip
def test_of_values_the_last_one_that_is_what_is_seen_is_the_cause(rows, step):
    assert actor_of(told(*rows), *step) == "alice"


@pytest.mark.parametrize("first", ["alice", "bot"])
def test_whose_the_new_object_is_tells_who_made_it(first):
    second = {"alice": "bot", "bot": "alice"}[first]
    mine = (*TABLE, None, "owner: alice\nkind: table")
    for sql in ("CREATE TABLE IF NOT EXISTS hr.t (i int)", "CREATE TABLE t (i int)"):
        assert actor_of(told(f"{first}: {sql}", f"{second}: {sql}"), *mine) == "alice"


def test_a_plain_create_counts_for_more_than_whose_the_object_is_by_now():
    rows = told("alice: CREATE TABLE hr.t (i int)", "bot: CREATE TABLE IF NOT EXISTS hr.t (i int)")
    assert actor_of(rows, *TABLE, None, "owner: bot\nkind: table") == "alice"


def test_what_is_known_to_have_done_nothing_is_not_named_as_another_possibility():
    rows = told("alice: CREATE TABLE hr.t (i int)", "bot: CREATE TABLE IF NOT EXISTS hr.t (i int)")
    assert cause_of(rows, *CAME).others == ()
    both = told(*[f"{who}: CREATE TABLE IF NOT EXISTS hr.t (i int)" for who in ("alice", "bot")])
    assert [other.actor for other in cause_of(both, *CAME).others] == ["bot"]


def test_what_ran_inside_a_function_repeats_as_any_other_does():
    inside = {"id": 9, **ran(7, "bot", "GRANT SELECT ON hr.t TO etl", parent_id=8, sqlstate="")}
    rows = [
        {"id": 7, **ran(5, "alice", "GRANT SELECT ON hr.t TO etl")},
        {"id": 8, **ran(6, "bot", "SELECT app.give()")},
        inside,
    ]
    assert actor_of(rows, *GRANTED) == "alice"


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_who_altered_one_role_the_one_who_did_the_worst_is_named(order):
    rows = ["alice: ALTER ROLE etl SUPERUSER", "bot: ALTER ROLE etl CREATEDB"][::order]
    before = "superuser=false createdb=false login=true"
    after = "superuser=true createdb=true login=true"
    found = cause_of(told(*rows), "role", "etl", before, after)
    assert (found.change.actor, [other.actor for other in found.shares]) == ("alice", ["bot"])
    assert found.others == ()


def inside(second, user, sql, parent):
    return ran(second, user, sql, parent_id=parent, sqlstate="", transaction="")


HIDDEN = [
    ("GRANT SELECT ON hr.t TO etl", GRANTED),
    ("ALTER ROLE g SUPERUSER", ("role", "g", "superuser=false login=true",
                                "superuser=true login=true")),
    ("ALTER TABLE hr.t ADD COLUMN i int",
     (*TABLE, "owner: o\nkind: table", "owner: o\nkind: table\ncolumn i: integer")),
    ("CREATE TABLE hr.t (i int)", CAME),
    ("DROP TABLE hr.t", WENT),
    ("GRANT SELECT, INSERT ON hr.t TO etl", (*GRANTED[:3], "SELECT, INSERT")),
]  # fmt: skip
"""What a function may do and undo."""


@pytest.mark.parametrize("call", ["SELECT app.f('x')", "CALL app.p('x')", "DO $$ BEGIN END $$"])
@pytest.mark.parametrize(("sql", "step"), HIDDEN)
def test_what_may_have_been_undone_inside_a_function_gives_way_to_who_said_it(sql, step, call):
    rows = [
        {"id": 7, **ran(5, "ivan", call)},
        {"id": 8, **inside(5.1, "ivan", sql, 7)},
        {"id": 9, **ran(6, "bob", sql)},
    ]
    found = cause_of(rows, *step)
    assert found.change.actor == "bob"
    proved = sql.startswith(("CREATE", "DROP"))  # else it had failed
    assert [each.actor for each in found.others] == ([] if proved else ["ivan"])


@pytest.mark.parametrize(("sql", "step"), HIDDEN)
def test_what_ran_inside_a_function_is_its_callers_where_nobody_else_said_it(sql, step):
    rows = [{"id": 7, **ran(5, "ivan", "SELECT app.f()")}, {"id": 8, **inside(5.1, "ivan", sql, 7)}]
    found = cause_of(rows, *step)
    assert (found.change.actor, found.others) == ("ivan", ())


def test_who_owns_it_made_it_where_a_function_may_have_undone_the_same():
    rows = [
        {"id": 7, **ran(5, "ivan", "SELECT app.f()")},
        {"id": 8, **inside(5.1, "ivan", "CREATE TABLE hr.t (i int)", 7)},
        {"id": 9, **ran(6, "bob", "CREATE TABLE IF NOT EXISTS hr.t (i int)")},
    ]
    for owner in ("ivan", "bob"):
        found = cause_of(rows, *TABLE, None, f"owner: {owner}\nkind: table")
        others = [each.actor for each in found.others]
        assert [found.change.actor, *others] == [owner, *({"ivan", "bob"} - {owner})]


def test_who_may_still_fail_is_waited_for_before_he_is_named_beside_the_actor():
    rows = [
        {"id": 7, **ran(97, "erin", "GRANT DELETE ON hr.t TO etl")},
        {"id": 9, **inside(95.1, "heidi", "GRANT DELETE ON hr.t TO etl", 8)},
    ]
    granted = (*GRANTED[:3], "DELETE")
    assert cause_of(rows, *granted, settled=False) is None
    rows.append({"id": 8, **ran(95, "heidi", "DO $$ BEGIN END $$", sqlstate="22012")})
    found = cause_of(rows, *granted, settled=False)
    assert (found.change.actor, found.others) == ("erin", ())
