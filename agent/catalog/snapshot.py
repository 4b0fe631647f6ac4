"""One consistent look at what a server is: all of it, or the kinds that may have changed."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import psycopg
from psycopg import errors, pq
from psycopg.rows import dict_row

from agent.catalog.host_files import HostFiles
from agent.catalog.items import TornError
from agent.catalog.items.secrets import keyed
from agent.catalog.kinds import CLUSTER_WIDE, IN_DATABASE, Reader
from agent.catalog.queries import query
from agent.catalog.reading import LackError, QueryCost, Reading, Row, text
from agent.catalog.watched import Watched, read_watched
from model.catalog import DATABASE_KINDS, FORMAT, CatalogItem, CatalogKind, Snapshot

APPLICATION_NAME = "pgwarden"
# A catalog that somebody locked must not stall: the next round reads it.
LIMITS = b"SET LOCAL statement_timeout = '30s'; SET LOCAL lock_timeout = '1s'"
# Definitions and rows read the same from every session; what is not of pg_catalog is qualified.
# Filtered rows would look like dropped ones: row_security = off makes that an error. Compiling
# these queries takes seconds, running them does not.
FORMS = (
    b"SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL quote_all_identifiers = off;"
    b"SET LOCAL DateStyle = 'ISO, MDY'; SET LOCAL TimeZone = 'UTC';"
    b"SET LOCAL IntervalStyle = 'postgres'; SET LOCAL extra_float_digits = 1;"
    b"SET LOCAL bytea_output = 'hex'; SET LOCAL row_security = off; SET LOCAL jit = off"
)
LONGEST_SECONDS = 60.0
"""Kinds that were not begun by then wait for the next round."""
ATTEMPTS = 3
RETRY_SECONDS = 0.05
NEXT_ROUND = "it is read again in the next round"
# Functions that spell definitions look at the catalog as it is now, not at our snapshot of it.
MOVED = (
    errors.InternalError_, errors.SerializationFailure, errors.ObjectNotInPrerequisiteState,
    errors.UndefinedTable, errors.UndefinedObject, errors.UndefinedFunction, errors.UndefinedColumn,
)  # fmt: skip


SPELLED = DATABASE_KINDS - {CatalogKind.WATCHED}
"""Kinds whose items hold what those functions say."""


class SnapshotError(Exception):
    """Nothing could be read: the connection is gone, or it is in a transaction of its own."""


class _MovedError(Exception):
    """The catalog changed under our hands: a newer snapshot will show it whole."""


def take_snapshot(
    connection: psycopg.Connection[Any],
    cluster: str,
    *,
    cluster_wide: bool = True,
    kinds: frozenset[CatalogKind] | None = None,
    watched: Sequence[Watched] = (),
    files: HostFiles | None = None,
    function_bodies: bool = False,
    secret_key: bytes = b"",
) -> Snapshot:
    """What the connected database and (if ``cluster_wide``) its server look like now.

    ``kinds`` limits it to these (and roles, where privileges of the cluster are among them: who
    has both knows that it has those of the cluster). ``watched`` are tables and queries, of which
    those of this database are read. ``files``: where the server shows its hba and ident rules not
    to this role, or not at all, they are read from the host. ``function_bodies``: in full instead
    of as hashes. ``secret_key``: of the hashes that stand for secrets; empty: of this process.

    A kind that could not be read in full is left out and has a sentence in ``problems``: its
    absence never means that something was dropped. ``at_us`` is the server's clock. Raises
    SnapshotError when the connection does not work.
    """
    if connection.info.transaction_status is not pq.TransactionStatus.IDLE:
        raise SnapshotError("the catalog session is in a transaction; it needs one of its own")
    if kinds is not None and cluster_wide and CatalogKind.PRIVILEGE in kinds:
        kinds |= {CatalogKind.ROLE}
    round_ = _Round(connection, cluster, cluster_wide, kinds, watched, files, function_bodies)
    with keyed(secret_key):
        return round_.snapshot()


def all_queries(
    connection: psycopg.Connection[Any], *, cluster_wide: bool = True
) -> tuple[QueryCost, ...]:
    """What each query of a whole snapshot takes, for measurements. Raises SnapshotError."""
    round_ = _Round(connection, "", cluster_wide, None, (), None, False)
    round_.snapshot()
    return tuple(round_.costs)


def list_databases(connection: psycopg.Connection[Any]) -> list[str]:
    """Databases that this role may connect to, templates left out."""
    major = connection.info.server_version // 10_000
    try:
        with connection.cursor(row_factory=dict_row) as cursor:
            return [text(row["name"]) for row in cursor.execute(query("databases", major))]
    except psycopg.Error as error:
        raise SnapshotError(f"cannot list databases: {_reason(error)}") from error


def fingerprint(snapshot: Snapshot) -> str:
    """Equal for snapshots that say the same, whenever they were taken."""
    told = (snapshot.cluster, snapshot.database, snapshot.kinds, snapshot.items)
    return hashlib.sha256(repr(told).encode("utf-8", "surrogateescape")).hexdigest()


class _Round:
    """The attempts at one snapshot."""

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        cluster: str,
        cluster_wide: bool,
        kinds: frozenset[CatalogKind] | None,
        watched: Sequence[Watched],
        files: HostFiles | None,
        function_bodies: bool,
    ) -> None:
        self._connection = connection
        self._cluster = cluster
        self._home = cluster_wide
        self._kinds = kinds
        self._watched = [
            each for each in watched if each.is_in(connection.info.dbname, home=cluster_wide)
        ]
        self._files = files
        self._bodies = function_bodies
        self._last = False
        self._forms_set = False
        self.costs: list[QueryCost] = []

    def snapshot(self) -> Snapshot:
        for attempt in range(1, ATTEMPTS + 1):
            self._last = attempt == ATTEMPTS
            try:
                return self._attempt()
            except _MovedError:
                time.sleep(RETRY_SECONDS * attempt)
        raise AssertionError("the last attempt names what moved")

    def _attempt(self) -> Snapshot:
        try:
            with self._connection.cursor(row_factory=dict_row) as cursor:
                cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                try:
                    return self._read(cursor)
                finally:
                    if not self._connection.broken:
                        cursor.execute("ROLLBACK")
        except psycopg.Error as error:
            sentence = f"cannot read the catalog of {self._cluster}: {_reason(error)}"
            raise SnapshotError(sentence) from error

    def _read(self, cursor: psycopg.Cursor[Row]) -> Snapshot:
        info = self._connection.info
        self._forms_set = False
        _run(cursor, LIMITS)
        now = b"SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS us"
        [moment] = cursor.execute(now).fetchall()
        major = info.server_version // 10_000
        reading = Reading(
            cursor, major, info.user, info.dbname, self._home, self._files, self._bodies
        )
        found: dict[CatalogKind, Sequence[CatalogItem]] = {}
        problems: list[str] = []
        ends_at = time.monotonic() + LONGEST_SECONDS
        for kind, reader in self._readers():
            if kind is not CatalogKind.SETTING:
                self._set_forms(cursor)
            try:
                if time.monotonic() > ends_at:
                    raise LackError(f"the others took {LONGEST_SECONDS:.0f} s", NEXT_ROUND)
                found[kind] = self._guarded(cursor, reader, reading)
            except LackError as error:
                problems.append(self._problem(kind, str(error), error.remedy))
        problems += self._without_renamed(reading, found)
        self.costs = reading.costs
        place = f"{self._cluster}/{info.dbname}"
        return Snapshot(
            at_us=moment["us"],
            cluster=self._cluster,
            database=info.dbname,
            kinds=tuple(sorted(found)),
            items=tuple(sorted(item for items in found.values() for item in items)),
            server_version=info.parameter_status("server_version") or "",
            format=FORMAT,
            problems=(*problems, *(note.replace("{place}", place) for note in reading.notes)),
        )

    def _readers(self) -> Iterator[tuple[CatalogKind, Reader]]:
        for kind, reader in (*(CLUSTER_WIDE if self._home else ()), *IN_DATABASE):
            if self._kinds is None or kind in self._kinds:
                yield kind, reader
        wanted = self._kinds is None or CatalogKind.WATCHED in self._kinds
        if wanted and self._watched:
            yield CatalogKind.WATCHED, lambda reading: read_watched(reading, self._watched)

    def _set_forms(self, cursor: psycopg.Cursor[Row]) -> None:
        if not self._forms_set:
            _run(cursor, FORMS)
            self._forms_set = True

    def _guarded(
        self, cursor: psycopg.Cursor[Row], reader: Reader, reading: Reading
    ) -> Sequence[CatalogItem]:
        """Raises LackError; _MovedError as long as another attempt may help."""
        cursor.execute("SAVEPOINT kind")
        try:
            return reader(reading)
        except psycopg.Error as error:
            if self._connection.broken:
                raise
            if isinstance(error, MOVED):
                self._moved(error)
            if isinstance(error, errors.InsufficientPrivilege):
                cursor.execute("ROLLBACK TO SAVEPOINT kind")
                raise LackError(_reason(error), reading.refused()) from error
            raise LackError(_reason(error), NEXT_ROUND) from error
        except TornError as error:
            self._moved(error)
        finally:
            # Also gives back locks, and puts settings right that the reader made.
            if not self._connection.broken:
                cursor.execute("ROLLBACK TO SAVEPOINT kind")
                cursor.execute("RELEASE SAVEPOINT kind")

    def _without_renamed(
        self, reading: Reading, found: dict[CatalogKind, Sequence[CatalogItem]]
    ) -> list[str]:
        """A definition that says a name of a moment later would look like somebody's change. Raises
        _MovedError as long as another attempt may help; then such kinds are left out."""
        spelled = SPELLED & found.keys()
        renamed = _renamed(reading) if spelled else ""
        if not renamed:
            return []
        if not self._last:
            raise _MovedError
        reason = f"{renamed} was being renamed"
        for kind in spelled:
            del found[kind]
        return [self._problem(kind, reason, NEXT_ROUND) for kind in sorted(spelled)]

    def _moved(self, error: Exception) -> NoReturn:
        if not self._last:
            raise _MovedError from error
        what = _reason(error) if isinstance(error, psycopg.Error) else f"{error} was being changed"
        raise LackError(what, NEXT_ROUND) from error

    def _problem(self, kind: CatalogKind, reason: str, remedy: str) -> str:
        what = f"{kind} of {self._cluster}/{self._connection.info.dbname}"
        return f"the {what} cannot be read ({reason}); {remedy}"


def _renamed(reading: Reading) -> str:
    """Something that was renamed since the snapshot; empty where nothing was, or it cannot be
    known: a kind that lacks the same right has said so."""
    try:
        found = reading.rows("renamed")
    except errors.InsufficientPrivilege:
        return ""
    return str(found[0]["name"]) if found else ""


def _run(cursor: psycopg.Cursor[Row], statements: bytes) -> None:
    cursor.execute(statements)
    while cursor.nextset():
        pass


def _reason(error: psycopg.Error) -> str:
    return " ".join(str(error).split())[:200]
