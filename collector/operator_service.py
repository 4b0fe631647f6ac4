"""The Operator service: what the command line asks of a running collector."""

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import grpc
import orjson
import polars as pl

from collector import schema
from collector.access.door import Door
from collector.commands import Agents
from collector.drift.accepting import AmbiguousFindingError, Only
from collector.finding_feedback import FeedbackError, FindingFeedback
from collector.peers import common_name
from collector.running import ANSWER_SECONDS, RUNNING, running_rows
from collector.segments import Committed
from collector.sessions import LiveSessions
from collector.store import frame_of
from protos.pgwarden.v1 import operator_pb2 as pb
from protos.pgwarden.v1 import operator_pb2_grpc, uplink_pb2

TAIL_ROWS = 10_000
"""Rows that wait for one slow reader of Tail; more are dropped and counted in its stream."""

_KINDS = {
    "statements": "statement",
    "sessions": "session",
    "verdicts": "verdict",
    "findings": "finding",
    "alerts": "alert",
    "drift": "drift",
    "approvals": "approval",
    "losses": "loss",
}


class DriftHandler(Protocol):
    """What compares the catalog with the accepted baseline."""

    def status(self) -> "DriftState": ...

    def failing(self, agent: str) -> list[str]:
        """What of this agent's could not be compared."""
        ...

    def accept(self, by: str, reason: str, only: Only | None = None) -> int:
        """Take what is now as the baseline; returns the number of items, or of differences where
        ``only`` some are accepted. Raises AmbiguousFindingError."""
        ...


class DriftState(Protocol):
    @property
    def has_baseline(self) -> bool: ...
    @property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """With the columns of view ``drift``; times as microseconds or datetimes."""
        ...

    @property
    def accepted_by(self) -> str: ...
    @property
    def accepted_at_us(self) -> int: ...
    @property
    def ignored(self) -> Sequence[Mapping[str, Any]]: ...
    @property
    def problems(self) -> Sequence[str]: ...


