"""The SQLite file of drift: its tables, and how only what has changed is written.

Facts are many (one for each table and grant of every server) and change seldom: a mapping that is
the same object as at the last time is not even looked at.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

VERSION = 2
"""In ``PRAGMA user_version``."""
BUSY_SECONDS = 10.0
_SCHEMA = (
    "CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE scopes (
        id INTEGER PRIMARY KEY, agent TEXT NOT NULL, cluster TEXT NOT NULL, kind TEXT NOT NULL,
        database TEXT NOT NULL, at_us INTEGER NOT NULL, base_at_us INTEGER NOT NULL,
        covered TEXT NOT NULL, major INTEGER NOT NULL, accepted INTEGER NOT NULL,
        format INTEGER NOT NULL DEFAULT 0, UNIQUE (agent, cluster, kind, database))""",
    """CREATE TABLE facts (
        scope INTEGER NOT NULL REFERENCES scopes, accepted INTEGER NOT NULL, name TEXT NOT NULL,
        value TEXT NOT NULL, detail TEXT NOT NULL,
        PRIMARY KEY (scope, accepted, name)) WITHOUT ROWID""",
    "CREATE TABLE open (key TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE findings (key TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE outbox (key INTEGER PRIMARY KEY, body TEXT NOT NULL)",
    f"PRAGMA user_version = {VERSION}",
)
_FROM_1 = ("ALTER TABLE scopes ADD COLUMN format INTEGER NOT NULL DEFAULT 0",)

Facts = Mapping[str, Sequence[str]]
ScopeKey = tuple[str, str, str, str]
"""Agent, cluster, kind, database."""


class ScopeRow(NamedTuple):
    at_us: int
    base_at_us: int
    covered: str
    major: int
    format: int = 0


Scoped = tuple[ScopeRow, Facts | None, Facts]
"""The scope's own, what is accepted, and what was observed."""


@dataclass
class Tables:
    """The whole content."""

    about: dict[str, str] = field(default_factory=dict)
    scopes: dict[ScopeKey, Scoped] = field(default_factory=dict)
    open: dict[str, str] = field(default_factory=dict)
    findings: dict[str, str] = field(default_factory=dict)
    outbox: dict[int, str] = field(default_factory=dict)


@dataclass
class Stored:
    """What is in the file, as it was handed in."""

    tables: Tables = field(default_factory=Tables)

    def take(self, tables: Tables) -> None:
        self.tables = tables


class LaterReleaseError(Exception):
    """The file is whole, and of a version that this release does not know."""


NOT_OF_THE_FILE = frozenset(
    (
        sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY,
    )
)  # fmt: skip
"""Somebody else, or the disk, is in the way: what the file holds may be well."""


def is_unreadable(error: sqlite3.Error) -> bool:
    """Of one that came while reading: whether the file holds no state, today or tomorrow."""
    code = _code(error)
    return code is None or code not in NOT_OF_THE_FILE


def is_foreign(error: sqlite3.Error) -> bool:
    """Of one that came while writing: whether the file is not the one that we wrote before. An
    error of ours in the values has no code."""
    code = _code(error)
    return code is not None and code not in NOT_OF_THE_FILE


