"""Which kinds may have changed: a cheap question to the server instead of reading them all.

A digest is made of the xmin of all rows of a catalog table: every commit that touches a row puts a
new transaction id there or takes a row away. It needs no right but the ones that everybody has.
Reading a kind in vain is allowed, missing a change is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import psycopg
from psycopg.rows import dict_row

from agent.catalog.queries import query
from model.catalog import CLUSTER_KINDS, DATABASE_KINDS, CatalogKind

K = CatalogKind
IN_DATABASE = DATABASE_KINDS - {K.WATCHED}
NAMED = IN_DATABASE
"""Their names or definitions hold names of schemas, relations, functions, types or roles."""
KINDS_OF: Mapping[str, frozenset[CatalogKind]] = {
    "names": NAMED,
    "member": NAMED,  # what belongs to an extension is left out everywhere, and a line of it
    "namespace": frozenset((K.SCHEMA, K.PRIVILEGE, K.EXTENSION)),
    "class": frozenset((K.TABLE, K.SEQUENCE, K.TYPE, K.PRIVILEGE, K.EXTENSION, K.SCHEMA)),
    "attribute": frozenset(
        (
            K.TABLE,
            K.TYPE,
            K.PRIVILEGE,
            K.POLICY,
            K.TRIGGER,
            K.FUNCTION,
            K.PUBLICATION,
            K.EXTENSION,
        )
    ),
    "attrdef": frozenset((K.TABLE,)),
    "constraint": frozenset((K.TABLE, K.TYPE, K.EXTENSION)),
    "index": frozenset((K.TABLE,)),
    "inherits": frozenset((K.TABLE,)),
    "rewrite": frozenset((K.TABLE, K.EXTENSION, K.SCHEMA)),
    "partitioned_table": frozenset((K.TABLE,)),
    "foreign_table": frozenset((K.TABLE,)),
    "sequence": frozenset((K.SEQUENCE,)),
    "proc": frozenset((K.FUNCTION, K.PRIVILEGE, K.EXTENSION, K.SCHEMA)),
    "aggregate": frozenset((K.FUNCTION,)),
    "type": frozenset((K.TYPE, K.PRIVILEGE, K.EXTENSION)),
    "enum": frozenset((K.TYPE,)),
    "range": frozenset((K.TYPE,)),
    "policy": frozenset((K.POLICY,)),
    "trigger": frozenset((K.TRIGGER,)),
    "event_trigger": frozenset((K.EVENT_TRIGGER, K.EXTENSION)),
    "extension": frozenset((K.EXTENSION,)),
    "language": frozenset((K.LANGUAGE, K.PRIVILEGE, K.EXTENSION)),
    "cast": frozenset((K.CAST, K.SCHEMA)),
    "operator": frozenset((K.OPERATOR, K.SCHEMA)),
    "in_schemas": frozenset((K.SCHEMA,)),
    "foreign_server": frozenset((K.FOREIGN_SERVER, K.USER_MAPPING, K.PRIVILEGE, K.EXTENSION)),
    "foreign_data_wrapper": frozenset((K.FOREIGN_SERVER, K.PRIVILEGE, K.EXTENSION)),
    "publication": frozenset((K.PUBLICATION,)),
    "default_acl": frozenset((K.PRIVILEGE,)),
    "init_privs": frozenset((K.PRIVILEGE,)),
    "large_object": frozenset((K.PRIVILEGE,)),
}
"""By part of query ``changes``."""
CLUSTER_KINDS_OF: Mapping[str, frozenset[CatalogKind]] = {
    "setting": frozenset((K.SETTING,)),
    "role_setting": frozenset((K.SETTING,)),
    "files": frozenset((K.SETTING,)),
    "role": frozenset((K.ROLE, K.SETTING)),
    "member": frozenset((K.MEMBERSHIP,)),
    "database": frozenset((K.DATABASE, K.PRIVILEGE, K.SETTING)),
    "tablespace": frozenset((K.TABLESPACE, K.PRIVILEGE, K.DATABASE)),
    "parameter_acl": frozenset((K.PRIVILEGE,)),
}
EACH_TIME = frozenset((K.HBA, K.IDENT, K.SLOT))
"""Of the cluster: not in tables, and cheaper to read than to ask about."""
EACH_TRANSACTION = frozenset((K.SUBSCRIPTION, K.USER_MAPPING))
"""Of a database: their tables hide their xmin from us, and they are few."""
LIMITS = b"SET LOCAL statement_timeout = '10s'; SET LOCAL lock_timeout = '1s'"
NOW = b"""SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS at_us,
                 txid_current_snapshot()::text AS transactions"""


XMIN = "hashtextextended(xmin::text, 0)"
FILES = "SELECT count(*), sum(hashtextextended(f::text, 0)) FROM pg_catalog.pg_file_settings AS f"


class WatchedTable(Protocol):
    """A watched table, or a query under a name."""

    @property
    def name(self) -> str: ...
    @property
    def table(self) -> str:
        """Qualified, as SQL has it; empty for a query."""
        ...

    def is_in(self, database: str, *, home: bool) -> bool: ...


@dataclass(frozen=True, slots=True)
class Moment:
    at_us: int
    """By the server's clock."""
    transactions: str
    """Which had ended: while that stays the same, nothing in any table of the cluster changed."""


@dataclass(frozen=True, slots=True)
class Digests:
    """What a probe found; compared with what the one before found."""

    moment: Moment
    parts: Mapping[str, str] = field(default_factory=dict)
    watched: Mapping[str, str] = field(default_factory=dict)
    """By name; one that has no digest is read each time."""
    role_names: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Database:
    oid: int
    name: str
    problem: str
    """Why it cannot be read; empty if it can."""


