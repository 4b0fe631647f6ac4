"""What a reader of one kind is handed: rows of named queries, rights, and files of the host."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import psycopg

from agent.catalog.denied import missing
from agent.catalog.host_files import HostFiles
from agent.catalog.queries import query
from agent.catalog.rights import grants_for

Row = dict[str, Any]
AT_ONCE = 200


class LackError(Exception):
    """A kind cannot be read: what is missing. ``remedy`` says what to do about it."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.remedy = remedy


class QueryCost(NamedTuple):
    name: str
    seconds: float
    """As the client sees it: the server's work, and reading the rows."""
    rows: int


@dataclass
class Reading:
    """Of one snapshot. Whatever it reads comes from one moment, files of the host left aside."""

    cursor: psycopg.Cursor[Row]
    major: int
    user: str
    database: str
    home: bool
    """What belongs to the whole cluster is read in this database, too."""
    files: HostFiles | None = None
    bodies: bool = False
    notes: list[str] = field(default_factory=list)
    """Sentences about parts of a kind that were not read, its other parts were."""
    costs: list[QueryCost] = field(default_factory=list)
    asked: str = ""
    """The text of the last query."""
    _rights: Row | None = None

    def rows(self, name: str, **parameters: object) -> list[Row]:
        started = time.perf_counter()
        self.asked = query(name, self.major).decode()
        found = self.cursor.execute(query(name, self.major), parameters or None).fetchall()
        rows = [{column: text(value) for column, value in row.items()} for row in found]
        self.costs.append(QueryCost(name, time.perf_counter() - started, len(rows)))
        return rows

    def spelled(self, name: str, oids: Sequence[int]) -> dict[int, str | None]:
        """Text by oid. Spelling locks what a text speaks of until the transaction, or our part of
        it, ends: in small parts it never fills the server's table of locks."""
        found: dict[int, str | None] = {}
        for start in range(0, len(oids), AT_ONCE):
            self.cursor.execute("SAVEPOINT spelled")
            for row in self.rows(name, oids=list(oids[start : start + AT_ONCE])):
                found[row["oid"]] = row["text"]
            self.cursor.execute("ROLLBACK TO SAVEPOINT spelled")
            self.cursor.execute("RELEASE SAVEPOINT spelled")
        return found

    def may(self, right: str) -> bool:
        if self._rights is None:
            [self._rights] = self.rows("rights")
        return bool(self._rights[right])

    def remedy(self, right: str) -> str:
        return " ".join(grants_for({right}, self.user, self.major))

    def refused(self) -> str:
        """What the last query lacks, which the server refused; it takes a usable transaction."""
        lacks = [*missing(self.cursor, [self.asked], self.user)]
        return " ".join(lacks) or self.remedy("settings")

    def require(self, right: str) -> None:
        """Raises LackError."""
        if not self.may(right):
            raise LackError("permission denied", self.remedy(right))


def text(value: Any) -> Any:
    """Text of an SQL_ASCII database arrives as bytes, in whatever encoding its writer used."""
    if isinstance(value, list):
        return [text(entry) for entry in value]
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def setting_of(rows: list[Row], name: str) -> str:
    found: Mapping[str, str] = {row["name"]: row["setting"] or "" for row in rows}
    return found.get(name, "")
