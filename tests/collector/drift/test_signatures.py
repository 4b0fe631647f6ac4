"""Of functions of one name, and of the columns of a table, each GRANT counts for what it says."""

import pytest

from tests.collector.drift.story import cause_of, ran


def named(statements, *step):
    rows = [ran(10 + n, user, sql) for n, (user, sql) in enumerate(statements)]
    found = cause_of(rows, *step)
    return ("", set()) if found is None else (
        found.change.actor, {other.actor for other in found.others}
    )  # fmt: skip


def given(name):
    return ("privilege", f"{name}<-g1", None, "EXECUTE" if "(" in name else "SELECT")


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("other", "sql", "step"),
    [
        (
            "GRANT EXECUTE ON FUNCTION z.ov(integer) TO g1",
            "GRANT EXECUTE ON FUNCTION z.ov(text) TO g1",
            given("function:z.ov(text)"),
        ),
        (
            "GRANT EXECUTE ON FUNCTION z.ov(a int) TO g1",
            "GRANT ALL ON ROUTINE z.ov(varchar(9)) TO g1",
            given("function:z.ov(b character varying)"),
        ),
        (
            "GRANT EXECUTE ON FUNCTION z.ov(int[]) TO g1",
            "GRANT EXECUTE ON FUNCTION z.ov TO g1",
            given("function:z.ov(integer)"),
        ),
        (
            "GRANT EXECUTE ON FUNCTION z.ov(int, OUT x text) TO g1",
            "GRANT EXECUTE ON FUNCTION z.ov(int, z.mood) TO g1",
            given("function:z.ov(integer, z.mood)"),
        ),
        (
            "SET a = 1; GRANT EXECUTE ON FUNCTION z.ov() TO g1; GRANT SELECT ON z.t TO g1",
            "GRANT EXECUTE ON FUNCTION z.no(), z.ov(timestamptz) TO g1",
            given("function:z.ov(timestamp with time zone)"),
        ),
        ("GRANT SELECT(i) ON z.cg TO g1", "GRANT SELECT(j) ON z.cg TO g1", given("column:z.cg.j")),
        ("GRANT SELECT ON z.cg TO g1", "GRANT SELECT (i, j) ON z.cg TO g1", given("column:z.cg.j")),
        ("GRANT SELECT (j) ON z.cg TO g1", "GRANT SELECT ON z.cg TO g1", given("table:z.cg")),
        (
            "GRANT SELECT (j) ON z.cg TO g1",
            "GRANT SELECT, UPDATE (i) ON z.cg TO g1",
            given("table:z.cg"),
        ),
        (
            "CREATE TABLE z.n (i int); GRANT SELECT (i) ON z.cg TO g1",
            'SET a = 1; GRANT SELECT ("Odd c") ON z.cg TO g1',
            given('column:z.cg."Odd c"'),
        ),
        (
            "REVOKE SELECT (i) ON z.cg FROM g1",
            "REVOKE SELECT ON z.cg FROM g1",
            ("privilege", "column:z.cg.j<-g1", "SELECT", None),
        ),
        (
            "ALTER FUNCTION z.ov(integer) SECURITY DEFINER",
            "ALTER FUNCTION z.ov(text) SECURITY DEFINER",
            ("function", "z.ov(text)", "owner: bob", "owner: bob\nsecurity: definer"),
        ),
        (
            "DROP FUNCTION z.ov(integer)",
            "DROP FUNCTION z.ov(text)",
            ("function", "z.ov(text)", "owner: bob", None),
        ),
        (
            "CREATE FUNCTION z.ov(a integer = 1) RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "CREATE FUNCTION z.ov(a text DEFAULT 'x') RETURNS int LANGUAGE sql AS 'SELECT 1'",
            ("function", "z.ov(a text)", None, "owner: bob"),
        ),
    ],
)
def test_each_is_of_who_named_it(other, sql, step, turned):
    both = [("oscar", other), ("paul", sql)]
    assert named(both[::-1] if turned else both, *step) == ("paul", set())


@pytest.mark.parametrize(
    ("sql", "step"),
    [
        ("GRANT EXECUTE ON FUNCTION z.ov(z.mood) TO g1", given("function:z.ov(hr.mood)")),
        ("GRANT EXECUTE ON FUNCTION z.ov(hr.t.i%TYPE) TO g1", given("function:z.ov(integer)")),
        ("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA z TO g1", given("function:z.ov(integer)")),
        (
            "GRANT EXECUTE ON FUNCTION z.ov(text, VARIADIC int[]) TO g1",
            given("function:z.ov(a text, VARIADIC b integer[])"),
        ),
        ("GRANT ALL ON z.cg TO g1", given("table:z.cg")),
        ("GRANT ALL PRIVILEGES ON z.cg TO g1", given("table:z.cg")),
        ("GRANT ALL (i) ON z.cg TO g1", given("column:z.cg.i")),
        ("GRANT ALL PRIVILEGES (i) ON z.cg TO g1", given("column:z.cg.i")),
        (
            "REVOKE GRANT OPTION FOR SELECT ON z.cg FROM g1",
            ("privilege", "table:z.cg<-g1", "SELECT*", "SELECT"),
        ),
        (
            "ALTER FUNCTION z.ov(integer) RENAME TO ow",
            ("function", "z.ow(integer)", None, "owner: b"),
        ),
    ],
)
def test_what_is_spelled_in_another_way_is_the_same(sql, step):
    assert named([("oscar", sql)], *step)[0] == "oscar"