class Tails:
    """Those who watch rows arrive. ``publish`` never waits for them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers: list[_Reader] = []
        self.dropped = 0

    def publish(self, committed: Committed) -> None:
        """Called after each commit."""
        with self._lock:
            readers = list(self._readers)
        if not readers:
            return
        for table, frame in committed.frames.items():
            kind = _KINDS.get(table)
            wanted = [reader for reader in readers if kind and reader.wants(kind)]
            if wanted and kind:
                # More than a reader can hold would be dropped anyway: do not format it.
                kept = frame.head(TAIL_ROWS)
                items = [pb.TailItem(kind=kind, row_json=row) for row in rows_json(kept)]
                for reader in wanted:
                    self.dropped += reader.offer(items, frame.height - kept.height)

    def open(self, kinds: Sequence[str]) -> "_Reader":
        reader = _Reader(frozenset(kinds))
        with self._lock:
            self._readers.append(reader)
        return reader

    def close(self, reader: "_Reader") -> None:
        with self._lock:
            self._readers.remove(reader)


class _Reader:
    def __init__(self, kinds: frozenset[str]) -> None:
        self._kinds = kinds
        self._items: queue.Queue[pb.TailItem | None] = queue.Queue(TAIL_ROWS)
        self._dropped = 0

    def wants(self, kind: str) -> bool:
        return not self._kinds or kind in self._kinds

    def offer(self, items: list[pb.TailItem], dropped: int) -> int:
        """Queue what there is room for; returns how many were dropped."""
        for item in items:
            try:
                self._items.put_nowait(item)
            except queue.Full:
                dropped += 1
        self._dropped += dropped
        return dropped

    def next(self, timeout_seconds: float) -> pb.TailItem | None:
        """The next row, or a ``loss`` row when some were dropped before it."""
        dropped, self._dropped = self._dropped, 0
        if dropped:
            loss = {
                "occurred_at": _iso_now(),
                "agent": "",
                "source": "tail",
                "reason": "slow_reader",
            }
            return pb.TailItem(kind="loss", row_json=json.dumps({**loss, "count": dropped}))
        try:
            return self._items.get(timeout=timeout_seconds)
        except queue.Empty:
            return None


class OperatorService(operator_pb2_grpc.OperatorServicer):
    """For whom ``door`` admits: who runs the collector, and tokens by their role."""

    def __init__(
        self,
        agents: Agents,
        sessions: LiveSessions,
        tails: Tails,
        drift: DriftHandler | None = None,
        door: Door | None = None,
        feedback: FindingFeedback | None = None,
        note_change: Callable[..., None] = lambda *_, **__: None,
        not_kept: Callable[[str], list[str]] = lambda agent: [],
    ) -> None:
        """``note_change``: see ``Store.note_change``; ``not_kept``: of an agent's requests."""
        self._door = door or Door()
        self._feedback = feedback
        self._agents = agents
        self._sessions = sessions
        self._tails = tails
        self._drift = drift
        self._note_change = note_change
        self._not_kept = not_kept

    def Tail(  # noqa: N802 - gRPC's name
        self, request: pb.TailRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.TailItem]:
        caller = self._door.admit(context, "Operator.Tail")
        unknown = set(request.kinds) - set(_KINDS.values())
        if unknown:
            known = ", ".join(_KINDS.values())
            message = f"no kind {', '.join(sorted(unknown))}; there are {known}"
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, message)
        reader = self._tails.open(request.kinds)
        try:
            # The headers now: a client can wait for them and then know that it misses nothing.
            context.send_initial_metadata(())
            while context.is_active():
                if not self._door.still(caller):
                    context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token is good no longer")
                item = reader.next(0.5)
                if item is not None:
                    yield item
        finally:
            self._tails.close(reader)

    def Agents(self, request: pb.AgentsRequest, context: grpc.ServicerContext) -> pb.AgentsReply:  # noqa: N802
        self._door.admit(context, "Operator.Agents")
        twins = self._agents.twins()
        return pb.AgentsReply(
            agents=[
                pb.Agent(
                    agent=state.hello.agent,
                    connected=state.connected,
                    last_seen_us=state.last_seen_us,
                    version=state.hello.version,
                    capture=state.status.capture,
                    guard_mode=state.status.guard_mode,
                    spool_batches=state.status.spool_batches,
                    acked_sequence=state.acked_sequence,
                    degraded=[
                        *filter(None, [twins.get(state.hello.agent)]),
                        *state.status.degraded,
                        *self._not_compared(state.hello.agent),
                        *self._not_kept(state.hello.agent),
                    ],
                    rules_digest=state.status.rules_digest,
                    rules_version=state.status.rules_version,
                )
                for state in self._agents.states()
            ]
        )

    def RetireAgent(  # noqa: N802
        self, request: pb.RetireAgentRequest, context: grpc.ServicerContext
    ) -> pb.RetireAgentReply:
        caller = self._door.admit(context, "Operator.RetireAgent")
        refused = self._agents.retire(request.agent)
        if refused:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, refused)
        by = caller.known_as((request.requested_by,))
        self._note_change("agent_retired", agent=request.agent, by=by, reason=request.reason)
        return pb.RetireAgentReply()

    def _not_compared(self, agent: str) -> list[str]:
        return self._drift.failing(agent) if self._drift is not None else []

    def Sessions(  # noqa: N802
        self, request: pb.SessionsRequest, context: grpc.ServicerContext
    ) -> pb.SessionsReply:
        self._door.admit(context, "Operator.Sessions")
        if request.running:
            answers = self._agents.ask_all(RUNNING, ANSWER_SECONDS)
            rows, problems = running_rows(answers)
            return pb.SessionsReply(
                rows_json=[orjson.dumps(row).decode() for row in rows], problems=problems
            )
        return pb.SessionsReply(rows_json=rows_json(self._sessions.frame()))

    def Act(self, request: pb.ActRequest, context: grpc.ServicerContext) -> pb.ActReply:  # noqa: N802
        caller = self._door.admit(context, "Operator.Act")
        if request.kind not in ("cancel", "terminate"):
            message = f"no action {request.kind!r}; there are cancel and terminate"
            return pb.ActReply(outcome="refused", message=message)
        found = self._sessions.find(request.pid, request.agent, request.backend_started_at_us)
        if not found:
            return pb.ActReply(outcome="gone", message=f"no live session with pid {request.pid}")
        if len(found) > 1:
            places = ", ".join(f"{row['agent']} ({row['cluster']})" for row in found)
            message = f"pid {request.pid} lives on several hosts: name the agent: {places}"
            return pb.ActReply(outcome="refused", message=message)
        session = found[0]
        command = uplink_pb2.Command(
            kind=request.kind,
            cluster=session["cluster"],
            pid=request.pid,
            backend_started_at_us=session["backend_started_at_us"],
            reason=request.reason,
            requested_by=caller.known_as((request.requested_by,)),
        )
        result = self._agents.order(session["agent"], command)
        return pb.ActReply(outcome=result.outcome, message=result.message)

    def DriftStatus(  # noqa: N802
        self, request: pb.DriftStatusRequest, context: grpc.ServicerContext
    ) -> pb.DriftStatusReply:
        self._door.admit(context, "Operator.DriftStatus")
        state = self._drift_handler(context).status()
        return pb.DriftStatusReply(
            has_baseline=state.has_baseline,
            rows_json=rows_json(frame_of("drift", state.rows)),
            accepted_by=state.accepted_by,
            accepted_at_us=state.accepted_at_us,
            ignored_json=[orjson.dumps(row).decode() for row in state.ignored],
            problems=state.problems,
        )

    def DriftAccept(  # noqa: N802
        self, request: pb.DriftAcceptRequest, context: grpc.ServicerContext
    ) -> pb.DriftAcceptReply:
        caller = self._door.admit(context, "Operator.DriftAccept")
        only = Only(request.kind, request.name, request.finding_id)
        handler = self._drift_handler(context)
        by = caller.known_as((request.accepted_by,))
        try:
            items = handler.accept(by, request.reason, only if only else None)
        except AmbiguousFindingError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        return pb.DriftAcceptReply(items=items)

    def JudgeFinding(  # noqa: N802
        self, request: pb.JudgeFindingRequest, context: grpc.ServicerContext
    ) -> pb.JudgeFindingReply:
        caller = self._door.admit(context, "Operator.JudgeFinding")
        handler = self._feedback_handler(context)
        by = caller.name or common_name(context) or caller.known_as(request.accounts)
        try:
            judged = handler.judge(request.finding_id, request.opinion, request.because, by)
        except FeedbackError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        return pb.JudgeFindingReply(
            finding_id=judged.finding_id,
            by=by,
            detector=judged.detector,
            identity=judged.identity,
            object=judged.object,
            moved_before=judged.moved_before,
            moved_after=judged.moved_after,
        )

    def Thresholds(  # noqa: N802
        self, request: pb.ThresholdsRequest, context: grpc.ServicerContext
    ) -> pb.ThresholdsReply:
        self._door.admit(context, "Operator.Thresholds")
        try:
            found = self._feedback_handler(context).thresholds()
        except FeedbackError as error:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, str(error))
        return pb.ThresholdsReply(thresholds_json=orjson.dumps(found).decode())

    def _feedback_handler(self, context: grpc.ServicerContext) -> FindingFeedback:
        if self._feedback is None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "this collector takes no feedback")
        return self._feedback

    def _drift_handler(self, context: grpc.ServicerContext) -> DriftHandler:
        if self._drift is None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "drift is switched off in this collector")
        return self._drift


def rows_json(frame: pl.DataFrame) -> list[str]:
    """One JSON object a row; times as ISO 8601 in UTC with a trailing Z."""
    times = [name for name, dtype in frame.schema.items() if dtype == schema.TIME]
    text = frame.with_columns(pl.col(times).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")).write_ndjson()
    return text.split("\n")[:-1]  # not splitlines: U+2028 may stand in a value


def _iso_now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + ".000000Z"
