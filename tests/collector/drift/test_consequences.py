"""What hangs on the object of a statement is the doing of who ran it, and of nobody else."""

from __future__ import annotations

import pytest

from collector.drift.engine import Drift
from model.catalog import DATABASE_KINDS, CatalogKind
from tests.analytics.streams import START_US
from tests.collector.drift.story import S, frame, ran
from tests.collector.test_drift import snapshot

KINDS = tuple(sorted(DATABASE_KINDS - {CatalogKind.WATCHED}))
F = "owner: p\nlanguage: sql\nkind: function\nreturns: integer\nbody: sha256:822ae07d4783158b"
ENUM = "owner: p\nkind: enum\nlabels: 'a'"


def table(*lines, kind="table"):
    return "\n".join(["owner: p", f"kind: {kind}", *lines])


def view(text, *columns, digest="1"):
    lines = [f"column {column}: integer" for column in columns]
    return table(*lines, f"definition: sha256:{digest}", f"text: {text}", kind="view")


def policy(using):
    return f"command: all\nroles: PUBLIC\nkind: permissive\nusing: {using}"


def told(folder, before, after, *statements, early=False, late=False):
    """(actor, note) of each difference by name, a while after the look; ``early``: at once.
    ``late``: statements come when all was told already."""

    def tree(second, facts):
        items = {(kind, "shop", name): (value, "") for (kind, name), value in facts.items()}
        return [("host-a", snapshot(second, items, kinds=KINDS))]

    drift = Drift(folder)
    ran_then = {"statements": frame([*statements])}
    drift.on_commit({}, tree(0, before), 1, START_US)
    drift.on_commit({} if late else ran_then, tree(10, after), 2, START_US + 10 * S)
    if not early:
        drift.tick(START_US + 20 * S)
    if late:
        drift.on_commit(ran_then, [], 3, START_US + 25 * S)
    return {
        f"{row['kind']} {row['name']}": (row["actor"], row["note"]) for row in drift.status().rows
    }


def actors(*args, **words):
    return {name: actor for name, (actor, _) in told(*args, **words).items()}


NOISE = [
    ran(4, "eve", "ALTER TABLE y.t ALTER d SET DEFAULT 6"),
    ran(4.5, "mallory", "DROP VIEW z.t CASCADE"),
    ran(5.5, "oscar", "ALTER SCHEMA q RENAME TO qn"),
]
"""Statements of others in the same look."""

