"""What of a catalog a captured statement may have changed, so that the watcher looks there soon."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from agent.catalog.changes import WatchedTable
from agent.catalog.query_tables import tables_in
from model.catalog import WATCHED_NAME, CatalogKind, Snapshot
from model.names import unescaped
from model.session import BackendKey, Session
from model.statement import ParseStatus, Shape

CHANGING = frozenset(
    (
        "alter", "create", "drop", "grant", "revoke", "reassign", "import", "truncate", "reindex",
        "do", "call",
    )
)  # fmt: skip
"""Verbs after which the catalog may be another one."""
SETTING_FUNCTIONS = frozenset(("pg_reload_conf", "pg_catalog.pg_reload_conf", "set_config"))
SLOT_FUNCTIONS = frozenset(
    (
        "pg_create_physical_replication_slot", "pg_create_logical_replication_slot",
        "pg_copy_physical_replication_slot", "pg_copy_logical_replication_slot",
        "pg_drop_replication_slot", "pg_sync_replication_slots",
    )
)  # fmt: skip
ENDS = frozenset(("commit", "end"))
"""In a string that goes on with another transaction, as ``COMMIT; BEGIN`` does."""
PREPARE = "prepare transaction"
COMMIT_PREPARED, ROLLBACK_PREPARED = "commit prepared", "rollback prepared"
_PREPARED = "prepared transaction:"
CALLED = SETTING_FUNCTIONS | SLOT_FUNCTIONS
_SLOT_COMMAND = re.compile(r"(?i)\s*(create|alter|drop)_replication_slot\b")
"""Of the replication protocol, which is no SQL."""
SETTINGS = frozenset((CatalogKind.SETTING, CatalogKind.HBA, CatalogKind.IDENT))
WATCHED = frozenset((CatalogKind.WATCHED,))
SLOTS = frozenset((CatalogKind.SLOT,))
CATALOG = "pg_catalog."
MOST_FUNCTIONS = 20_000
"""Names of users' functions, of all databases."""
MOST_OPEN = 10_000
"""Transactions that touched something and have not ended."""


@dataclass(frozen=True, slots=True)
class Touched:
    cluster: str
    database: str
    kinds: frozenset[CatalogKind] | None = None
    """None: any."""
    watched: str = ""
    """One watched table, by name, and nothing else."""


NOTHING: frozenset[Touched] = frozenset()


