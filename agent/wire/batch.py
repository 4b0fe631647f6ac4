"""Facts of this host in the words of the wire: model values to columnar, interned batches.

Only redacted text passes here: a Statement's ``text`` is never read. A payload is a serialized
``Batch`` without its epoch and sequence; the spool numbers it, and ``to_wire`` puts the number on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from google.protobuf.message import Message

from agent.digests import Seal, unsealed
from agent.wire.approvals import approval_to_wire
from agent.wire.catalog import snapshots_to_wire
from agent.wire.columns import (
    ROW_BYTES,
    SESSION_ROW_BYTES,
    BulkRows,
    KnownNames,
    Names,
    PriorityRows,
    session_names,
    statement_names,
)
from agent.wire.messages import (
    loss_to_wire,
    rules_change_to_wire,
    varint,
    verdict_to_wire,
)
from model.approval import ApprovalStep
from model.catalog import Snapshot
from model.event import Lost
from model.rules_change import RulesChange
from model.session import Session
from model.statement import Shape, Statement, StatementRun
from model.verdict import Verdict
from protos.pgwarden.v1 import uplink_pb2 as pb

MAX_PAYLOAD_BYTES = 3 * 1024 * 1024 + 512 * 1024
"""gRPC refuses messages over 4 MiB; the rest is room for the envelope."""
UNBOUNDED = 1 << 62
MAX_RUN_ROWS = 4096
"""Of a run in one batch: less than a third of its bytes."""


@dataclass(frozen=True, slots=True)
class Payload:
    """One batch on its way to the spool. ``priority`` batches have reserved room there."""

    body: bytes = field(repr=False)
    counts: Mapping[str, int]
    """Rows by kind: statements, sessions, verdicts, losses, snapshots, approvals."""
    priority: bool = False
    folded: int = 0
    """Executions without a row of their own: they were counted together with another one."""
    urgent: int = 0
    """Of all executions in it, those that have reserved room."""

    @property
    def rows(self) -> int:
        return sum(self.counts.values())

    @property
    def facts(self) -> int:
        """All that would be lost with it."""
        return self.rows + self.folded


def to_wire(body: bytes, epoch: int, sequence: int) -> bytes:
    """A serialized AgentMessage. Protobuf merges concatenated messages, so nothing is copied twice.

    The number comes first: a collector that cannot decode the rest can still say which batch it is.
    """
    numbered = pb.Batch(epoch=epoch, sequence=sequence).SerializeToString() + body
    return b"\x12" + varint(len(numbered)) + numbered  # field 2 of AgentMessage


class BatchBuilder:
    """Collects rows and seals a batch before it would pass ``limit_bytes``.

    Bulk rows (statements, sessions) and priority rows (verdicts, losses, snapshots) go into
    separate batches, so a full spool can refuse the first and still take the second. Urgent
    statements are bulk rows as well, up to so many bytes of them as ``mix`` says; beyond it they go
    into priority batches of their own.
    """

    def __init__(self, limit_bytes: int = MAX_PAYLOAD_BYTES, seal: Seal = unsealed) -> None:
        """``seal``: what leaves the host in the place of a text's digest."""
        self._limit = limit_bytes
        self._seal = seal
        self._names = KnownNames()
        self._bulk = BulkRows(self._seal)
        self._urgent = BulkRows(self._seal)
        self._priority = PriorityRows()
        self._sealed: list[Payload] = []
        self._mixed_bytes = UNBOUNDED
        self._parting = False

    @property
    def rows(self) -> int:
        """Rows that ``take`` would hand out."""
        building = self._bulk.rows + self._urgent.rows + self._priority.rows
        return building + sum(p.rows for p in self._sealed)

    @property
    def size_bytes(self) -> int:
        """An upper bound of what is collected."""
        sealed = sum(len(payload.body) for payload in self._sealed)
        return self._bulk.bytes + self._urgent.bytes + self._priority.bytes + sealed

    def add(
        self,
        statement: Statement,
        shape: Shape,
        error_message: str = "",
        rule: str = "",
        parameters: str = "",
        *,
        urgent: bool = False,
    ) -> None:
        """``error_message`` must be redacted already; ``rule``: id of the rule that decided;
        ``parameters``: what of them is shown; ``urgent``: it has reserved room."""
        texts = statement_names(statement, error_message, rule, parameters)
        names = self._names.of(texts, statement.session)
        rows = self._rows_for(ROW_BYTES, names, shape, urgent)
        rows.add_statement(statement, shape, names)
        rows.count(1, statement.executions, urgent)

    def add_run(
        self, run: StatementRun, shape: Shape, parameters: str = "", *, urgent: bool = False
    ) -> None:
        """Its rows, in as many batches as they need."""
        names = self._names.of_run(run, parameters)
        total, first = len(run.executions), 0
        while first < total:
            count = min(total - first, MAX_RUN_ROWS)
            rows = self._rows_for(ROW_BYTES * count, names, shape, urgent)
            rows.add_run(run, first, count, shape, names)
            rows.count(count, count, urgent)
            first += count

    def add_session(self, session: Session, seen_at_us: int) -> None:
        names = self._names.of(session_names(session), session)
        rows = self._rows_for(SESSION_ROW_BYTES, names, None, urgent=False)
        rows.add_session(session, seen_at_us, names)

    def add_verdict(self, verdict: Verdict, session: Session, redacted_text: str) -> None:
        self._add_priority("verdicts", verdict_to_wire(verdict, session, redacted_text, self._seal))

    def add_rules_change(self, change: RulesChange) -> None:
        self._add_priority("rules_changes", rules_change_to_wire(change))

    def add_approval(self, step: ApprovalStep) -> None:
        self._add_priority("approvals", approval_to_wire(step))

    def add_loss(self, lost: Lost) -> None:
        self._add_priority("losses", loss_to_wire(lost))

    def add_snapshot(self, snapshot: Snapshot) -> None:
        """In as many messages as it needs; an item that was cut is counted as a loss."""
        wire = snapshots_to_wire(snapshot, self._limit // 2)
        for message in wire.messages:
            self._add_priority("snapshots", message)
        if wire.cut:
            self.add_loss(Lost(snapshot.at_us * 1000, "catalog", "item_cut", wire.cut))

    def mix(self, upto_bytes: int) -> None:
        """So much of what is collected from now on is sure to be kept, whatever its class."""
        self._mixed_bytes, self._parting = upto_bytes, False

    def take(self) -> list[Payload]:
        """Everything collected so far, each at most ``limit_bytes``; the builder is empty after."""
        # The end of an urgent statement's transaction is urgent, what began it need not be.
        self._seal_bulk()
        self._seal_urgent()
        self._seal_priority()
        sealed, self._sealed = self._sealed, []
        self._names = KnownNames()
        return sealed

    def _add_priority(self, kind: str, message: Message) -> None:
        size = message.ByteSize() + 6
        if self._priority.bytes + size > self._limit:
            self._seal_priority()
        self._priority.add(kind, message, size)

    def _rows_for(self, size: int, names: Names, shape: Shape | None, urgent: bool) -> BulkRows:
        """Where there is room for so many bytes."""
        apart = urgent and self._parting
        rows = self._urgent if apart else self._bulk
        filled = rows.bytes_with(size, names, shape)
        if not self._parting and filled > self._mixed_bytes:
            self._part()
            return self._rows_for(size, names, shape, urgent)
        if filled <= self._limit or not rows.rows:  # the first one always has room
            return rows
        self._seal_urgent() if apart else self._seal_bulk()
        return self._urgent if apart else self._bulk

    def _part(self) -> None:
        """What is mixed has come to its end: nothing may make it too large to be kept."""
        self._seal_bulk()
        self._parting = True

    def _seal_bulk(self) -> None:
        if self._bulk.rows:
            self._mixed_bytes -= self._bulk.bytes
            self._sealed.append(_sealed(self._bulk))
            self._bulk = BulkRows(self._seal)

    def _seal_urgent(self) -> None:
        if self._urgent.rows:
            self._sealed.append(_sealed(self._urgent, priority=True))
            self._urgent = BulkRows(self._seal)

    def _seal_priority(self) -> None:
        if self._priority.rows:
            self._sealed.append(Payload(*self._priority.seal(), priority=True))
            self._priority = PriorityRows()


def _sealed(rows: BulkRows, priority: bool = False) -> Payload:
    return Payload(*rows.seal(), priority, rows.folded, rows.urgent)
