"""What is put into an extension, and what comes with PostgreSQL, is still watched."""

from __future__ import annotations

import pytest

from collector.drift.declared import DeclaredFile, DeclaredState
from collector.drift.expectations import Expectations
from model.catalog import CatalogKind
from tests.collector.drift.story import actor_of, ran
from tests.collector.test_drift import KINDS, World, snapshot

ALL = (*KINDS, *map(CatalogKind, ("table", "function", "extension", "schema")))
TABLE = "owner: hr\nkind: table\nrow security: on\ncolumn id: integer"
PLPGSQL = "owner: postgres\nversion: 1.0"
MEMBER = "\nmember table hr.salary: row security on, sha256:aa"
BUILT_IN = "owner: postgres\nbuilt-in functions: sha256:{}\nbuilt-in relations: sha256:1"
SERVER = {
    ("table", "shop", "hr.salary"): (TABLE, ""),
    ("extension", "shop", "plpgsql"): (PLPGSQL, ""),
    ("schema", "shop", "pg_catalog"): (BUILT_IN.format("1"), ""),
}
PUT_IN = {("table", "shop", "hr.salary"): None, ("extension", "shop", "plpgsql"): (
    PLPGSQL + MEMBER, "",
)}  # fmt: skip


def look(second, changes=()):
    return snapshot(second, {**SERVER, **dict(changes)}, kinds=ALL)


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.commit(0, look(0))
    return world


def told(world):
    return {row["name"]: row["change"] for row in world.drift.status().rows}


def test_a_table_that_was_put_into_an_extension_was_not_dropped(world):
    world.commit(6, look(6, PUT_IN))
    [found] = world.tick(20).findings
    assert told(world) == {"plpgsql": "changed"}
    assert "table hr.salary became a member of extension plpgsql (row security on)" in (
        found.sentence
    )


def test_row_security_that_goes_off_inside_an_extension_is_critical(world):
    world.commit(6, look(6, PUT_IN))
    world.tick(20)
    world.drift.accept("anna", "it is its")
    off = {**PUT_IN, ("extension", "shop", "plpgsql"): (
        PLPGSQL + MEMBER.replace("security on", "security off"), "",
    )}  # fmt: skip
    world.commit(30, look(30, off))
    world.tick(45)
    [row] = world.drift.status().rows
    assert (row["name"], row["severity"]) == ("plpgsql", "critical")


def test_a_table_that_is_gone_while_no_extension_has_it_was_dropped(world):
    world.commit(6, look(6, {("table", "shop", "hr.salary"): None}))
    world.tick(20)
    assert told(world) == {"hr.salary": "removed"}


def test_what_leaves_its_extension_has_its_cause(world):
    world.commit(6, look(6, PUT_IN))
    world.tick(20)
    world.drift.accept("anna", "it is its")
    taken = ran(29, "eve", "ALTER EXTENSION plpgsql DROP TABLE hr.salary")
    world.commit(29, statements=[taken])
    world.commit(30, look(30))
    rows = world.drift.status().rows
    assert {(row["name"], row["actor"]) for row in rows} == {
        ("hr.salary", "eve"), ("plpgsql", "eve"),
    }  # fmt: skip


def test_a_built_in_function_is_told_though_a_file_names_the_schemas(tmp_path):
    file = tmp_path / "shop.yaml"
    file.write_text("version: 1\ndatabases:\n  shop:\n    schema: {}\n")
    declared = DeclaredState([DeclaredFile(file)])
    world = World(tmp_path / "state", expectations=Expectations(declared=declared))
    world.commit(0, look(0))
    world.tick(10)
    assert told(world) == {}
    world.commit(16, look(16, {("schema", "shop", "pg_catalog"): (BUILT_IN.format("2"), "")}))
    world.tick(30)
    [row] = world.drift.status().rows
    assert (row["name"], row["severity"]) == ("pg_catalog", "critical")


FUNCTION = "CREATE OR REPLACE FUNCTION {}(text, int) RETURNS text LANGUAGE sql AS 'SELECT 1'"


@pytest.mark.parametrize(
    ("schema", "line", "sql", "did"),
    [
        ("pg_catalog", "functions", FUNCTION.format("pg_catalog.lpad"), True),
        ("pg_catalog", "functions", "ALTER FUNCTION pg_catalog.abs(int) LEAKPROOF", True),
        ("pg_catalog", "functions", "ALTER FUNCTION textlike(text, text) LEAKPROOF", True),
        ("pg_catalog", "functions", FUNCTION.format("hr.lpad"), False),
        ("pg_catalog", "functions", "CREATE TABLE t (id int)", False),
        ("pg_catalog", "relations", FUNCTION.format("pg_catalog.lpad"), False),
        ("information_schema", "relations", "CREATE OR REPLACE VIEW information_schema.tables AS "
         "SELECT 1", True),
        ("information_schema", "relations", "CREATE OR REPLACE VIEW tables AS SELECT 1", False),
    ],
)  # fmt: skip
def test_who_replaces_what_initdb_made_is_named(schema, line, sql, did):
    before, after = (f"built-in {line}: sha256:{end}" for end in "12")
    assert actor_of([ran(5, "eve", sql)], "schema", schema, before, after) == ("eve" if did else "")


def test_of_two_statements_the_one_that_says_pg_catalog_is_the_cause():
    rows = [
        ran(5, "eve", FUNCTION.format("pg_catalog.lpad")),
        ran(6, "bob", "ALTER FUNCTION f(int) STABLE"),
    ]
    before, after = (f"built-in functions: sha256:{end}" for end in "12")
    assert actor_of(rows, "schema", "pg_catalog", before, after) == "eve"
