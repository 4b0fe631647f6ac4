"""What another major version brings along, and what it does not explain."""

from __future__ import annotations

import pytest

from collector.drift.baseline import Fact, Scope
from collector.drift.spelling import alike
from collector.drift.upgrade import came_along, finding_of
from model.catalog import CatalogKind, Snapshot

VIEW = "owner: app\nkind: view\ncolumn id: integer\ndefinition: sha256:{}\ntext: {}"
OLD = VIEW.format("a", "SELECT t.id FROM hr.t WHERE (t.kind = 'a.b'::text)")
NEW = VIEW.format("b", "SELECT id FROM hr.t WHERE (kind = 'a.b'::text)")
CODE = "owner: app\nlanguage: {}\nkind: function\nbody: sha256:{}"


def folded(kind, old, new):
    scope = Scope("host-a", "5432", kind, "shop")
    return came_along(scope, {"hr.x": Fact(old, "")}, {"hr.x": Fact(new, "")}, ["hr.x"])


def test_a_view_that_the_new_version_spells_otherwise_comes_along():
    [came] = folded(CatalogKind.TABLE, OLD, NEW)
    scope = Scope("host-a", "5432", CatalogKind.TABLE, "shop")
    snapshot = Snapshot(5, "5432", "shop", (CatalogKind.TABLE,), (), "16.0")
    finding = finding_of(scope, snapshot, 15, [came], {})
    assert dict(finding.details)["consequences"] == (
        "table hr.x: its definition is spelled otherwise"
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (OLD, NEW.replace(" WHERE (kind = 'a.b'::text)", "")),
        (OLD, NEW.replace("a.b", "b")),
        (OLD, NEW.replace("owner: app", "owner: mallory")),
        (OLD, f"{NEW}\ncolumn pay: integer"),
        (VIEW.format("a", ""), VIEW.format("b", "")),
    ],
)
def test_a_view_that_differs_in_more_than_its_spelling_is_told(old, new):
    assert folded(CatalogKind.TABLE, old, new) == []


@pytest.mark.parametrize(
    ("language", "more", "comes_along"),
    [
        ("sql", ("", ""), True),
        ("plpgsql", ("", ""), False),
        ("sql", ("\nsecurity: definer", "\nsecurity: definer"), False),
        ("sql", ("", "\nleakproof: yes"), False),
        ("sql", ("\ntext: SELECT t.a FROM t", "\ntext: SELECT a FROM t"), True),
        ("sql", ("\ntext: SELECT 1", "\ntext: SELECT 2"), False),
    ],
)
def test_of_functions_only_the_body_in_sql_comes_along(language, more, comes_along):
    old, new = (CODE.format(language, end) + m for end, m in zip("ab", more, strict=True))
    assert bool(folded(CatalogKind.FUNCTION, old, new)) is comes_along


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('SELECT "A b".c FROM "A b"', 'SELECT c FROM "A b"', True),
        ("SELECT a.c FROM a, b", "SELECT b.c FROM a, b", False),
        ("SELECT a AND (b OR c)", "SELECT a AND b OR c", False),
        ("SELECT 1.5", "SELECT 5", False),
        ("SELECT 'a.b'", "SELECT 'b'", False),
        ("SELECT t.*", "SELECT *", True),
    ],
)
def test_texts_are_alike_if_only_the_table_before_a_name_is_left_out(one, other, same):
    assert alike(one, other) is same


BUILT_IN = "owner: postgres\nbuilt-in functions: sha256:{}"
PUT_IN = "version: 1.10\nmember function hr.f(): {}sha256:{}"


def test_what_initdb_makes_and_what_members_are_spelled_as_comes_along():
    scope = Scope("host-a", "5432", CatalogKind.SCHEMA, "shop")
    old, new = ({"pg_catalog": Fact(BUILT_IN.format(end), "")} for end in "ab")
    assert len(came_along(scope, old, new, ["pg_catalog"])) == 1
    assert folded(CatalogKind.SCHEMA, BUILT_IN.format("a"), BUILT_IN.format("b")) == []
    extension = CatalogKind.EXTENSION
    assert len(folded(extension, PUT_IN.format("", "a"), PUT_IN.format("", "b"))) == 1
    assert folded(extension, PUT_IN.format("", "a"), PUT_IN.format("security definer, ", "b")) == []
    assert folded(extension, "version: 1.10", PUT_IN.format("", "b")) == []
