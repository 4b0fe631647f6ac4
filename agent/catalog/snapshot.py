"""One consistent look at a server's settings, hba rules, roles, memberships and privileges."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from psycopg import pq
from psycopg.rows import dict_row

from agent.catalog import items
from agent.catalog.queries import query
from model.catalog import CatalogItem, CatalogKind, Snapshot

APPLICATION_NAME = "pgwarden"
# A catalog that somebody locked must not stall: the next round reads it.
LIMITS = b"SET LOCAL statement_timeout = '10s'; SET LOCAL lock_timeout = '1s'"
REMEDIES = {
    CatalogKind.HBA: (
        "GRANT SELECT ON pg_hba_file_rules TO {user}; "
        "GRANT EXECUTE ON FUNCTION pg_hba_file_rules() TO {user}"
    )
}

Row = dict[str, Any]
Rows = Callable[[str], list[Row]]
Reader = Callable[[Rows, str], Sequence[CatalogItem]]


class SnapshotError(Exception):
    """Nothing could be read: the connection is gone, or it is in a transaction of its own."""


def take_snapshot(
    connection: psycopg.Connection[Any], cluster: str, *, cluster_wide: bool = True
) -> Snapshot:
    """What the connected database and (if ``cluster_wide``) its server look like now.

    A kind that could not be read in full is left out and has a sentence in ``problems``: its
    absence never means that something was dropped. ``at_us`` is the server's clock. Raises
    SnapshotError when the connection does not work.
    """
    if connection.info.transaction_status is not pq.TransactionStatus.IDLE:
        raise SnapshotError("the catalog session is in a transaction; it needs one of its own")
    try:
        with connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                return _read(cursor, connection, cluster, cluster_wide)
            finally:
                cursor.execute("ROLLBACK")
    except psycopg.Error as error:
        raise SnapshotError(f"cannot read the catalog of {cluster}: {_reason(error)}") from error


def list_databases(connection: psycopg.Connection[Any]) -> list[str]:
    """Databases that this role may connect to, templates left out."""
    major = connection.info.server_version // 10_000
    try:
        with connection.cursor(row_factory=dict_row) as cursor:
            return [_text(row["name"]) for row in cursor.execute(query("databases", major))]
    except psycopg.Error as error:
        raise SnapshotError(f"cannot list databases: {_reason(error)}") from error


def fingerprint(snapshot: Snapshot) -> str:
    """Equal for snapshots that say the same, whenever they were taken."""
    told = (snapshot.cluster, snapshot.database, snapshot.kinds, snapshot.items)
    return hashlib.sha256(repr(told).encode("utf-8", "surrogateescape")).hexdigest()


def _settings(rows: Rows, _: str) -> list[CatalogItem]:
    of_server = (items.setting(row) for row in rows("settings"))
    of_roles = (items.role_setting(row) for row in rows("role_settings"))
    return [*(item for item in of_server if item), *of_roles]


def _privileges_of_cluster(rows: Rows, _: str) -> list[CatalogItem]:
    return items.privileges(rows("privileges_cluster"), "")


def _privileges(rows: Rows, database: str) -> list[CatalogItem]:
    granted = [*rows("privileges"), *rows("default_privileges")]
    return items.privileges(granted, database)


CLUSTER_WIDE: tuple[tuple[CatalogKind, Reader], ...] = (
    (CatalogKind.SETTING, _settings),
    (CatalogKind.HBA, lambda rows, _: items.hba(rows("hba"))),
    (CatalogKind.ROLE, lambda rows, _: [items.role(row) for row in rows("roles")]),
    (CatalogKind.MEMBERSHIP, lambda rows, _: items.memberships(rows("memberships"))),
    (CatalogKind.PRIVILEGE, _privileges_of_cluster),
)
IN_DATABASE: tuple[tuple[CatalogKind, Reader], ...] = ((CatalogKind.PRIVILEGE, _privileges),)


def _read(
    cursor: psycopg.Cursor[Row],
    connection: psycopg.Connection[Any],
    cluster: str,
    cluster_wide: bool,
) -> Snapshot:
    major = connection.info.server_version // 10_000
    cursor.execute(LIMITS)
    while cursor.nextset():
        pass
    now = b"SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS us"
    [moment] = cursor.execute(now).fetchall()
    database = connection.info.dbname
    found: dict[CatalogKind, list[CatalogItem]] = {}
    problems: dict[CatalogKind, str] = {}
    for kind, reader in (*(CLUSTER_WIDE if cluster_wide else ()), *IN_DATABASE):
        cursor.execute("SAVEPOINT kind")
        try:
            found.setdefault(kind, []).extend(
                reader(lambda name: _rows(cursor, name, major), database)
            )
        except psycopg.Error as error:
            if connection.broken:
                raise
            cursor.execute("ROLLBACK TO SAVEPOINT kind")
            problems[kind] = _problem(kind, cluster, database, connection.info.user, error)
    kinds = tuple(sorted(set(found) - set(problems)))
    return Snapshot(
        at_us=moment["us"],
        cluster=cluster,
        database=database,
        kinds=kinds,
        items=tuple(sorted(item for kind in kinds for item in found[kind])),
        server_version=connection.info.parameter_status("server_version") or "",
        problems=tuple(problems.values()),
    )


def _rows(cursor: psycopg.Cursor[Row], name: str, major: int) -> list[Row]:
    rows = cursor.execute(query(name, major)).fetchall()
    return [{column: _text(value) for column, value in row.items()} for row in rows]


def _text(value: Any) -> Any:
    """Text of an SQL_ASCII database arrives as bytes, in whatever encoding its writer used."""
    if isinstance(value, list):
        return [_text(entry) for entry in value]
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def _problem(
    kind: CatalogKind, cluster: str, database: str, user: str, error: psycopg.Error
) -> str:
    remedy = REMEDIES.get(kind, "GRANT pg_monitor TO {user}").format(user=user)
    if not isinstance(error, psycopg.errors.InsufficientPrivilege):
        remedy = "it is read again in the next round"
    what = f"{kind} of {cluster}/{database}"
    return f"the {what} cannot be read ({_reason(error)}); {remedy}"


def _reason(error: psycopg.Error) -> str:
    return " ".join(str(error).split())[:200]
