"""Approvals of one agent, put together: the grants, the catalog, and who is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from agent.approvals import clock
from agent.approvals.binding import Approvals
from agent.approvals.catalog import ApprovalCatalog, CatalogUnreachableError
from agent.approvals.desk import Desk
from agent.approvals.eyes import Eyes
from agent.approvals.requests import Requests
from agent.approvals.store import ApprovalStore, ApprovalStoreError
from agent.clusters import Clusters
from agent.discovery import pid_at_server
from agent.guard.hold import Settled
from agent.wire.approvals import grants_from_wire
from config import AgentConfig
from model.approval import ApprovalStep, Grant
from model.session import BackendKey, Session
from model.statement import Shape, Statement
from protos.pgwarden.v1 import uplink_pb2 as pb

if TYPE_CHECKING:
    from agent.pipeline import Pipeline
    from agent.recorder import Recorder

MOST_ANSWER_BYTES = 256 * 1024
INSPECT = "inspect"
"""The command that asks what a statement's relations are."""


class Approving:
    """Where the store cannot be opened nothing can be approved, and every refusal stays one."""

    KINDS = frozenset(("grants", INSPECT))

    def __init__(
        self,
        config: AgentConfig,
        clusters: Clusters,
        session: Callable[[BackendKey], Session],
    ) -> None:
        self._name = config.name
        self._clusters = clusters
        self._recorder: Recorder | None = None
        self._pipeline: Pipeline | None = None
        self._asks_catalog = config.catalog.enabled
        self._catalog = ApprovalCatalog(clusters.connect_to)
        self._desk: Desk | None = None
        self._store: ApprovalStore | None = None
        self._problem = ""
        self.binding: Approvals | None = None
        if not config.approvals.enabled:
            return
        try:
            self._store = ApprovalStore(config.state_dir / "approvals.db")
            open_transactions = self._catalog.open_transactions
            self._desk = Desk(
                self._store,
                Eyes(self._look, open_transactions, pid_at_server),
                session,
                self._hand,
                self._told_anew,
            )
        except ApprovalStoreError as error:
            self._problem = f"nothing can be approved: {error}"
            return
        full_text = config.approvals.full_text or config.send_full_text
        self._requests = Requests(self._desk.bound, full_text=full_text)
        self.binding = Approvals(config.name, self._desk)

    def start(self, recorder: Recorder, pipeline: Pipeline) -> None:
        self._recorder, self._pipeline = recorder, pipeline
        if self._desk is not None:
            self._desk.start()

    def ask_to_stop(self) -> None:
        """Never waits."""
        if self._desk is not None:
            self._desk.ask_to_stop()

    def stop(self, timeout_seconds: float) -> None:
        if self._desk is not None:
            self._desk.stop(timeout_seconds)
        self._catalog.close()

    def close(self) -> None:
        if self._store is not None:
            self._store.close()

    def problems(self) -> list[str]:
        return [each for each in (self._problem, self._desk and self._desk.problem) if each]

    def passed(self, backend: BackendKey, text: bytes) -> None:
        if self._desk is not None:
            self._desk.passed(backend, text)

    def request_of(
        self, statement: Statement, shape: Shape, rule: str, settled: Settled
    ) -> ApprovalStep | None:
        """On the recorder's thread."""
        if self._desk is None:
            return None
        return self._requests.refused(statement, shape, rule, settled)

    def obey(self, command: pb.Command) -> pb.CommandResult:
        if self._desk is None:
            return pb.CommandResult(outcome="refused", message=self._problem or "switched off")
        if command.kind == INSPECT:
            return self._inspect(command)
        try:
            told = self._desk.accept(grants_from_wire(command.grants, self._name, clock.now()))
        except ApprovalStoreError as error:
            return pb.CommandResult(outcome="failed", message=str(error))
        return pb.CommandResult(outcome="done", message=told)

    def _inspect(self, command: pb.Command) -> pb.CommandResult:
        if not self._asks_catalog:
            return pb.CommandResult(outcome="refused", message="agent.catalog is switched off")
        asked = command.inspect
        try:
            found = self._catalog.inspect(command.cluster, asked.database, asked.relations)
        except CatalogUnreachableError as error:
            return pb.CommandResult(outcome="failed", message=str(error))
        answer = json.dumps(found)
        if len(answer) > MOST_ANSWER_BYTES:
            return pb.CommandResult(outcome="failed", message="too many relations and dependants")
        return pb.CommandResult(outcome="done", message=answer)

    def _look(self, grant: Grant) -> str:
        return self._catalog.fingerprint(grant) if self._asks_catalog else ""

    def _hand(self, step: ApprovalStep) -> None:
        recorder, pipeline = self._recorder, self._pipeline
        if recorder is not None and pipeline is not None:
            recorder.run_soon(lambda: pipeline.add_approval(step))

    def _told_anew(self, request: str) -> None:
        if self._recorder is not None:
            self._recorder.run_soon(lambda: self._requests.forget(request))
