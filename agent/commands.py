"""What a collector may ask of an agent: decisions about approvals, a whole snapshot, what sessions
run now, which have ended, and an end to a statement or a session."""

from __future__ import annotations

import structlog

from agent.approvals.service import INSPECT, Approving
from agent.clusters import Clusters
from agent.ended import ENDED, EndedSessions
from agent.guard.actions import Actions
from agent.pipeline import Pipeline
from agent.recorder import Recorder
from agent.running import RUNNING, RunningStatements
from model.action import Action, ActionKind, ActionOutcome
from model.session import BackendKey, Session
from protos.pgwarden.v1 import uplink_pb2 as pb

log = structlog.get_logger(__name__)

SNAPSHOT = "snapshot"
"""The command that asks for a whole snapshot: a change came to a collector without its base."""
QUESTIONS = frozenset((RUNNING, ENDED, INSPECT))
"""Commands that change nothing, and whose answer may take seconds."""


class Commands:
    def __init__(
        self,
        actions: Actions,
        approving: Approving | None,
        clusters: Clusters,
        recorder: Recorder,
        pipeline: Pipeline,
        running: RunningStatements,
    ) -> None:
        self._actions = actions
        self._approving = approving
        self._clusters = clusters
        self._recorder = recorder
        self._pipeline = pipeline
        self._running = running
        self._ended = EndedSessions(lambda: pipeline.sessions, clusters.servers, clusters.processes)

    def obey(self, command: pb.Command) -> pb.CommandResult:
        if self._approving is not None and command.kind in self._approving.KINDS:
            return self._approving.obey(command)
        if command.kind == SNAPSHOT:
            known = self._clusters.resend(command.cluster, command.database)
            return pb.CommandResult(outcome="done" if known else "gone")
        if command.kind == RUNNING:
            return self._running.answer()
        if command.kind == ENDED:
            return self._ended.answer(command.unended)
        try:
            kind = ActionKind(command.kind)
        except ValueError:
            return pb.CommandResult(
                outcome="refused", message=f"this agent knows no {command.kind}"
            )
        return self._act(command, kind)

    def _act(self, command: pb.Command, kind: ActionKind) -> pb.CommandResult:
        key = BackendKey(command.pid, command.backend_started_at_us)
        action = Action(
            command.id, kind, key, command.cluster, command.reason, command.requested_by
        )
        session = self._session(key)
        result = self._actions.enforce(action)
        log.info("action", kind=kind.value, pid=key.pid, outcome=result.outcome.value)
        self._recorder.run_soon(lambda: self._pipeline.add_action(action, result, session))
        done = result.outcome is ActionOutcome.DONE
        message = result.message or (f"pid {key.pid}: {kind.value} sent" if done else "")
        return pb.CommandResult(outcome=result.outcome.value, message=message, at_us=result.at_us)

    def _session(self, key: BackendKey) -> Session:
        for session in self._pipeline.sessions:
            if session.key == key:
                return session
        return Session(key)