def _code(error: sqlite3.Error) -> int | None:
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def connect(path: Path) -> sqlite3.Connection:
    """A damaged file is a sqlite3.DatabaseError. Raises LaterReleaseError."""
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS)
    try:
        # A rollback journal: one file to back up, and nothing to check after a crash but this one.
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA synchronous = EXTRA")
        [(version,)] = connection.execute("PRAGMA user_version")
        is_new = not path.stat().st_size
        if version == 1 and not is_new:
            _migrate(connection)
        elif version != VERSION and not is_new:
            _check(connection)
            raise LaterReleaseError(f"version {version} is not known to this release")
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection) -> None:
    """Once, and all of it or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    for command in (*_FROM_1, f"PRAGMA user_version = {VERSION}"):
        connection.execute(command)
    connection.commit()


def _check(connection: sqlite3.Connection) -> None:
    for (answer,) in connection.execute("PRAGMA quick_check(1)"):
        if answer != "ok":
            raise sqlite3.DatabaseError(str(answer))


def read(connection: sqlite3.Connection) -> Tables:
    _check(connection)
    facts: dict[tuple[int, int], dict[str, tuple[str, str]]] = {}
    for scope, accepted, name, value, detail in connection.execute(
        "SELECT scope, accepted, name, value, detail FROM facts"
    ):
        facts.setdefault((scope, accepted), {})[name] = (value, detail)
    scopes: dict[ScopeKey, Scoped] = {}
    for number, *key, at_us, base_at_us, covered, major, format_, accepted in connection.execute(
        "SELECT id, agent, cluster, kind, database, at_us, base_at_us, covered, major, format,"
        " accepted FROM scopes"
    ):
        agent, cluster, kind, database = key
        scopes[agent, cluster, kind, database] = (
            ScopeRow(at_us, base_at_us, covered, major, format_),
            facts.get((number, 1), {}) if accepted else None,
            facts.get((number, 0), {}),
        )
    return Tables(
        dict(connection.execute("SELECT name, value FROM about").fetchall()),
        scopes,
        *(
            dict(connection.execute(f"SELECT key, body FROM {table}").fetchall())
            for table in ("open", "findings", "outbox")
        ),
    )


def write(connection: sqlite3.Connection, tables: Tables, stored: Stored) -> None:
    """What differs from ``stored``, in one transaction; after a failure nothing of it is there.
    All of it where somebody took the file away meanwhile."""
    before = stored.tables
    connection.execute("BEGIN IMMEDIATE")
    if not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
        before = Tables()
        for command in _SCHEMA:
            connection.execute(command)
    _bodies(connection, "about", "name", "value", before.about, tables.about)
    for table in ("open", "findings", "outbox"):
        _bodies(connection, table, "key", "body", getattr(before, table), getattr(tables, table))
    for key in before.scopes.keys() - tables.scopes.keys():
        number = _number(connection, key)
        connection.execute("DELETE FROM facts WHERE scope = ?", (number,))
        connection.execute("DELETE FROM scopes WHERE id = ?", (number,))
    nothing: Scoped = (ScopeRow(0, 0, "", -1), None, {})
    for key, now in tables.scopes.items():
        was = before.scopes.get(key, nothing)
        if was[0] == now[0] and was[1] is now[1] and was[2] is now[2]:
            continue
        connection.execute(
            "INSERT INTO scopes (agent, cluster, kind, database, at_us, base_at_us, covered, major,"
            " format, accepted) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (agent, cluster, kind, database) DO UPDATE SET at_us = excluded.at_us,"
            " base_at_us = excluded.base_at_us, covered = excluded.covered,"
            " major = excluded.major, format = excluded.format, accepted = excluded.accepted",
            (*key, *now[0], now[1] is not None),
        )
        number = _number(connection, key)
        _facts(connection, number, 1, was[1] or {}, now[1] or {})
        _facts(connection, number, 0, was[2], now[2])
    connection.commit()
    stored.take(tables)


def _number(connection: sqlite3.Connection, key: ScopeKey) -> int:
    [(number,)] = connection.execute(
        "SELECT id FROM scopes WHERE (agent, cluster, kind, database) = (?, ?, ?, ?)", key
    )
    return int(number)


def _bodies(
    connection: sqlite3.Connection,
    table: str,
    key: str,
    value: str,
    before: Mapping[Any, str],
    after: Mapping[Any, str],
) -> None:
    connection.executemany(
        f"DELETE FROM {table} WHERE {key} = ?", ((name,) for name in before.keys() - after.keys())
    )
    connection.executemany(
        f"INSERT OR REPLACE INTO {table} ({key}, {value}) VALUES (?, ?)",
        ((name, body) for name, body in after.items() if before.get(name) != body),
    )


def _facts(
    connection: sqlite3.Connection, scope: int, accepted: int, before: Facts, after: Facts
) -> None:
    if before is after:
        return
    connection.executemany(
        "DELETE FROM facts WHERE scope = ? AND accepted = ? AND name = ?",
        ((scope, accepted, name) for name in before.keys() - after.keys()),
    )
    connection.executemany(
        "INSERT OR REPLACE INTO facts (scope, accepted, name, value, detail)"
        " VALUES (?, ?, ?, ?, ?)",
        _rows(scope, accepted, before, after),
    )


def _rows(scope: int, accepted: int, before: Facts, after: Facts) -> Iterator[tuple[Any, ...]]:
    for name, fact in after.items():
        was = before.get(name)
        if was is not fact and was != fact:
            yield scope, accepted, name, *fact
