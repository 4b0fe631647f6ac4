"""Rows of watched tables and queries: configuration that steers programs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors
from psycopg.rows import tuple_row

from agent.catalog.items.objects import plain_key, text_hash
from agent.catalog.items.secrets import SECRET_VALUE, SECRET_WORD, SWITCH, digest
from agent.catalog.query_tables import detail_of, writers_of
from agent.catalog.reading import LackError, Reading, Row, text
from agent.catalog.rights import quoted
from config.schema import Catalog, WatchedRows
from model.catalog import WATCHED_NAME, CatalogItem, CatalogKind

DEFAULT_LIMIT = 10_000
LONGEST_VALUE = 4_000
"""Characters; of a longer one its beginning and a hash are shown."""
LONGEST_KEY = 300
TIMEOUT = b"SET LOCAL statement_timeout = '5s'"
PRIMARY_KEY = """
SELECT a.attname AS name
FROM pg_catalog.pg_index AS i
CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place)
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indrelid = to_regclass(%(table)s) AND i.indisprimary
ORDER BY k.place
"""
_SCHEMA_DENIED = re.compile(r"^permission denied for schema (.+)$", re.DOTALL)
_NAMING = re.compile(r"(?i)(^|_)(name|key|setting|parameter|option|variable|property)$")
"""Columns that say what a row is, beside those of its key."""
_PLAIN_VALUE = re.compile(r"[tf]|-?\d{1,3}(\.\d+)?|\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d[\d.+:-]*)?")
"""Truth, small numbers, days and moments."""
_PLAIN_KEY = re.compile(r"[^,'\[\]\x00-\x1f\x7f\x85\u2028\u2029]+")


@dataclass(frozen=True, slots=True)
class Watched:
    """One watched table, or a query under a name."""

    name: str
    """As items call it: ``public.flags``."""
    table: str = ""
    """Qualified, as SQL has it."""
    query: str = ""
    """One SELECT; its tables are qualified."""
    database: str = ""
    """Empty: the one that the catalog session connects to."""
    key: tuple[str, ...] = ()
    """Columns that tell rows apart; none: the primary key."""
    secrets: frozenset[str] = frozenset()
    """Columns of which only hashes leave the host."""
    limit: int = DEFAULT_LIMIT
    """Rows; a larger one is not read."""

    def is_in(self, database: str, *, home: bool) -> bool:
        return self.database == database or (home and not self.database)

    @property
    def source(self) -> str:
        return self.query or f"SELECT * FROM {self.table}"


def watched_in(catalog: Catalog) -> tuple[Watched, ...]:
    """What the configuration names."""
    return tuple(map(_configured, catalog.watched))


def _configured(entry: WatchedRows) -> Watched:
    return Watched(
        name=entry.name or entry.table or "",
        table=entry.table or "",
        query=entry.query or "",
        database=entry.database,
        key=tuple(entry.key),
        secrets=frozenset(entry.secrets),
        limit=entry.limit,
    )


def grants_for_watched(watched: Sequence[Watched], role: str) -> list[str]:
    """What reading the tables takes; the tables of a query are not known."""
    name, statements = quoted(role), list[str]()
    for each in watched:
        schema, dot, _ = _schema(each.table)
        if dot and schema != "public":
            statements.append(f"GRANT USAGE ON SCHEMA {schema} TO {name};")
        if each.table:
            statements.append(f"GRANT SELECT ON {each.table} TO {name};")
    return list(dict.fromkeys(statements))


def read_watched(reading: Reading, watched: Sequence[Watched]) -> list[CatalogItem]:
    """An item for each row, and one that names what it is a row of: without it nobody could tell
    an empty table from one that is no longer watched. Raises LackError for all of them when one
    cannot be read in full: rows that are missing would look like deleted ones."""
    found: list[CatalogItem] = []
    lacks: list[str] = []
    reading.cursor.execute(TIMEOUT)
    for each in watched:
        try:
            found += _read_one(reading, each)
        except LackError as error:
            lacks.append(f"{each.name}: {error}; {error.remedy}")
    if lacks:
        raise LackError("; ".join(lacks), "no row of a watched table is compared until then")
    return found


def _read_one(reading: Reading, watched: Watched) -> list[CatalogItem]:
    columns, rows, detail = _rows(reading, watched)
    if watched.table:
        detail = writers_of(reading.cursor, watched.table)
    if len(rows) > watched.limit:
        raise LackError(
            f"more than {watched.limit} rows", "raise its limit, or watch a query for fewer rows"
        )
    key = watched.key or _primary_key(reading, watched)
    missing = [name for name in (*key, *sorted(watched.secrets)) if name not in columns]
    if missing:
        raise LackError(
            f"it has no column {', '.join(missing)}", "name columns of it in key and secrets"
        )
    places = [columns.index(name) for name in key]
    naming = naming_columns(columns, places)
    place = (CatalogKind.WATCHED, reading.database)
    items = {watched.name: CatalogItem(*place, watched.name, WATCHED_NAME, detail)}
    for row in rows:
        words = [_key_word(watched, columns[place], row[place]) for place in places]
        name = f"{watched.name}[{', '.join(words)}]"
        if name in items:
            raise LackError(f"two rows have the key {', '.join(words)[:100]}", "name a unique key")
        value = row_value(watched, columns, row, naming)
        items[name] = CatalogItem(*place, name, value, detail)
    return list(items.values())


def _rows(reading: Reading, watched: Watched) -> tuple[list[str], list[list[str | None]], str]:
    """Columns, rows as the server spells their values, and of a query what it reads. Raises
    LackError."""
    connection = reading.cursor.connection
    # Its own reading of rows would decode their columns, which SQL_ASCII does not allow.
    cursor = connection.cursor(row_factory=tuple_row)
    encoding = _encoding(connection)
    body = watched.source.strip().rstrip(";").replace("%", "%%")
    # A parameter makes it the extended protocol: one statement and no more.
    statement = f"SELECT * FROM (\n{body}\n) AS watched LIMIT %(limit)s"
    cursor.execute("SAVEPOINT watched")
    try:
        cursor.execute(statement.encode(encoding), {"limit": watched.limit + 1})
    except UnicodeEncodeError as error:
        raise LackError(
            f"its text is not in {encoding}", "correct agent.catalog.watched"
        ) from error
    except psycopg.Error as error:
        if connection.broken:
            raise
        cursor.execute("ROLLBACK TO SAVEPOINT watched")
        raise LackError(_one_line(error), _remedy(reading, watched, error)) from error
    result = cursor.pgresult
    assert result is not None
    names = [_decoded(result.fname(place) or b"", encoding) for place in range(result.nfields)]
    rows = [
        [
            None if (value := result.get_value(row, place)) is None else _decoded(value, encoding)
            for place in range(result.nfields)
        ]
        for row in range(result.ntuples)
    ]
    detail = detail_of(cursor, body.encode(encoding)) if watched.query else ""
    return names, rows, detail


def _primary_key(reading: Reading, watched: Watched) -> tuple[str, ...]:
    rows: list[Row] = []
    if watched.table:
        rows = reading.cursor.execute(PRIMARY_KEY, {"table": watched.table}).fetchall()
    if not rows:
        raise LackError("it has no primary key", "name its key columns: key: [...]")
    return tuple(str(text(row["name"])) for row in rows)


def _remedy(reading: Reading, watched: Watched, error: psycopg.Error) -> str:
    if isinstance(error, errors.QueryCanceled):
        return "watch a query that takes less than 5 s"
    if isinstance(error, errors.InsufficientPrivilege):
        if "row-level security" in str(error):
            return f"ALTER ROLE {quoted(reading.user)} BYPASSRLS, or watch a view of its owner"
        statements = grants_for_watched([watched], reading.user)
        # Everybody has it of schema public, until somebody takes it away.
        schema = _SCHEMA_DENIED.search(str(error.diag.message_primary))
        if schema and not any(each.startswith("GRANT USAGE") for each in statements):
            usage = f"GRANT USAGE ON SCHEMA {quoted(schema[1])} TO {quoted(reading.user)};"
            statements = [usage, *statements]
        return " ".join(statements) or "GRANT SELECT on what the query reads"
    if isinstance(error, (errors.UndefinedTable, errors.InvalidSchemaName)):
        return "write its name with the schema, as it is"
    return "correct agent.catalog.watched"


def _key_word(watched: Watched, column: str, value: str | None) -> str:
    if value is None:
        return "NULL"
    if _is_secret(watched, column, value):
        return digest(column, value)
    if len(value) > LONGEST_KEY:
        value = f"{value[:LONGEST_KEY]}… {text_hash(value)}"
    if _PLAIN_KEY.fullmatch(value) and value != "NULL":
        return value
    return "'" + _on_one_line(value.replace("'", "''")) + "'"


def naming_columns(columns: Sequence[str], key: Sequence[int]) -> frozenset[int]:
    """Places of the columns that say what a row is: its key, and those called like a name."""
    called = (place for place, column in enumerate(columns) if _NAMING.search(column))
    return frozenset((*key, *called))


def row_value(
    watched: Watched, columns: Sequence[str], row: Sequence[str | None], naming: frozenset[int]
) -> str:
    secret = any(SECRET_WORD.search(row[place] or "") for place in naming)
    return "\n".join(
        _line(watched, column, each, hide=secret and place not in naming)
        for place, (column, each) in enumerate(zip(columns, row, strict=True))
    )


def _line(watched: Watched, column: str, value: str | None, *, hide: bool = False) -> str:
    """NULL is a word of its own; the text NULL stands in quotes. ``hide``: the row is called like a
    secret (``stripe_secret``), so that whatever is no switch, number or moment may be it."""
    if hide and value and value.lower() not in SWITCH and not _PLAIN_VALUE.fullmatch(value):
        return f"{_quoted(column)}: {digest(column, value)}"
    return f"{_quoted(column)}: {_shown(watched, column, value)}"


def _shown(watched: Watched, column: str, value: str | None) -> str:
    if value is None:
        return "NULL"
    if _is_secret(watched, column, value):
        return digest(column, value)
    if len(value) > LONGEST_VALUE:
        told = f"… ({len(value)} characters, {text_hash(value)})"
        return _on_one_line(value[:LONGEST_VALUE]) + told
    return "'NULL'" if value == "NULL" else _on_one_line(value)


def _is_secret(watched: Watched, column: str, value: str) -> bool:
    if column in watched.secrets:
        return True
    return bool(value) and bool(SECRET_WORD.search(column) or SECRET_VALUE.search(value))


def _on_one_line(value: str) -> str:
    """Every space counts: text is data here."""
    return re.sub(
        r"[\x00-\x1f\x7f\x85\u2028\u2029]|\\(?=[nrtu\\])",
        lambda one: {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}.get(
            one[0], f"\\u{ord(one[0]):04x}"
        ),
        value,
    )


def _quoted(column: str) -> str:
    return column if re.fullmatch(r"[a-z_][a-z0-9_$]*", column) else plain_key(_ident(column))


def _ident(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _schema(table: str) -> tuple[str, str, str]:
    """The schema of a qualified name, whose parts may be quoted."""
    found = re.fullmatch(r'((?:"(?:[^"]|"")*"|[^".])+)(\.)(.+)', table, re.DOTALL)
    return (found[1], found[2], found[3]) if found else ("", "", table)


def _encoding(connection: psycopg.Connection[Any]) -> str:
    """Of the client; SQL_ASCII promises nothing, and mostly is UTF-8."""
    encoding = connection.info.encoding
    return "utf-8" if encoding == "ascii" else encoding


def _decoded(value: Any, encoding: str) -> str:
    return bytes(value).decode(encoding, "backslashreplace")


def _one_line(error: psycopg.Error) -> str:
    return " ".join(str(error).split())[:200]
