"""Proves that each probe fires: runs known statements and waits for their events.

A probe can be attached and never fire: on some builds calls are inlined past the exported symbol.
"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable
from struct import Struct
from typing import Any

from agent.sources.ebpf import EbpfSource
from model.event import (
    ApplicationNamed,
    Event,
    Protocol,
    ResponseSent,
    SessionEnded,
    StatementsExecuted,
    StatementStarted,
)

WAIT_SECONDS = 2.0
POLL_MS = 50
FUNCTION_CALL = Struct("!cIIHHH")
PG_BACKEND_PID = 2026
"""Object id of a function that takes nothing and changes nothing."""
STARTS = (StatementStarted, StatementsExecuted)
READY = b"Z\0\0\0\5"

Proof = tuple[str, bool | None]
"""Name of a probed function, and whether it fired; None where this connection cannot tell."""


def prove(source: EbpfSource, connect: Callable[..., Any]) -> list[Proof]:
    """``connect`` gives a psycopg connection in autocommit mode to a watched cluster.

    Takes at most a few seconds. Events of other sessions go back to the source; those of the
    canary itself are kept out of it. Raises what ``connect`` raises.
    """
    token = f"pgwarden canary {secrets.token_hex(8)}"
    seen: list[Event] = []
    connection = connect()
    try:
        pid = int(connection.info.backend_pid)
        connection.execute(f"SELECT 1 /* {token} */")
        connection.execute(f"SET application_name = '{token}'")
        called = _call_function(connection)
    finally:
        connection.close()
    streamed = _replication_pid(connect)
    own = {pid, streamed}
    checks: list[tuple[str, bool, Callable[[Event], bool]]] = [
        ("PortalRun", True, lambda e: isinstance(e, STARTS) and token.encode() in e.text),
        (
            "secure_write",
            True,
            lambda e: (
                isinstance(e, StatementsExecuted)
                or (isinstance(e, ResponseSent) and bool(e.completions))
            ),
        ),
        (
            "pgstat_report_appname",
            True,
            lambda e: isinstance(e, ApplicationNamed) and e.application_name == token,
        ),
        (
            "HandleFunctionRequest",
            called,
            lambda e: isinstance(e, StatementStarted) and e.protocol is Protocol.FASTPATH,
        ),
        (
            "exec_replication_command",
            streamed is not None,
            lambda e: isinstance(e, StatementStarted) and e.protocol is Protocol.REPLICATION,
        ),
        (
            "sched_process_exit",
            True,
            lambda e: isinstance(e, SessionEnded) and e.backend.pid == pid,
        ),
    ]
    others: list[Event] = []
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        for event in source.poll(POLL_MS):
            backend = getattr(event, "backend", None)
            (seen if backend is not None and backend.pid in own else others).append(event)
        if all(any(map(fired, seen)) for _, possible, fired in checks if possible):
            break
    source.hand_back(others)
    return [(name, any(map(fired, seen)) if possible else None) for name, possible, fired in checks]


def _call_function(connection: Any) -> bool:
    """One fastpath call, written straight to the connection: libpq offers it to C programs only.

    False where the connection is encrypted, so that we cannot speak on it.
    """
    if connection.pgconn.ssl_in_use:
        return False
    message = FUNCTION_CALL.pack(b"F", FUNCTION_CALL.size - 1, PG_BACKEND_PID, 0, 0, 1)
    with socket.socket(fileno=_duplicate(connection.pgconn.socket)) as line:
        line.setblocking(True)
        line.settimeout(WAIT_SECONDS)
        line.sendall(message)
        answer = b""
        try:
            while READY not in answer[-6:]:
                answer += line.recv(4096) or READY
        except TimeoutError:
            return False
    return True


def _duplicate(descriptor: int) -> int:
    return socket.dup(descriptor)


def _replication_pid(connect: Callable[..., Any]) -> int | None:
    """A walsender's pid after one harmless command; None where such a login is refused."""
    try:
        connection = connect(replication="database")
    except Exception:  # noqa: BLE001 - pg_hba.conf, a missing right, max_wal_senders: all the same
        return None
    try:
        connection.pgconn.exec_(b"IDENTIFY_SYSTEM")
        return int(connection.info.backend_pid)
    finally:
        connection.close()
