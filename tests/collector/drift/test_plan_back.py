"""What is other than it should be, and which statement a plan has for it, if there is one."""

from __future__ import annotations

import pytest

from collector.drift.plan import make, script
from model.catalog import CatalogKind as Kind
from tests.collector.drift.facts import named
from tests.collector.drift.test_plan_tables import HEAP, T, planned, sql


def test_a_domain_gets_its_default_and_its_not_null_back():
    domain = "owner: o\nkind: domain\nbase: integer"
    made = planned({}, {}, type=({"s.d": f"{domain}\ndefault: 1"}, {"s.d": domain}))
    assert sql(made) == ["ALTER DOMAIN s.d SET DEFAULT 1"]
    made = planned({}, {}, type=({"s.d": domain}, {"s.d": f"{domain}\nnot null: yes\ndefault: 1"}))
    assert sql(made) == ["ALTER DOMAIN s.d DROP NOT NULL", "ALTER DOMAIN s.d DROP DEFAULT"]


def test_a_composite_type_gets_its_attributes_back():
    wanted, seen = (
        f"owner: o\nkind: composite\ncolumn {each}" for each in ("x: text", "q: integer")
    )
    made = planned({}, {}, type=({"s.c": wanted}, {"s.c": seen}))
    assert [(step.text, step.loses) for step in made.steps] == [
        ("ALTER TYPE s.c DROP ATTRIBUTE q", True),
        ("ALTER TYPE s.c ADD ATTRIBUTE x text", False),
    ]
    made = planned({}, {}, type=({"s.c": wanted}, {"s.c": wanted.replace("text", "json")}))
    assert sql(made) == ["ALTER TYPE s.c ALTER ATTRIBUTE x TYPE text"]


def enum(*labels):
    said = ", ".join(f"'{label}'" for label in labels)
    return {"s.e": f"owner: o\nkind: enum\nlabels: {said}"}


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("b", ["ADD VALUE 'a' BEFORE 'b'", "ADD VALUE 'c' AFTER 'b'"]),
        ("", ["ADD VALUE 'a'", "ADD VALUE 'b' AFTER 'a'", "ADD VALUE 'c' AFTER 'b'"]),
        ("abcz", None),
        ("cb", None),
    ],
)
def test_an_enum_gets_its_labels_back_where_none_is_too_much(now, expected):
    made = planned({}, {}, type=(enum(*"abc"), enum(*now)))
    if expected is None:
        assert [step.by_hand for step in made.steps] == [True]
    else:
        assert sql(made) == [f"ALTER TYPE s.e {each}" for each in expected]


def test_labels_of_an_enum_are_committed_before_anything_uses_them():
    column = f"{HEAP}\ncolumn e: s.e default 'b'::s.e"
    wanted, seen = (enum(*"ab"), enum("a"))
    made = planned({"s.t": column}, {"s.t": column.replace("'b'", "'a'")}, type=(wanted, seen))
    lines = script(made, title="t").splitlines()
    assert lines.index("ALTER TYPE s.e ADD VALUE 'b' AFTER 'a';") < lines.index("BEGIN;")


def test_a_table_inherits_again():
    plain, heir = {"s.a": HEAP, "s.b": HEAP}, {"s.a": HEAP, "s.b": f"{HEAP}\ninherits: s.a"}
    assert sql(planned(heir, plain)) == ["ALTER TABLE s.b INHERIT s.a"]
    assert sql(planned(plain, heir)) == ["ALTER TABLE s.b NO INHERIT s.a"]


@pytest.mark.parametrize("tie", ["inherits: s.a", "partition of: s.a DEFAULT"])
def test_a_table_that_is_let_go_is_changed_by_itself(tie):
    more = f"{HEAP}\ncolumn x: text"
    made = planned({"s.a": HEAP, "s.b": HEAP}, {"s.a": more, "s.b": f"{more}\n{tie}"})
    assert [text.split()[:3] for text in sql(made)] == [
        ["ALTER", "TABLE", "s.b" if tie.startswith("inherits") else "s.a"],
        ["ALTER", "TABLE", "s.a"],
        ["ALTER", "TABLE", "s.b"],
    ]
    assert [text.split(maxsplit=3)[3] for text in sql(made)[1:]] == ["DROP COLUMN x"] * 2


