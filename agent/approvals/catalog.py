"""Asks a server's catalog what a grant is about, through the agent's own login."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psycopg

from agent.approvals.suspects import OpenTransaction
from model.approval import Grant
from model.names import unescaped

FOLDER = Path(__file__).parent
FINGERPRINT = (FOLDER / "fingerprint.sql").read_text()
INSPECT = (FOLDER / "inspect.sql").read_text()
TRANSACTIONS = (FOLDER / "transactions.sql").read_text()
STATEMENT_MS = 2000

Connection = psycopg.Connection[tuple[object, ...]]
Connect = Callable[[str, str], Connection]
"""(cluster, database) to a connection. Raises psycopg.Error."""


class CatalogUnreachableError(OSError):
    """The catalog cannot be asked just now."""


class ApprovalCatalog:
    """Keeps its connections: what is asked again each second should not log in each time."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._connections: dict[tuple[str, str], Connection] = {}

    def fingerprint(self, grant: Grant) -> str:
        """Raises CatalogUnreachableError."""
        schemas, names = _split(grant.relations)
        function_schemas, function_names = _split(grant.functions)
        ((found,),) = self._ask(
            grant.bound.cluster,
            grant.bound.database,
            FINGERPRINT,
            {
                "schemas": schemas,
                "names": names,
                "function_schemas": function_schemas,
                "function_names": function_names,
            },
        )
        return str(found)

    def open_transactions(self, grant: Grant) -> list[OpenTransaction]:
        """Those of the grant's database. Raises CatalogUnreachableError."""
        rows = self._ask(grant.bound.cluster, grant.bound.database, TRANSACTIONS, {})
        return [OpenTransaction(*row) for row in rows]

    def inspect(
        self, cluster: str, database: str, relations: Iterable[str]
    ) -> list[dict[str, Any]]:
        """Each relation of these names: estimated rows (-1 unknown) and what depends on it.

        Raises CatalogUnreachableError.
        """
        schemas, names = _split(relations)
        rows = self._ask(cluster, database, INSPECT, {"schemas": schemas, "names": names})
        return [
            {"relation": name, "kind": kind, "rows": rows_, "dependants": dependants}
            for name, kind, rows_, dependants in rows
        ]

    def close(self) -> None:
        """Never waits: a connection on which a server is being asked ends with our process."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            for connection in self._connections.values():
                connection.close()
            self._connections.clear()
        finally:
            self._lock.release()

    def _ask(
        self, cluster: str, database: str, sql: str, values: dict[str, object]
    ) -> list[tuple[Any, ...]]:
        key = cluster, database
        with self._lock:
            try:
                connection = self._connections.get(key)
                if connection is None or connection.closed:
                    connection = self._connections[key] = self._connect(cluster, database)
                    connection.execute(f"SET statement_timeout = {STATEMENT_MS}")
                return connection.execute(sql, values).fetchall()
            except psycopg.Error as error:
                if (broken := self._connections.pop(key, None)) is not None:
                    broken.close()
                first = str(error).strip().splitlines()[0] if str(error).strip() else "no answer"
                raise CatalogUnreachableError(f"{cluster}/{database}: {first}") from error


def _split(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Schemas and names, as the catalog has them."""
    parted = [name.rpartition(".") for name in names]
    return [unescaped(schema) for schema, _, _ in parted], [unescaped(last) for *_, last in parted]
