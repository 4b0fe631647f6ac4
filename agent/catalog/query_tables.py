"""Which tables a watched query reads, through views as well: writing to them changes its rows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import psycopg

from agent.catalog.reading import text

MOST_TABLES = 50
READS = "reads "
"""So begins the detail of a query's rows."""
TRIGGERS_OF = "written by triggers of "
"""So begins the detail of a watched table's rows: their code names it."""
TRIGGERS = """
SELECT DISTINCT format('%%I.%%I', n.nspname, c.relname) AS name
FROM pg_catalog.pg_class AS w
JOIN pg_catalog.pg_proc AS p
    ON p.prosrc ~* ('\\m' || regexp_replace(w.relname, '(\\W)', '\\\\\\1', 'g') || '\\M')
JOIN pg_catalog.pg_trigger AS t ON t.tgfoid = p.oid
JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE w.oid = to_regclass(%(table)s) AND c.oid <> w.oid
  AND NOT t.tgisinternal AND t.tgenabled <> 'D'
ORDER BY 1
"""
# A query may read another partition tomorrow: what is written to is mostly the whole table.
NAMES = """
SELECT DISTINCT format('%%I.%%I', n.nspname, c.relname) AS name
FROM unnest(%(schemas)s::text[], %(tables)s::text[]) AS t(schema, name)
JOIN pg_catalog.pg_namespace AS s ON s.nspname = t.schema
JOIN pg_catalog.pg_class AS r ON r.relnamespace = s.oid AND r.relname = t.name
JOIN pg_catalog.pg_class AS c ON c.oid = coalesce(pg_partition_root(r.oid), r.oid)
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname <> 'pg_catalog'
ORDER BY 1
"""
_WORD = r'(?:"(?:[^"]|"")*"|[^\s",.]+)'
_QUALIFIED = re.compile(rf"{_WORD}\.{_WORD}")


def detail_of(cursor: psycopg.Cursor[Any], query: bytes) -> str:
    """``reads ml.models, ml.stages``; empty where nobody can tell. ``query``: as it will run, in
    the connection's encoding, with doubled percent signs."""
    cursor.execute("SAVEPOINT explained")
    try:
        cursor.execute(b"EXPLAIN (VERBOSE, FORMAT JSON) " + query, {})
        result = cursor.pgresult
        plan = json.loads((result and result.get_value(0, 0)) or b"[]")
        found = sorted(set(_relations(plan)))
        names = {"schemas": [schema for schema, _ in found], "tables": [name for _, name in found]}
        rows = cursor.execute(NAMES, names).fetchmany(MOST_TABLES)
        return READS + ", ".join(_name(row) for row in rows) if rows else ""
    except (psycopg.Error, UnicodeError, ValueError):
        if cursor.connection.broken:
            raise
        cursor.execute("ROLLBACK TO SAVEPOINT explained")
        return ""
    finally:
        if not cursor.connection.broken:
            cursor.execute("RELEASE SAVEPOINT explained")


def tables_in(detail: str) -> list[str]:
    """
    >>> tables_in('reads ml.models, ml."a, b"'), tables_in("")
    (['ml.models', 'ml."a, b"'], [])
    """
    return _QUALIFIED.findall(detail) if detail.startswith((READS, TRIGGERS_OF)) else []


def _relations(plan: Any) -> Iterator[tuple[str, str]]:
    if isinstance(plan, list):
        for each in plan:
            yield from _relations(each)
    elif isinstance(plan, dict):
        if "Relation Name" in plan and "Schema" in plan:
            yield plan["Schema"], plan["Relation Name"]
        for each in plan.values():
            yield from _relations(each)


def _name(row: Any) -> str:
    (name,) = row
    return name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else str(name)


def writers_of(cursor: psycopg.Cursor[Any], table: str) -> str:
    """``written by triggers of shop.orders``: tables with a trigger whose code names ``table``;
    empty where there is none, or nobody can tell."""
    try:
        with cursor.connection.transaction():
            rows = cursor.execute(TRIGGERS, {"table": table}).fetchmany(MOST_TABLES)
    except psycopg.Error:
        if cursor.connection.broken:
            raise
        return ""
    names = ", ".join(str(text(row["name"])) for row in rows)
    return f"{TRIGGERS_OF}{names}" if names else ""