FAR = "owner: o\nkind: foreign table\nserver: far\nforeign options: "
MAPPING = "foreign options: user=u, password=hidden 77aa-0123456789ab"


@pytest.mark.parametrize(
    ("kind", "name", "wanted", "seen", "expected"),
    [
        ("table", "s.f", f"{FAR}a=it's, b=2", f"{FAR}b=3, c=4",
         """ALTER FOREIGN TABLE s.f OPTIONS (DROP "c", ADD "a" 'it''s', SET "b" '2')"""),
        ("foreign_server", "far", "owner: o\nforeign options: host=h", "owner: o",
         """ALTER SERVER far OPTIONS (ADD "host" 'h')"""),
        ("foreign_server", "wrapper w", "owner: o", "owner: o\nforeign options: debug=true",
         'ALTER FOREIGN DATA WRAPPER w OPTIONS (DROP "debug")'),
        ("foreign_server", "far", "owner: o\nversion: 2", "owner: o\nversion: 3",
         "ALTER SERVER far VERSION '2'"),
        ("user_mapping", "far<-etl", MAPPING, MAPPING.replace("=u", "=v"),
         """ALTER USER MAPPING FOR "etl" SERVER far OPTIONS (SET "user" 'u')"""),
    ],
)  # fmt: skip
def test_options_come_back(kind, name, wanted, seen, expected):
    made = planned({}, {}, **{kind: ({name: wanted}, {name: seen})})
    assert sql(made) == [expected]


@pytest.mark.parametrize(
    ("wanted", "seen"),
    [("a=-c x=y, b", "a=1"), ("a=1", "unread"), ("a=x\\ny", "a=1"),
     ("password=hidden 77aa-0123456789ab", "password=hidden 77aa-ba9876543210")],
)  # fmt: skip
def test_options_that_cannot_be_told_apart_or_never_left_the_host_are_for_a_person(wanted, seen):
    sides = ({"far": f"owner: o\nforeign options: {each}"} for each in (wanted, seen))
    assert [step.by_hand for step in planned({}, {}, foreign_server=tuple(sides)).steps] == [True]


@pytest.mark.parametrize(
    ("wanted", "seen", "major", "expected"),
    [
        ("integer generated always as ((id * 3)) stored",
         "integer generated always as ((id * 9)) stored", 17, "SET EXPRESSION AS ((id * 3))"),
        ("integer generated always as ((id * 3))", "integer generated always as ((id * 9))", 18,
         "SET EXPRESSION AS ((id * 3))"),
        ("integer generated always as ((id * 3)) stored",
         "integer generated always as ((id * 9)) stored", 16, None),
        ("integer generated always as ((id * 3)) stored",
         "integer generated always as ((id * 3))", 18, None),
        ("integer", "integer generated always as ((id * 3)) stored", 15, "DROP EXPRESSION"),
        ("integer", "integer generated always as ((id * 3)) stored", 12, None),
        ("integer default 1", "integer generated always as ((id * 3)) stored", 15, None),
        ("integer not null generated always as identity", "integer not null", 12,
         "ADD GENERATED ALWAYS AS IDENTITY"),
        ("integer not null generated always as identity", "integer", 12, None),
        ("integer not null generated always as identity",
         "integer not null generated by default as identity", 12, "SET GENERATED ALWAYS"),
        ("integer not null", "integer not null generated by default as identity", 12,
         "DROP IDENTITY"),
    ],
)  # fmt: skip
def test_what_makes_the_values_of_a_column_comes_back_where_a_statement_does_just_that(
    wanted, seen, major, expected
):
    version = named({"server_version_num": f"{major}0004"})
    sides = ({"s.t": f"owner: o\nkind: table\ncolumn x: {each}"} for each in (wanted, seen))
    facts = [{(T, "shop"): named(each), (Kind.SETTING, ""): version} for each in sides]
    [step] = make(*facts).steps
    if expected is None:
        assert step.by_hand
    else:
        assert (step.text, step.by_hand) == (f"ALTER TABLE s.t ALTER COLUMN x {expected}", False)
