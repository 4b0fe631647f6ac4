"""A name without a schema is that of the session's own temporary table, or of its search_path."""

import pytest

from agent.search_path import told
from collector.drift.attribution import Changes
from tests.collector.drift.story import AFTER_US, BEFORE_US, cause_of, difference, frame, ran, scope

OPEN = "owner: hr\nkind: table"
GUARDED = f"{OPEN}\nrow security: on"
OFF = ("table", "hr.w2", GUARDED, OPEN)
DISABLE = "ALTER TABLE w2 DISABLE ROW LEVEL SECURITY"
BY_HAND = "UPDATE pg_class SET relrowsecurity = false"


def told_by_agent(second, user, sql, **words):
    """With what the agent tells of a search_path."""
    row = ran(second, user, sql, **words)
    path = told(sql.encode()) if "search_path" in row["settings"] else ""
    return row | {"objects": [*row["objects"], *([path] if path else [])]}


def rows_of(*statements):
    return [told_by_agent(10 + n, user, sql) for n, (user, sql) in enumerate(statements)]


def named(statements, *step):
    found = cause_of(rows_of(*statements), *step)
    return ("", set()) if found is None else (
        found.change.actor, {other.actor for other in found.others}
    )  # fmt: skip


@pytest.mark.parametrize(
    "own",
    [
        ["CREATE TEMP TABLE w2 (i int)", DISABLE],
        [f"CREATE TEMP TABLE w2 (i int); {DISABLE}"],
        ["CREATE LOCAL TEMPORARY TABLE IF NOT EXISTS w2 AS SELECT 1", DISABLE],
        ["CREATE TABLE pg_temp.w2 (i int)", DISABLE],
        ["SELECT 1 AS i INTO TEMP w2", DISABLE],
        ["CREATE TEMP TABLE w1 (i int)", "ALTER TABLE w1 RENAME TO w2", DISABLE],
        ["CREATE TEMP TABLE w2 (i int)", f"BEGIN; {DISABLE}; COMMIT"],
    ],
)
@pytest.mark.parametrize(
    "guilty", [[BY_HAND], ["ALTER TABLE hr.w2 DISABLE ROW LEVEL SECURITY"],
               ["SET search_path = hr", DISABLE]],
)  # fmt: skip
def test_a_session_means_its_own_temporary_table(own, guilty):
    statements = [*(("quinn", sql) for sql in own), *(("rita", sql) for sql in guilty)]
    assert named(statements, *OFF) == ("rita", set())


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TEMP TABLE w2 (i int)", "DROP TABLE w2", DISABLE],
        ["CREATE TEMP TABLE w2 (i int)", "DISCARD ALL", DISABLE],
        ["CREATE TEMP TABLE w2 (i int) ON COMMIT DROP", DISABLE],
        ["CREATE TEMP TABLE w2 (i int)", "ALTER TABLE w2 RENAME TO w1", DISABLE],
        ["CREATE TEMP TABLE w2 (i int)", "ALTER TABLE hr.w2 DISABLE ROW LEVEL SECURITY"],
        ["SET search_path = hr, pg_temp", "CREATE TEMP TABLE w2 (i int)", DISABLE],
        ["SELECT set_config('search_path', current_user, false)", "CREATE TEMP TABLE w2 (i int)",
         DISABLE],
        [f"CREATE TEMP TABLE w2 (i int); DROP TABLE w2; {DISABLE}"],
        [f"{DISABLE}; CREATE TEMP TABLE w2 (i int)"],
    ],
)  # fmt: skip
def test_one_that_is_gone_or_comes_later_is_not_meant(statements):
    assert named([("quinn", sql) for sql in statements], *OFF)[0] == "quinn"


def test_one_that_was_rolled_back_is_not_meant():
    rows = [
        ran(1, "quinn", "BEGIN", transaction="IT"),
        ran(2, "quinn", "CREATE TEMP TABLE w2 (i int)", transaction="TT"),
        ran(3, "quinn", "ROLLBACK", transaction="TI", tag="ROLLBACK"),
        ran(4, "quinn", DISABLE),
    ]
    assert cause_of(rows, *OFF).change.actor == "quinn"


def test_one_that_goes_with_its_transaction_is_meant_within_that():
    rows = [
        ran(1, "quinn", "BEGIN", transaction="IT"),
        ran(2, "quinn", "CREATE TEMP TABLE w2 (i int) ON COMMIT DROP", transaction="TT"),
        ran(3, "quinn", DISABLE, transaction="TT"),
        ran(4, "quinn", "COMMIT", transaction="TI", tag="COMMIT"),
    ]
    assert cause_of(rows, *OFF) is None