CASES = {
    "ALTER TABLE x.t RENAME COLUMN j TO jj": (
        {
            ("table", "x.t"): table("column i: integer", "column j: integer"),
            ("table", "x.v"): view("SELECT t.j FROM x.t;", "j"),
            ("table", "x.u"): table("constraint k: FOREIGN KEY (i) REFERENCES x.t(j)"),
            ("policy", "x.t.p"): policy("(j > 0)"),
            ("policy", "x.u.p"): policy("(i IN ( SELECT t.j FROM x.t))"),
            ("privilege", "column:x.t.j<-bot"): "SELECT",
        },
        {
            ("table", "x.t"): table("column i: integer", "column jj: integer"),
            ("table", "x.v"): view("SELECT t.jj AS j FROM x.t;", "j", digest="2"),
            ("table", "x.u"): table("constraint k: FOREIGN KEY (i) REFERENCES x.t(jj)"),
            ("policy", "x.t.p"): policy("(jj > 0)"),
            ("policy", "x.u.p"): policy("(i IN ( SELECT t.jj FROM x.t))"),
            ("privilege", "column:x.t.jj<-bot"): "SELECT",
        },
    ),
    "ALTER TABLE x.t DROP COLUMN j CASCADE": (
        {
            ("table", "x.t"): table("column i: integer", "column j: integer"),
            ("table", "x.v"): view("SELECT t.j FROM x.t;", "j"),
            ("table", "x.w"): view("SELECT v.j FROM x.v;", "j"),
            ("policy", "x.t.p"): policy("(j > 0)"),
            ("privilege", "table:x.v<-bot"): "SELECT",
            ("privilege", "table:x.w<-bot"): "SELECT",
            ("privilege", "column:x.t.j<-bot"): "SELECT",
        },
        {("table", "x.t"): table("column i: integer")},
    ),
    "DROP TYPE x.ty CASCADE": (
        {
            ("type", "x.ty"): ENUM,
            ("table", "x.t"): table("column i: integer", "column e: x.ty"),
            ("table", "x.v"): view("SELECT t.e FROM x.t;", "e"),
            ("function", "x.f(x.ty)"): F,
            ("function", "x.g(a x.ty[])"): F,
            ("privilege", "function:x.f(x.ty)<-bot"): "EXECUTE",
            ("privilege", "table:x.v<-bot"): "SELECT",
        },
        {("table", "x.t"): table("column i: integer")},
    ),
    "DROP TABLE x.t CASCADE": (
        {
            ("table", "x.t"): table("column i: integer", kind="partitioned table"),
            ("table", "x.c"): table("partition of: x.t FOR VALUES FROM (1) TO (2)"),
            ("table", "x.v"): view("SELECT t.i FROM x.t;", "i"),
            ("table", "x.w"): view("SELECT v.i FROM x.v;", "i"),
            ("table", "x.u"): table("constraint k: FOREIGN KEY (i) REFERENCES x.t(i)"),
            ("policy", "x.c.p"): policy("true"),
            ("policy", "x.u.p"): policy("(i IN ( SELECT t.i FROM x.t))"),
            ("function", "x.f(x.t)"): F,
            ("privilege", "table:x.w<-bot"): "SELECT",
            ("privilege", "table:x.c<-bot"): "SELECT",
            ("publication", "pub"): "owner: p\ntable x.t: all columns",
        },
        {("table", "x.u"): table(), ("publication", "pub"): "owner: p"},
    ),
    "ALTER TYPE x.ty RENAME TO ty2": (
        {
            ("type", "x.ty"): ENUM,
            ("table", "x.t"): table("column e: x.ty"),
            ("function", "x.f(x.ty)"): F,
            ("function", "x.same(x.ty)"): F.replace("integer", "x.ty"),
            ("function", "x.all(a x.ty, b x.ty[])"): F.replace("integer", "SETOF x.ty"),
            ("privilege", "function:x.f(x.ty)<-bot"): "EXECUTE",
        },
        {
            ("type", "x.ty2"): ENUM,
            ("table", "x.t"): table("column e: x.ty2"),
            ("function", "x.f(x.ty2)"): F,
            ("function", "x.same(x.ty2)"): F.replace("integer", "x.ty2"),
            ("function", "x.all(a x.ty2, b x.ty2[])"): F.replace("integer", "SETOF x.ty2"),
            ("privilege", "function:x.f(x.ty2)<-bot"): "EXECUTE",
        },
    ),
    "ALTER TABLE x.t RENAME TO t2": (
        {
            ("table", "x.t"): table("index a: CREATE INDEX a ON x.t USING btree (i)"),
            ("table", "x.v"): view("SELECT t.i FROM x.t;", "i"),
            ("policy", "x.t.p"): policy("(i > 0)"),
            ("policy", "x.u.p"): policy("(i IN ( SELECT t.i FROM x.t))"),
            ("function", "x.f(x.t)"): F,
            ("privilege", "function:x.f(x.t)<-bot"): "EXECUTE",
            ("privilege", "table:x.t<-bot"): "SELECT",
        },
        {
            ("table", "x.t2"): table("index a: CREATE INDEX a ON x.t2 USING btree (i)"),
            ("table", "x.v"): view("SELECT t2.i FROM x.t2;", "i", digest="2"),
            ("policy", "x.t2.p"): policy("(i > 0)"),
            ("policy", "x.u.p"): policy("(i IN ( SELECT t2.i FROM x.t2))"),
            ("function", "x.f(x.t2)"): F,
            ("privilege", "function:x.f(x.t2)<-bot"): "EXECUTE",
            ("privilege", "table:x.t2<-bot"): "SELECT",
        },
    ),
    "ALTER SCHEMA x RENAME TO xn": (
        {
            ("schema", "x"): "owner: p",
            ("type", "x.ty"): ENUM,
            ("table", "x.t"): table("column e: x.ty"),
            ("function", "y.f(x.ty)"): F,
            ("policy", "y.u.p"): policy("(e = 'a'::x.ty)"),
            ("privilege", "function:y.f(x.ty)<-bot"): "EXECUTE",
        },
        {
            ("schema", "xn"): "owner: p",
            ("type", "xn.ty"): ENUM,
            ("table", "xn.t"): table("column e: xn.ty"),
            ("function", "y.f(xn.ty)"): F,
            ("policy", "y.u.p"): policy("(e = 'a'::xn.ty)"),
            ("privilege", "function:y.f(xn.ty)<-bot"): "EXECUTE",
        },
    ),
    "CREATE INDEX xi ON x.p(i)": (
        {
            ("table", "x.p"): table("column i: integer", kind="partitioned table"),
            ("table", "x.c"): table("partition of: x.p FOR VALUES FROM (1) TO (9)"),
            ("table", "x.cc"): table("partition of: x.c DEFAULT"),
        },
        {
            ("table", "x.p"): table(
                "column i: integer", "index xi: CREATE INDEX xi ON x.p", kind="partitioned table"
            ),
            ("table", "x.c"): table(
                "partition of: x.p FOR VALUES FROM (1) TO (9)", "index c_i: CREATE INDEX c_i ON x.c"
            ),
            ("table", "x.cc"): table(
                "partition of: x.c DEFAULT", "index cc_i: CREATE INDEX cc_i ON x.cc"
            ),
        },
    ),
    "ALTER TYPE x.c ADD ATTRIBUTE b int CASCADE": (
        {
            ("type", "x.c"): "owner: p\nkind: composite\ncolumn a: integer",
            ("table", "x.t"): table("column a: integer"),
        },
        {
            ("type", "x.c"): "owner: p\nkind: composite\ncolumn a: integer\ncolumn b: integer",
            ("table", "x.t"): table("column a: integer", "column b: integer"),
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("sql", CASES)
@pytest.mark.parametrize("noise", [[], NOISE], ids=["alone", "among others"])
def test_what_hangs_on_it_is_of_who_ran_the_statement(tmp_path, sql, noise):
    before, after = CASES[sql]
    found = told(tmp_path, before, after, *noise, ran(5, "alice", sql))
    assert {name: who for name, who in found.items() if who[0] != "alice"} == {}
    assert len(found) > 1


def test_it_is_told_at_once(tmp_path):
    sql = "DROP TYPE x.ty CASCADE"
    assert {*actors(tmp_path, *CASES[sql], ran(5, "alice", sql), early=True).values()} == {"alice"}


@pytest.mark.parametrize("sql", ["DROP TYPE x.ty CASCADE", "ALTER TABLE x.t RENAME TO t2"])
def test_a_statement_that_comes_late_takes_its_consequences_back_from_nobody(tmp_path, sql):
    assert {*actors(tmp_path, *CASES[sql], ran(5, "alice", sql), late=True).values()} == {"alice"}


def test_functions_with_equal_bodies_are_each_of_who_did_something_to_them(tmp_path):
    before = {
        ("schema", "x3"): "owner: p", ("function", "x3.f()"): F, ("type", "x5.ty"): ENUM,
        ("function", "x5.f(x5.ty)"): F, ("type", "x6.ty"): ENUM, ("function", "x6.f(x6.ty)"): F,
        ("function", "x7.f()"): F,
    }  # fmt: skip
    after = {
        ("schema", "x3n"): "owner: p", ("function", "x3n.f()"): F, ("type", "x6.ty2"): ENUM,
        ("function", "x6.f(x6.ty2)"): F, ("function", "x8.f()"): F,
    }  # fmt: skip
    found = actors(
        tmp_path, before, after,
        ran(4, "u3", "ALTER SCHEMA x3 RENAME TO x3n"),
        ran(5, "u5", "DROP TYPE x5.ty CASCADE"),
        ran(6, "u6", "ALTER TYPE x6.ty RENAME TO ty2"),
    )  # fmt: skip
    assert found == {
        "schema x3": "u3", "schema x3n": "u3", "function x3.f()": "u3", "function x3n.f()": "u3",
        "type x5.ty": "u5", "function x5.f(x5.ty)": "u5", "type x6.ty": "u6", "type x6.ty2": "u6",
        "function x6.f(x6.ty)": "u6", "function x6.f(x6.ty2)": "u6",
        "function x7.f()": "", "function x8.f()": "",
    }  # fmt: skip


def test_of_two_objects_that_may_have_the_hidden_name_none_is_claimed(tmp_path):
    before = {("table", "x.old"): table(), ("table", "x.gone"): table()}
    after = {("table", 'x."?? ""x"'): table(), ("table", 'x."?? ""y"'): table()}
    found = actors(tmp_path, before, after, ran(5, "bob", 'ALTER TABLE x.old RENAME TO "?? ""x"'))
    assert found == {
        "table x.old": "bob", "table x.gone": "", 'table x."?? ""x"': "", 'table x."?? ""y"': "",
    }  # fmt: skip


def test_a_drop_without_cascade_takes_nothing_that_names_it(tmp_path):
    before = {("type", "x.ty"): ENUM, ("function", "x.f(x.ty)"): F}
    found = actors(tmp_path, before, {}, ran(5, "alice", "DROP TYPE x.ty"))
    assert found["function x.f(x.ty)"] == ""


def test_of_two_cascades_at_once_that_took_the_same_view_none_is_claimed(tmp_path):
    before = {
        ("type", "x.a"): ENUM, ("type", "x.b"): ENUM, ("function", "x.f(x.a, x.b)"): F,
    }  # fmt: skip
    rows = [
        ran(5, "alice", "DROP TYPE x.a CASCADE"),
        ran(5.01, "bob", "DROP TYPE x.b CASCADE"),
    ]
    actor, note = told(tmp_path, before, {}, *rows)["function x.f(x.a, x.b)"]
    assert (actor, note) == ("", "it was one of alice (statement 1), bob (statement 2)")


def test_of_two_cascades_the_first_took_what_hung_on_both(tmp_path):
    before = {
        ("type", "x.a"): ENUM, ("type", "x.b"): ENUM, ("function", "x.f(x.a, x.b)"): F,
    }  # fmt: skip
    rows = [ran(6, "alice", "DROP TYPE x.a CASCADE"), ran(5, "bob", "DROP TYPE x.b CASCADE")]
    assert actors(tmp_path, before, {}, *rows)["function x.f(x.a, x.b)"] == "bob"


def test_who_changed_a_policy_by_name_did_it_beside_a_rename(tmp_path):
    before, after = CASES["ALTER TABLE x.t RENAME COLUMN j TO jj"]
    other = {**after, ("policy", "x.t.p"): policy("true")}
    rows = [
        ran(5, "alice", "ALTER TABLE x.t RENAME COLUMN j TO jj"),
        ran(6, "bob", "ALTER POLICY p ON x.t USING (true)"),
    ]
    assert actors(tmp_path, before, other, *rows)["policy x.t.p"] == "bob"
    assert actors(tmp_path / "2", before, other, rows[0])["policy x.t.p"] == ""


def test_a_table_that_differed_before_is_renamed_with_all_that_hangs_on_it(tmp_path):
    before, after = CASES["ALTER TABLE x.t RENAME TO t2"]
    wider = {("table", "x.t"): before["table", "x.t"] + "\ncolumn k: text"}
    after = {**after, ("table", "x.t2"): after["table", "x.t2"] + "\ncolumn k: text"}

    def tree(second, facts):
        items = {(kind, "shop", name): (value, "") for (kind, name), value in facts.items()}
        return [("host-a", snapshot(second, items, kinds=KINDS))]

    drift = Drift(tmp_path)
    drift.on_commit({}, tree(0, before), 1, START_US)
    added = frame([ran(5, "bob", "ALTER TABLE x.t ADD COLUMN k text")])
    drift.on_commit({"statements": added}, tree(10, before | wider), 2, START_US + 10 * S)
    renamed = frame([ran(15, "alice", "ALTER TABLE x.t RENAME TO t2")], first_id=2)
    drift.on_commit({"statements": renamed}, tree(20, after), 3, START_US + 20 * S)
    drift.tick(START_US + 30 * S)
    assert {row["actor"] for row in drift.status().rows} == {"alice"}


@pytest.mark.parametrize(
    ("dropped", "kind", "hung_on", "rest"),
    [
        ("DROP TABLE x.g CASCADE", ("table", "x.g", table("column i: integer")),
         "constraint k: FOREIGN KEY (i) REFERENCES x.g(i)", ""),
        ("DROP TYPE x.g CASCADE", ("type", "x.g", ENUM), "column k: x.g", ""),
        ("DROP FUNCTION x.g() CASCADE", ("function", "x.g()", F),
         "column k: integer default x.g()", "column k: integer"),
    ],
)  # fmt: skip
def test_what_somebody_did_to_that_table_besides_is_not_taken_along(
    tmp_path, dropped, kind, hung_on, rest
):
    before = {kind[:2]: kind[2], ("table", "x.t"): table("column i: integer", hung_on)}
    after = {("table", "x.t"): table("column i: integer not null", *filter(None, [rest]))}
    did = [ran(5, "bob", dropped), ran(6, "carol", "ALTER TABLE x.t ALTER i SET NOT NULL")]
    told(tmp_path, before, after, *did)
    rows = [row for row in Drift(tmp_path).status().rows if row["name"] == "x.t"]
    assert {(row["actor"], "not null" in row["observed"]) for row in rows} == {
        ("bob", False), ("carol", True),
    }  # fmt: skip


@pytest.mark.parametrize("result", ["integer", "x.ty", "SETOF x.ty"])
def test_a_function_of_a_type_is_of_who_renamed_that_also_where_it_returns_it(tmp_path, result):
    """As a server tells it: both keep their numbers."""
    kinds = (CatalogKind.FUNCTION, CatalogKind.TYPE)

    def look(second, name):
        function = F.replace("integer", result).replace("x.ty", name)
        items = {
            ("type", "shop", name): (ENUM, "oid 7"),
            ("function", "shop", f"x.f({name})"): (function, "oid 8"),
        }
        return [("host-a", snapshot(second, items, kinds=kinds))]

    drift = Drift(tmp_path)
    drift.on_commit({}, look(0, "x.ty"), 1, START_US)
    renamed = {"statements": frame([ran(5, "erin", "ALTER TYPE x.ty RENAME TO ty2")])}
    drift.on_commit(renamed, look(10, "x.ty2"), 2, START_US + 10 * S)
    drift.tick(START_US + 20 * S)
    assert {row["actor"] for row in drift.status().rows} == {"erin"}
    assert len({row["finding_id"] for row in drift.status().rows}) == 1
