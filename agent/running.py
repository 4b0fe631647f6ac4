"""What sessions run at this moment, for whoever asks: read from the memory of their backends.

Nothing of it is recorded: a statement is on the record when it has ended. What leaves the host is
redacted as the record is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol

import orjson

from agent.discovery import PROC, Cluster
from agent.identity import Claims
from agent.shown import Shown
from agent.sources.records import POSTGRES_EPOCH_US
from agent.sources.running import OpenSession, UnreadableError
from agent.sql.reader import Parser
from model.session import BackendKey, Session
from model.statement import Shape
from protos.pgwarden.v1 import uplink_pb2 as pb

RUNNING = "running"
"""The command that asks for it; the answer is a JSON object in the result's message."""
PATIENCE_SECONDS = 5.0
MOST_STATEMENTS = 500
"""Those that run for longest; of the others the number is told."""
MOST_CHARACTERS = 2000
"""Of a redacted text."""
MOST_BYTES = 2 << 20
"""Of an answer: half of what a message may have."""
STOPPED = "Tt"

Found = tuple[Cluster, OpenSession, str]


class Looks(Protocol):
    def running(self) -> list[Found]: ...


class RunningStatements:
    """``run_soon``: on the thread to which the parser belongs. ``sessions``: those that live."""

    def __init__(
        self,
        source: Looks | None,
        parser: Parser,
        claims: Claims,
        shown: Shown,
        sessions: Callable[[], Iterable[Session]],
        run_soon: Callable[[Callable[[], None]], None],
        proc: Path = PROC,
    ) -> None:
        self._source = source
        self._parser = parser
        self._claims = claims
        self._shown = shown
        self._sessions = sessions
        self._run_soon = run_soon
        self._proc = proc

    def answer(self) -> pb.CommandResult:
        """From any thread but that of ``run_soon``."""
        if self._source is None:
            return _refused("no probes here: a statement is known once it has ended")
        try:
            found = self._source.running()
        except UnreadableError as error:
            return _refused(f"the memory of a server cannot be read: {error}")
        found.sort(key=_since_us)
        told: Future[list[dict[str, object]]] = Future()
        self._run_soon(lambda: self._tell(found[:MOST_STATEMENTS], told))
        try:
            rows = told.result(PATIENCE_SECONDS)
        except TimeoutError:
            return _failed(f"the agent is behind: no answer within {PATIENCE_SECONDS:g} s")
        except Exception as error:  # noqa: BLE001 - logged by the thread that had it
            # Not the error's own text: it may quote a statement.
            return _failed(f"what runs cannot be told ({type(error).__name__})")
        fitting = _fitting(rows)
        answer = {"rows": fitting, "more": len(found) - len(fitting)}
        return pb.CommandResult(outcome="done", message=orjson.dumps(answer).decode())

    def _tell(self, found: Sequence[Found], told: Future[list[dict[str, object]]]) -> None:
        try:
            texts = [one.asked[0] for _, one, _ in found]
            shapes = self._parser.shapes(texts, [one.asked[1] for _, one, _ in found])
            known = {session.key: session for session in self._sessions()}
            told.set_result(
                [self._row(one, shape, known) for one, shape in zip(found, shapes, strict=True)]
            )
        except Exception as error:  # who waits hears of it; the thread goes on
            told.set_exception(error)
            raise

    def _row(
        self, found: Found, shape: Shape, known: dict[BackendKey, Session]
    ) -> dict[str, object]:
        cluster, one, transaction = found
        text, text_bytes, _ = one.asked
        session = self._claims.session(_session(cluster, one, known), text)
        shape = self._shown(shape, text)
        return {
            "cluster": session.cluster,
            "pid": one.pid,
            "backend_started_at_us": session.key.started_at_us,
            "database": session.database,
            "user_name": session.user,
            "application_name": session.application_name,
            "client_address": session.client_address,
            "identity_kind": session.identity.kind,
            "identity_name": session.identity.name,
            "identity_confidence": session.identity.confidence,
            "identity_evidence": "; ".join(session.identity.evidence),
            "origin": str(session.origin),
            "started_at_us": _since_us(found) + POSTGRES_EPOCH_US,
            "state": self._state(one),
            "transaction": transaction,
            "parse_status": shape.status,
            "operation": shape.operation,
            "text": shape.redacted_text[:MOST_CHARACTERS],
            "text_bytes": text_bytes,
        }

    def _state(self, one: OpenSession) -> str:
        try:
            letter = (self._proc / str(one.pid) / "stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, IndexError):
            return "ended"
        if letter in STOPPED:
            return "held"
        return "executing" if one.running and one.running.executing else "preparing"


def _session(cluster: Cluster, one: OpenSession, known: dict[BackendKey, Session]) -> Session:
    key = BackendKey(one.pid, one.session_us + POSTGRES_EPOCH_US)
    return known.get(key) or Session(
        key,
        cluster=cluster.name,
        user=one.user,
        database=one.database,
        application_name=one.application_name,
        client_address=one.client_address,
        client_port=one.client_port,
    )


def _since_us(found: Found) -> int:
    return found[1].asked[2]


def _fitting(rows: Sequence[dict[str, object]]) -> Sequence[dict[str, object]]:
    """The first of them, as many as a message may have."""
    room = MOST_BYTES
    for number, row in enumerate(rows):
        room -= len(orjson.dumps(row))
        if room < 0:
            return rows[:number]
    return rows


def _failed(message: str) -> pb.CommandResult:
    return pb.CommandResult(outcome="failed", message=message)


def _refused(message: str) -> pb.CommandResult:
    return pb.CommandResult(outcome="refused", message=message)
