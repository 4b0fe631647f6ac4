"""A short session of our own does what each probe must tell of, and its events are waited for.

A probe can be attached and never fire: on some builds calls are inlined past the exported symbol.
Nothing that the session does changes anything: it reads, names itself as it is named, calls a
function that answers with a number, and stops listening where nobody listens.
"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from struct import Struct
from typing import Any

import psycopg
from psycopg import sql

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
READY = b"Z\0\0\0\5"
INSIDE = "DO $$BEGIN EXECUTE 'SELECT 1 /* {0} */'; EXECUTE 'UNLISTEN /* {0} */ pgwarden'; END$$"
"""Of the commands that a function may run, none does less than UNLISTEN, and it is allowed on a
standby as well."""
MAY_REPLICATE = (
    "SELECT (rolsuper OR rolreplication) AND current_setting('max_wal_senders') <> '0'"
    " FROM pg_catalog.pg_roles WHERE rolname = %s /* {0} by parts */"
)
EXECUTOR, UTILITY = "standard_ExecutorStart", "standard_ProcessUtility"

Proof = tuple[str, bool | None]
"""Name of a probed function, and whether it fired; None where this connection cannot tell."""


@dataclass(slots=True)
class Sightings:
    """What was seen of one canary. ``observe`` is for the thread that reads the probes, and may be
    called while another one asks ``proofs``."""

    functions: Sequence[str]
    """Those whose probes are to be proven."""
    token: str = field(default_factory=lambda: f"pgwarden canary {secrets.token_hex(8)}")
    pids: set[int] = field(default_factory=set)
    """Of its sessions, as the kernel of this host calls them."""
    name: str = ""
    """application_name of the session."""
    done: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)

    def observe(self, event: Event) -> None:
        backend = getattr(event, "backend", None)
        if backend is None or backend.pid not in self.pids:
            return
        self.seen.update(sign for sign, (_, _, tells) in SIGNS.items() if tells(self, event))

    def proofs(self) -> list[Proof]:
        """By function: all that must be seen of what was done has been seen."""
        found: list[Proof] = []
        for function in self.functions:
            signs = [
                sign for sign, (of, act, _) in SIGNS.items() if of == function and act in self.done
            ]
            found.append((function, self.seen.issuperset(signs) if signs else None))
        return found

    @property
    def complete(self) -> bool:
        return all(fired is not False for _, fired in self.proofs())

    def says(self, event: Event, what: str) -> bool:
        """It is the statement of ours that says so, told of as what the client sent."""
        if not isinstance(event, StatementsExecuted | StatementStarted):
            return False
        if isinstance(event, StatementStarted) and event.nested:
            return False
        return f"{self.token} {what}".encode() in event.text

    def says_inside(self, event: Event, verb: bytes) -> bool:
        return (
            isinstance(event, StatementStarted)
            and event.nested
            and event.text.startswith(verb)
            and self.token.encode() in event.text
        )


Sign = tuple[str, str, Callable[[Sightings, Event], bool]]
"""The function that proves itself by it, what must have been done for it, and how it is known."""
SIGNS: dict[str, Sign] = {
    "whole": ("PortalRun", "whole", lambda s, e: s.says(e, "whole")),
    "by parts": ("PortalRun", "by parts", lambda s, e: s.says(e, "by parts")),
    "answer": (
        "secure_write",
        "whole",
        lambda s, e: (
            isinstance(e, StatementsExecuted)
            or (isinstance(e, ResponseSent) and bool(e.completions))
        ),
    ),
    "name": (
        "pgstat_report_appname",
        "name",
        lambda s, e: isinstance(e, ApplicationNamed) and e.application_name == s.name,
    ),
    "call": (
        "HandleFunctionRequest",
        "call",
        lambda s, e: isinstance(e, StatementStarted) and e.protocol is Protocol.FASTPATH,
    ),
    "query inside": (EXECUTOR, "inside", lambda s, e: s.says_inside(e, b"SELECT")),
    "command inside": (UTILITY, "inside", lambda s, e: s.says_inside(e, b"UNLISTEN")),
    "replication": (
        "exec_replication_command",
        "replication",
        lambda s, e: isinstance(e, StatementStarted) and e.protocol is Protocol.REPLICATION,
    ),
    "end": ("sched_process_exit", "end", lambda s, e: isinstance(e, SessionEnded)),
}


def sing(
    sightings: Sightings, connect: Callable[..., Any], pid_here: Callable[[int], int] = int
) -> None:
    """Does everything there is a sign of; what this login cannot do is not in ``done`` afterwards.

    ``connect`` gives a psycopg connection in autocommit mode. ``pid_here``: the pid on this host by
    that in the server's own namespace. Raises what ``connect`` raises, and psycopg.Error where the
    connection breaks.
    """
    done, token = sightings.done, sightings.token
    may_replicate = False
    connection = connect()
    try:
        sightings.pids.add(pid_here(int(connection.info.backend_pid)))
        sightings.name = connection.info.parameter_status("application_name") or ""
        if _run(connection, f"SELECT 1 /* {token} whole */"):
            done.add("whole")
        user = connection.info.user
        if found := _run(connection, MAY_REPLICATE.format(token), (user,)):
            done.add("by parts")
            row = found.fetchone()
            may_replicate = bool(row and row[0])
        name = sql.SQL("SET application_name = {}").format(sightings.name)
        if _run(connection, name):
            done.add("name")
        if {EXECUTOR, UTILITY} & set(sightings.functions) and _run(
            connection, INSIDE.format(token)
        ):
            done.add("inside")
        if _call_function(connection):
            done.add("call")
        if connection.broken:
            raise psycopg.OperationalError("the server closed the connection")
    finally:
        connection.close()
    done.add("end")
    if may_replicate and _replicate(sightings, connect, pid_here):
        done.add("replication")


def prove(
    source: EbpfSource, connect: Callable[..., Any], pid_here: Callable[[int], int] = int
) -> list[Proof]:
    """Of a source that nobody else reads. Takes at most a few seconds. Events of other sessions go
    back to it; those of the canary are kept out of it. Raises what ``sing`` raises."""
    sightings = Sightings(source.telling())
    sing(sightings, connect, pid_here)
    others: list[Event] = []
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline and not sightings.complete:
        for event in source.poll(POLL_MS):
            backend = getattr(event, "backend", None)
            if backend is not None and backend.pid in sightings.pids:
                sightings.observe(event)
            else:
                others.append(event)
    source.hand_back(others)
    return sightings.proofs()


def _run(connection: Any, text: Any, values: tuple[object, ...] | None = None) -> Any:
    """None where it is refused: by a right, a rule, a language that is not there."""
    try:
        return connection.execute(text, values)
    except psycopg.Error:
        if connection.broken:
            raise
        return None


def _call_function(connection: Any) -> bool:
    """One fastpath call, written straight to the connection: libpq offers it to C programs only.

    False where the connection is encrypted, so that we cannot speak on it.
    """
    if connection.pgconn.ssl_in_use or connection.broken:
        return False
    message = FUNCTION_CALL.pack(b"F", FUNCTION_CALL.size - 1, PG_BACKEND_PID, 0, 0, 1)
    with socket.socket(fileno=_duplicate(connection.pgconn.socket)) as line:
        line.setblocking(True)
        line.settimeout(WAIT_SECONDS)
        answer = b""
        try:
            line.sendall(message)
            while READY not in answer[-6:]:
                answer += line.recv(4096) or READY
        except OSError:
            return False
    return True


def _duplicate(descriptor: int) -> int:
    return socket.dup(descriptor)


def _replicate(
    sightings: Sightings, connect: Callable[..., Any], pid_here: Callable[[int], int]
) -> bool:
    """One harmless command of replication; False where such a login is refused after all."""
    with suppress(psycopg.Error):
        connection = connect(replication="database")
        try:
            sightings.pids.add(pid_here(int(connection.info.backend_pid)))
            connection.pgconn.exec_(b"IDENTIFY_SYSTEM")
        finally:
            connection.close()
        return True
    return False