class ChangesError(Exception):
    """The question was not answered (a lock, a right): everything may have changed."""


def moment_of(connection: psycopg.Connection[Any]) -> Moment:
    with connection.cursor(row_factory=dict_row) as cursor:
        [row] = cursor.execute(NOW).fetchall()
    return _moment(row)


def _moment(row: Mapping[str, Any]) -> Moment:
    return Moment(row["at_us"], _text(row["transactions"]))


def _text(value: Any) -> str:
    """Text of an SQL_ASCII database arrives as bytes."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def probe_cluster(connection: psycopg.Connection[Any], before: Digests | None) -> Digests:
    """Raises ChangesError; a broken connection is a psycopg.Error."""
    moment, parts = _asked(connection, "changes_cluster", None)
    # Lines that the server could not use are in no setting.
    parts["files"] = _optional(connection, FILES)
    names = before.role_names if before is not None else {}
    if before is None or parts.get("role") != before.parts.get("role"):
        with connection.cursor() as cursor:
            roles = "SELECT oid::bigint, rolname FROM pg_catalog.pg_roles"
            names = {oid: _text(name) for oid, name in cursor.execute(roles)}
    return Digests(moment, parts, {}, names)


def probe_database(
    connection: psycopg.Connection[Any],
    before: Digests | None,
    watched: Sequence[WatchedTable] = (),
) -> Digests:
    """``before`` itself, with a new moment, where no transaction has ended since. Raises as
    ``probe_cluster``."""
    moment, parts = _asked(connection, "changes", before)
    if before is not None and moment.transactions == before.moment.transactions:
        return Digests(moment, before.parts, before.watched)
    found = {each.name: _watched(connection, each) for each in watched if each.table}
    return Digests(moment, parts, {name: digest for name, digest in found.items() if digest})


def _asked(
    connection: psycopg.Connection[Any], name: str, before: Digests | None
) -> tuple[Moment, dict[str, str]]:
    parts: dict[str, str] = {}
    text = query(name, connection.info.server_version // 10_000)
    try:
        with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute(LIMITS)
            while cursor.nextset():
                pass
            [row] = cursor.execute(NOW).fetchall()
            moment = _moment(row)
            if before is not None and moment.transactions == before.moment.transactions:
                return moment, {}
            for row in cursor.execute(text):
                part, digest = _text(row["part"]), f"{row['rows']}:{row['hash']}"
                parts[part] = " ".join(filter(None, (parts.get(part), digest)))
    except psycopg.Error as error:
        if connection.broken:
            raise
        raise ChangesError(" ".join(str(error).split())[:200]) from error
    return moment, parts


def _watched(connection: psycopg.Connection[Any], watched: WatchedTable) -> str:
    """Empty for what has no xmin (a view, a foreign table) or cannot be read now."""
    return _optional(connection, f"SELECT count(*), sum({XMIN}) FROM {watched.table}")


def _optional(connection: psycopg.Connection[Any], asked: str) -> str:
    """Empty where it cannot be answered."""
    try:
        with connection.transaction(), connection.cursor() as cursor:
            cursor.execute(LIMITS)
            while cursor.nextset():
                pass
            [(rows, total)] = cursor.execute(asked.encode()).fetchall()
    except psycopg.Error:
        if connection.broken:
            raise
        return ""
    return f"{rows}:{total}"


def changed_cluster_kinds(before: Digests | None, now: Digests) -> frozenset[CatalogKind]:
    if before is None:
        return CLUSTER_KINDS
    return EACH_TIME | _changed(before, now, CLUSTER_KINDS_OF, CLUSTER_KINDS)


def changed_kinds(before: Digests | None, now: Digests) -> frozenset[CatalogKind]:
    """Kinds of a database without its watched tables."""
    if before is None:
        return IN_DATABASE
    if before.moment.transactions == now.moment.transactions:
        return frozenset()
    return EACH_TRANSACTION | _changed(before, now, KINDS_OF, IN_DATABASE)


def changed_watched(
    before: Digests | None, now: Digests, watched: Iterable[WatchedTable]
) -> list[WatchedTable]:
    old = before.watched if before is not None else {}
    return [
        each
        for each in watched
        if each.name not in now.watched or old.get(each.name) != now.watched[each.name]
    ]


def names_everywhere_changed(before: Digests | None, now: Digests) -> bool:
    """Owners, grantees and tablespaces have other names in all databases."""
    if before is None:
        return False
    if before.parts.get("tablespace") != now.parts.get("tablespace"):
        return True
    old = before.role_names
    return any(old.get(oid, name) != name for oid, name in now.role_names.items())


def _changed(
    before: Digests,
    now: Digests,
    kinds_of: Mapping[str, frozenset[CatalogKind]],
    all_kinds: frozenset[CatalogKind],
) -> frozenset[CatalogKind]:
    parts = {*before.parts, *now.parts}
    differ = [part for part in parts if before.parts.get(part) != now.parts.get(part)]
    return frozenset().union(*(kinds_of.get(part, all_kinds) for part in differ))


def all_databases(connection: psycopg.Connection[Any]) -> list[Database]:
    """Without templates. Raises psycopg.Error."""
    major, user = connection.info.server_version // 10_000, connection.info.user
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(query("all_databases", major)).fetchall()
    found = []
    for row in rows:
        problem = ""
        if not row["accepts"]:
            problem = "it accepts no connections: ALTER DATABASE ... ALLOW_CONNECTIONS true"
        elif not row["allowed"]:
            problem = f"no right to connect: GRANT CONNECT ON DATABASE ... TO {user}"
        found.append(Database(row["oid"], _text(row["name"]), problem))
    return found
