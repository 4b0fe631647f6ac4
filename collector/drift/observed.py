"""What servers look like, read from the record: now, or at a moment as it was known at another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import duckdb

from collector.drift.baseline import Fact, Facts, Scope
from model.catalog import CLUSTER_KINDS, CatalogKind

PERIODS, SNAPSHOTS = "drift_observed", "catalog"
OF_CLUSTER = frozenset(map(str, CLUSTER_KINDS - {CatalogKind.PRIVILEGE}))
KNOWN_KINDS = frozenset(map(str, CatalogKind))

Whole = Mapping[tuple[CatalogKind, str], Facts]
"""One server: facts by kind and database (empty: of the whole cluster)."""


def read(
    connection: duckdb.DuckDBPyConnection,
    *,
    agent: str = "",
    cluster: str = "",
    database: str | None = None,
    at: datetime | None = None,
    known_at: datetime | None = None,
) -> dict[Scope, Facts]:
    """Facts by scope. Empty ``agent`` or ``cluster``: of all; ``database`` None: of all, with a
    name: of that one, and what belongs to the whole cluster.

    ``at``: how it was then (None: now); ``known_at``: by what was known then (None: by now). A
    scope that was read and holds nothing is there with no facts; one that was not read is missing.
    """
    found: dict[Scope, dict[str, Fact]] = {}
    relations = _relations(connection)
    for scope in _covered(connection, relations, at):
        if _asked_for(scope, agent, cluster, database):
            found[scope] = {}
    source = (
        _periods(at, known_at) if has_periods(connection, relations) else _latest(connection, at)
    )
    for row in connection.execute(*source).fetchall():
        if row[3] not in KNOWN_KINDS:
            continue
        scope = Scope(row[0], row[1], CatalogKind(row[3]), row[2] or "")
        if _asked_for(scope, agent, cluster, database):
            found.setdefault(scope, {})[row[4]] = Fact(row[5] or "", row[6] or "")
    return dict(found)


def servers(facts: Iterable[Scope]) -> dict[tuple[str, str], list[str]]:
    """(agent, cluster) -> its databases, in order."""
    found: dict[tuple[str, str], set[str]] = {}
    for scope in facts:
        found.setdefault((scope.agent, scope.cluster), set()).update({scope.database} - {""})
    return {server: sorted(databases) for server, databases in sorted(found.items())}


def whole(
    facts: Mapping[Scope, Facts], agent: str, cluster: str
) -> dict[tuple[CatalogKind, str], Facts]:
    """The one server's part of ``facts``."""
    return {
        (scope.kind, scope.database): items
        for scope, items in facts.items()
        if (scope.agent, scope.cluster) == (agent, cluster)
    }


def _asked_for(scope: Scope, agent: str, cluster: str, database: str | None) -> bool:
    return (
        agent in ("", scope.agent)
        and cluster in ("", scope.cluster)
        and (database is None or scope.database in ("", database))
    )


def _periods(at: datetime | None, known_at: datetime | None) -> tuple[str, list[Any]]:
    valid, valid_at = _within("valid", at)
    known, known_since = _within("known", known_at)
    columns = "agent, cluster, database, kind, name, value, detail"
    query = f"SELECT {columns} FROM {PERIODS} WHERE {valid} AND {known}"
    return query, [*valid_at, *known_since]


def _within(name: str, at: datetime | None) -> tuple[str, list[Any]]:
    if at is None:
        return f"{name}_to IS NULL", []
    return f"{name}_from <= ? AND ({name}_to IS NULL OR {name}_to > ?)", [at, at]


def _latest(connection: duckdb.DuckDBPyConnection, at: datetime | None) -> tuple[str, list[Any]]:
    """The newest snapshot of each scope: all its rows have the same moment. Of older releases,
    whose snapshots were whole."""
    before, moment = ("true", []) if at is None else ("occurred_at <= ?", [at])
    if "op" in _columns(connection, SNAPSHOTS):
        before += " AND op IS NULL"
    query = (
        "SELECT agent, cluster, database, kind, name, value, detail "
        f"FROM {SNAPSHOTS} WHERE {before} "
        "QUALIFY occurred_at = max(occurred_at) OVER (PARTITION BY agent, cluster, database, kind)"
    )
    return query, moment


def _covered(
    connection: duckdb.DuckDBPyConnection, relations: set[str], at: datetime | None
) -> list[Scope]:
    """Scopes that were read, empty ones included, where the record says so."""
    if SNAPSHOTS not in relations or "op" not in _columns(connection, SNAPSHOTS):
        return []
    query = f"SELECT DISTINCT agent, cluster, kind, database FROM {SNAPSHOTS} WHERE op = 'covered'"
    rows = (
        connection.execute(query)
        if at is None
        else connection.execute(f"{query} AND occurred_at <= ?", [at])
    ).fetchall()
    return [
        Scope(agent, cluster, CatalogKind(kind), "" if kind in OF_CLUSTER else database or "")
        for agent, cluster, kind, database in rows
        if kind in KNOWN_KINDS
    ]


def has_periods(connection: duckdb.DuckDBPyConnection, relations: set[str] | None = None) -> bool:
    """A record of an older release has snapshots alone. ``relations``: those that there are."""
    relations = _relations(connection) if relations is None else relations
    if PERIODS not in relations:
        return False
    if SNAPSHOTS not in relations:
        return True
    return connection.execute(f"SELECT 1 FROM {PERIODS} LIMIT 1").fetchone() is not None


def _relations(connection: duckdb.DuckDBPyConnection) -> set[str]:
    query = "SELECT table_name FROM information_schema.tables"
    return {name for (name,) in connection.execute(query).fetchall()}


def _columns(connection: duckdb.DuckDBPyConnection, relation: str) -> set[str]:
    query = "SELECT column_name FROM information_schema.columns WHERE table_name = ?"
    return {name for (name,) in connection.execute(query, [relation]).fetchall()}