class Touches:
    """Knows which tables are watched; ``of`` is asked for every statement and must be quick."""

    def __init__(self, watched: Iterable[WatchedTable] = ()) -> None:
        self._watched: dict[str, set[str]] = {}
        for each in watched:
            if each.table:
                self._watch(each.name, each.table)
        self._functions: set[tuple[str, str]] = set()
        """Database and bare name of what is not built in, where a table is watched."""
        self._watching: set[str] = set()
        """Databases with watched tables."""
        self._open: OrderedDict[BackendKey, frozenset[Touched]] = OrderedDict()
        self._prepared: OrderedDict[tuple[str, str, str], frozenset[Touched]] = OrderedDict()
        """By cluster, database and the hash of the transaction's name."""

    def learn(self, snapshot: Snapshot) -> None:
        """What watched queries read, as the server said it, and which functions are users' own."""
        if CatalogKind.FUNCTION in snapshot.kinds:
            self._learn_functions(snapshot)
        for item in snapshot.items if CatalogKind.WATCHED in snapshot.kinds else ():
            if item.kind is CatalogKind.WATCHED and item.value == WATCHED_NAME:
                self._watching.add(snapshot.database)
                for table in tables_in(item.detail):
                    self._watch(item.name, table)

    def _learn_functions(self, snapshot: Snapshot) -> None:
        for item in snapshot.items:
            if item.kind is CatalogKind.FUNCTION and len(self._functions) < MOST_FUNCTIONS:
                name = _plain(item.name.partition("(")[0])
                if not name.startswith(CATALOG):
                    self._functions.add((snapshot.database, name.rpartition(".")[2]))

    def _watch(self, name: str, table: str) -> None:
        plain = _plain(table)
        # A statement may leave out the schema.
        for written in (plain, plain.rpartition(".")[2]):
            self._watched.setdefault(written, set()).add(name)

    def of(self, shape: Shape, session: Session, transaction: str) -> frozenset[Touched]:
        """``shape`` as it is sent: with the hash of a prepared transaction's name (agent/shown.py).
        ``transaction``: status before and after (model/statement.py). What an open transaction
        touched comes once more with its end: only then can others see it. What ran inside another
        statement, of which no status is known, comes again with that."""
        touched = NOTHING
        if (
            _changes(shape)
            or (shape.functions and self._calls(shape, session))
            or (shape.status is ParseStatus.INVALID and _SLOT_COMMAND.match(shape.redacted_text))
            or (shape.writes and (self._watched or _is_of_catalog(shape)))
        ):
            touched = frozenset(self._touched(shape, session))
        elif shape.operation in (COMMIT_PREPARED, ROLLBACK_PREPARED):
            known = self._ended(shape, session)
            return known if shape.operation == COMMIT_PREPARED else NOTHING
        elif not self._open and PREPARE not in shape.verbs:
            return NOTHING
        earlier = self._open.get(session.key, NOTHING) if self._open else NOTHING
        if PREPARE in shape.verbs:
            self._prepare(shape, session, touched | earlier)
        if transaction.endswith("I") or not ENDS.isdisjoint(shape.verbs):
            self._open.pop(session.key, None)
            if touched and transaction.endswith("T"):
                self._remember(session.key, touched)
            return touched | earlier
        if touched:
            self._remember(session.key, touched | earlier)
        return touched

    def _prepare(self, shape: Shape, session: Session, touched: frozenset[Touched]) -> None:
        """Also one that touched nothing: its end is no reason to look."""
        name = _transaction_of(shape)
        if not name:
            return
        place = (session.cluster, session.database, name)
        self._prepared[place] = touched | self._prepared.get(place, NOTHING)
        self._prepared.move_to_end(place)
        while len(self._prepared) > MOST_OPEN:
            self._prepared.popitem(last=False)

    def _ended(self, shape: Shape, session: Session) -> frozenset[Touched]:
        """Any session may end it. One that nobody was seen to prepare may have done anything."""
        where = session.cluster, session.database
        known = self._prepared.pop((*where, _transaction_of(shape)), None)
        return frozenset((Touched(*where),)) if known is None else known

    def _remember(self, session: BackendKey, touched: frozenset[Touched]) -> None:
        self._open[session] = touched
        self._open.move_to_end(session)
        while len(self._open) > MOST_OPEN:
            self._open.popitem(last=False)

    def _calls(self, shape: Shape, session: Session) -> bool:
        return not CALLED.isdisjoint(shape.functions) or self._runs_code(shape, session)

    def _runs_code(self, shape: Shape, session: Session) -> bool:
        """A function of somebody's own may write to what is watched. Built-in ones are listed
        without their schema."""
        where = session.database
        return where in self._watching and any(
            "." in name or (where, _plain(name)) in self._functions for name in shape.functions
        )

    def _touched(self, shape: Shape, session: Session) -> Iterator[Touched]:
        where = session.cluster, session.database
        if shape.summary == "ALTER SYSTEM":
            yield Touched(*where, SETTINGS)
        elif _changes(shape) or _is_of_catalog(shape):
            yield Touched(*where)
        elif SETTING_FUNCTIONS.intersection(shape.functions):
            yield Touched(*where, SETTINGS)
        elif shape.status is ParseStatus.INVALID or SLOT_FUNCTIONS.intersection(shape.functions):
            yield Touched(*where, SLOTS)
        if shape.functions and self._runs_code(shape, session):
            yield Touched(*where, WATCHED)
        if self._watched:
            names = (self._watched.get(_plain(written), ()) for written in shape.writes)
            for name in {name for each in names for name in each}:
                yield Touched(*where, WATCHED, name)


def _transaction_of(shape: Shape) -> str:
    found = (each for each in shape.objects if each.startswith(_PREPARED))
    return next(found, "")


def _changes(shape: Shape) -> bool:
    """A string of several statements begins with any of them: ``SET ...; CREATE ROLE ...``."""
    return shape.operation in CHANGING or not CHANGING.isdisjoint(shape.verbs)


def _is_of_catalog(shape: Shape) -> bool:
    """The system's own tables come first in every search_path: their schema need not be said."""
    return any(written.startswith((CATALOG, "pg_")) for written in shape.writes)


def _plain(name: str) -> str:
    return unescaped(name).replace('"', "").lower()
