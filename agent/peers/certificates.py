"""TLS and client certificates of sessions, asked of the server itself (``pg_stat_ssl``)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

from agent.catalog.queries import query
from model.session import BackendKey, Peer

Connect = Callable[[str], psycopg.Connection[Any]]
LOOK_AGAIN_SECONDS = 60.0
"""How long a server without TLS, or one that let us not in, is left alone."""
SAME_START_US = 1_000_000


class CertificatesUnknownError(Exception):
    """The server could not be asked; the message is a label of a metric."""


IDLE_SECONDS = 10.0
"""A connection that stays would hold up a server that is told to stop once its clients are gone."""


@dataclass(slots=True)
class _Server:
    connection: psycopg.Connection[Any] | None = None
    used_at: float = 0.0
    silent_until: float = 0.0
    reason: str = ""


class Certificates:
    """One connection for each server, kept while there are questions: one for each question would
    itself be a new session to ask about. Not for use by several threads."""

    def __init__(self, connect: Connect) -> None:
        """``connect(cluster)`` gives an autocommit connection. Raises psycopg.Error."""
        self._connect = connect
        self._servers: dict[str, _Server] = {}

    def ask(self, cluster: str, backends: Sequence[BackendKey]) -> dict[BackendKey, Peer]:
        """Those that the server knows by now. Raises CertificatesUnknownError."""
        server = self._servers.setdefault(cluster, _Server())
        if time.monotonic() < server.silent_until:
            raise CertificatesUnknownError(server.reason)
        try:
            found = self._read(self._open(cluster, server), backends)
        except CertificatesUnknownError as unknown:
            self._rest(server, str(unknown))
            raise
        except (psycopg.Error, OSError):
            self._rest(server, "no_login")
            raise CertificatesUnknownError("no_login") from None
        # Sessions that were over before anybody could ask, the agent's own among them, are no
        # reason to stay.
        if found:
            server.used_at = time.monotonic()
        return found

    def close_idle(self) -> None:
        for server in self._servers.values():
            idle = time.monotonic() - server.used_at > IDLE_SECONDS
            if server.connection is not None and idle:
                server.connection.close()
                server.connection = None

    def close(self) -> None:
        for server in self._servers.values():
            if server.connection is not None:
                server.connection.close()
        self._servers.clear()

    def _open(self, cluster: str, server: _Server) -> psycopg.Connection[Any]:
        if server.connection is None or server.connection.closed:
            server.connection = self._connect(cluster)
            if server.connection.info.server_version >= 140_000:
                server.connection.execute("SET idle_session_timeout = 0")
            server.connection.execute("SET statement_timeout = '2s'")
            server.connection.execute("SET lock_timeout = '500ms'")
            server.used_at = time.monotonic()
        return server.connection

    def _read(
        self, connection: psycopg.Connection[Any], backends: Sequence[BackendKey]
    ) -> dict[BackendKey, Peer]:
        with connection.cursor(row_factory=dict_row) as cursor:
            [setting] = cursor.execute("SELECT current_setting('ssl') AS ssl").fetchall()
            if setting["ssl"] != "on":
                raise CertificatesUnknownError("tls_off")
            text = query("tls", connection.info.server_version // 10_000)
            rows = cursor.execute(
                text,
                {
                    "pids": [backend.pid for backend in backends],
                    "starts": [backend.started_at_us for backend in backends],
                },
            ).fetchall()
        found = {}
        for backend in backends:
            row = next((row for row in rows if _same(row, backend)), None)
            if row is not None and row["ssl"] is not None:
                found[backend] = Peer(tls=row["ssl"], certificate=row["client_dn"] or "")
        return found

    def _rest(self, server: _Server, reason: str) -> None:
        if server.connection is not None:
            server.connection.close()
        server.connection, server.reason = None, reason
        server.silent_until = time.monotonic() + LOOK_AGAIN_SECONDS


def _same(row: dict[str, Any], backend: BackendKey) -> bool:
    """By its start: the server in a container knows its processes by other pids than we do. A log
    line tells the start by the second."""
    started = row["started_at_us"]
    if started is None:
        return False
    if started == backend.started_at_us:
        return True
    same_second = started // SAME_START_US * SAME_START_US == backend.started_at_us
    return bool(row["pid"] == backend.pid and same_second)
