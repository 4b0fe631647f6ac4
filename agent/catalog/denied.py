"""Rights that everybody has by default and that somebody took away: on the system's catalogs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import psycopg

from agent.catalog.rights import quoted

# Names and not numbers: who may not read pg_class may ask this all the same.
_TABLES = """
SELECT n.name FROM unnest(%s::text[]) AS n (name)
WHERE to_regclass('pg_catalog.' || n.name) IS NOT NULL
  AND NOT has_table_privilege('pg_catalog.' || n.name, 'SELECT')
ORDER BY n.name
"""
_FUNCTIONS = """
SELECT p.oid::regprocedure::text AS name FROM pg_catalog.pg_proc AS p
WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname = ANY (%s)
  AND NOT has_function_privilege(p.oid, 'EXECUTE')
ORDER BY 1
"""
_TABLE = re.compile(r"\bpg_catalog\.(\w+)(?!\w*\()")
_FUNCTION = re.compile(r"\b([a-z_][a-z_0-9]*)\(")


def missing(cursor: psycopg.Cursor[Any], texts: list[str], role: str) -> Iterator[str]:
    """GRANT by GRANT what ``texts``, queries of ours that the server refused, need. Raises
    psycopg.Error."""
    text, name = "\n".join(texts), quoted(role)
    for row in cursor.execute(_TABLES, [sorted({*_TABLE.findall(text)})]).fetchall():
        yield f"GRANT SELECT ON pg_catalog.{row['name']} TO {name};"
    called = sorted({*_FUNCTION.findall(text)})
    try:
        with cursor.connection.transaction():
            found = cursor.execute(_FUNCTIONS, [called]).fetchall()
    except psycopg.errors.InsufficientPrivilege:
        return  # of pg_proc itself: it is named above
    for row in found:
        yield f"GRANT EXECUTE ON FUNCTION pg_catalog.{row['name']} TO {name};"
