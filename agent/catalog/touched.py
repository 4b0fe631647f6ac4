"""What of a catalog a captured statement may have changed, so that the watcher looks there soon."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from agent.catalog.changes import WatchedTable
from agent.catalog.query_tables import tables_in
from model.catalog import WATCHED_NAME, CatalogKind, Snapshot
from model.session import BackendKey, Session
from model.statement import Shape

CHANGING = frozenset(
    ("alter", "create", "drop", "grant", "revoke", "reassign", "import", "truncate", "do", "call")
)
"""Operations after which the catalog may be another one."""
SETTING_FUNCTIONS = frozenset(("pg_reload_conf", "pg_catalog.pg_reload_conf", "set_config"))
SETTINGS = frozenset((CatalogKind.SETTING, CatalogKind.HBA, CatalogKind.IDENT))
WATCHED = frozenset((CatalogKind.WATCHED,))
CATALOG = "pg_catalog."
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
        self._open: OrderedDict[BackendKey, frozenset[Touched]] = OrderedDict()

    def learn(self, snapshot: Snapshot) -> None:
        """What watched queries read, as the server said it."""
        for item in snapshot.items if CatalogKind.WATCHED in snapshot.kinds else ():
            if item.kind is CatalogKind.WATCHED and item.value == WATCHED_NAME:
                for table in tables_in(item.detail):
                    self._watch(item.name, table)

    def _watch(self, name: str, table: str) -> None:
        plain = _plain(table)
        # A statement may leave out the schema.
        for written in (plain, plain.rpartition(".")[2]):
            self._watched.setdefault(written, set()).add(name)

    def of(self, shape: Shape, session: Session, transaction: str) -> frozenset[Touched]:
        """``transaction``: status before and after (model/statement.py). What an open transaction
        touched comes once more with its end: only then can others see it."""
        touched = NOTHING
        if (
            shape.operation in CHANGING
            or (shape.functions and not SETTING_FUNCTIONS.isdisjoint(shape.functions))
            or (shape.writes and (self._watched or _is_of_catalog(shape)))
        ):
            touched = frozenset(self._touched(shape, session))
        elif not self._open:
            return NOTHING
        earlier = self._open.get(session.key, NOTHING) if self._open else NOTHING
        if transaction.endswith("I"):
            if earlier:
                del self._open[session.key]
            return touched | earlier
        if touched and transaction.endswith("T"):
            self._open[session.key] = touched | earlier
            self._open.move_to_end(session.key)
            while len(self._open) > MOST_OPEN:
                self._open.popitem(last=False)
        return touched

    def _touched(self, shape: Shape, session: Session) -> Iterator[Touched]:
        where = session.cluster, session.database
        if SETTING_FUNCTIONS.intersection(shape.functions) or shape.summary == "ALTER SYSTEM":
            yield Touched(*where, SETTINGS)
        elif shape.operation in CHANGING or _is_of_catalog(shape):
            yield Touched(*where)
        if self._watched:
            names = (self._watched.get(_plain(written), ()) for written in shape.writes)
            for name in {name for each in names for name in each}:
                yield Touched(*where, WATCHED, name)


def _is_of_catalog(shape: Shape) -> bool:
    return any(written.startswith(CATALOG) for written in shape.writes)


def _plain(name: str) -> str:
    return name.replace('"', "").lower()