GIVEN = {name: ("privilege", f"table:{name}.samev<-g1", None, "SELECT") for name in ("hr", "ob")}
GRANT = "GRANT SELECT ON samev TO g1"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (["SET search_path = hr", GRANT], ["SET search_path TO ob", GRANT]),
        ([f"SET search_path = hr; {GRANT}"], [f"set search_path to 'ob'; {GRANT}"]),
        (["SET SCHEMA 'hr'", GRANT], ["SELECT set_config('search_path', 'ob', false)", GRANT]),
        (["SET SESSION search_path = hr, pub", GRANT], ['SET search_path = "ob", pub', GRANT]),
        (
            ["SET search_path = x", "SET search_path TO hr, x", GRANT],
            [f"SET LOCAL search_path = ob; {GRANT}"],
        ),
    ],
)  # fmt: skip
def test_each_tenant_has_the_actor_whose_search_path_it_is(first, second):
    statements = [*(("mona", sql) for sql in first), *(("nina", sql) for sql in second)]
    assert named(statements, *GIVEN["hr"]) == ("mona", set())
    assert named(statements, *GIVEN["ob"]) == ("nina", set())


@pytest.mark.parametrize(
    ("sql", "kind", "names", "before", "after"),
    [
        ("CREATE TABLE t (i int)", "table", ("a.t", "b.t"), None, OPEN),
        ("DROP TABLE t", "table", ("a.t", "b.t"), OPEN, None),
        ("ALTER FUNCTION f() SECURITY DEFINER", "function", ("a.f()", "b.f()"),
         "owner: hr", "owner: hr\nsecurity: definer"),
        ("CREATE POLICY p ON t USING (true)", "policy", ("a.t.p", "b.t.p"), None, "using: true"),
        ("CREATE TYPE mood AS ENUM ('x')", "type", ("a.mood", "b.mood"), None, "owner: hr"),
        ("ALTER TABLE t RENAME TO u", "table", ("a.u", "b.u"), None, OPEN),
    ],
)  # fmt: skip
def test_of_one_migration_in_two_schemas_each_run_counts_for_its_own(
    sql, kind, names, before, after
):
    statements = [(who, each) for who, schema in (("mona", "a"), ("nina", "b"))
                  for each in (f"SET search_path = {schema}", sql)]  # fmt: skip
    found = [named(statements, kind, name, before, after) for name in names]
    assert found == [("mona", set()), ("nina", set())]


@pytest.mark.parametrize(
    "later",
    ["RESET search_path", "RESET ALL", "DISCARD ALL", "SET search_path TO DEFAULT",
     "SELECT set_config('search_path', current_user, false)",
     'SET search_path = pg_temp, "$user"'],
)  # fmt: skip
def test_what_is_not_known_may_be_any(later):
    statements = [("mona", "SET search_path = hr"), ("mona", later), ("mona", GRANT)]
    assert named(statements, *GIVEN["ob"])[0] == "mona"


@pytest.mark.parametrize(
    ("end", "local", "schema"),
    [("ROLLBACK", "", "hr"), ("COMMIT", "", "ob"), ("COMMIT", "LOCAL", "hr"), ("", "LOCAL", "ob")],
)
def test_what_a_transaction_set_is_over_when_it_is(end, local, schema):
    rows = [
        told_by_agent(1, "mona", "SET search_path = hr"),
        ran(2, "mona", "BEGIN", transaction="IT"),
        told_by_agent(3, "mona", f"SET {local} search_path = ob", transaction="TT"),
        *([ran(4, "mona", end, transaction="TI", tag=end)] if end else []),
        ran(5, "mona", GRANT, transaction="II" if end else "TT"),
        *([] if end else [ran(6, "mona", "COMMIT", transaction="TI", tag="COMMIT")]),
    ]
    changes = Changes()
    changes.observe(frame(rows))
    for name, (kind, *step) in GIVEN.items():
        found = changes.cause(scope(kind), difference(*step), AFTER_US, BEFORE_US, settled=True)
        assert (found is not None) is (name == schema), name


def test_a_row_is_of_who_wrote_to_its_own_schema():
    rows = rows_of(
        ("mona", "SET search_path = hr"), ("mona", "UPDATE flags SET a = 1"),
        ("nina", "SET search_path = ob"), ("nina", "UPDATE flags SET a = 1"),
        ("quinn", "CREATE TEMP TABLE flags (a int)"), ("quinn", "UPDATE flags SET a = 1"),
    )  # fmt: skip
    found = cause_of(rows, "watched", "ob.flags[x]", "a: 0", "a: 1", watched=frozenset({"flags"}))
    assert (found.change.actor, found.others) == ("nina", ())
