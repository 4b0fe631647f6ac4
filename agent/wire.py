"""Facts of this host in the words of the wire: model values to columnar, interned batches.

Only redacted text passes here: a Statement's ``text`` is never read. A payload is a serialized
``Batch`` without its epoch and sequence; the spool numbers it, and ``to_wire`` puts the number on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from google.protobuf.message import Message

from agent.wire_columns import (
    ROW_BYTES,
    SESSION_ROW_BYTES,
    BulkRows,
    PriorityRows,
    session_names,
    statement_names,
)
from agent.wire_messages import loss_to_wire, snapshots_to_wire, verdict_to_wire
from model.catalog import Snapshot
from model.event import Lost
from model.session import Session
from model.statement import Shape, Statement, StatementRun
from model.verdict import Verdict
from protos.pgwarden.v1 import uplink_pb2 as pb

MAX_PAYLOAD_BYTES = 3 * 1024 * 1024 + 512 * 1024
"""gRPC refuses messages over 4 MiB; the rest is room for the envelope."""
MAX_RUN_ROWS = 4096
"""Of a run in one batch: less than a third of its bytes."""


@dataclass(frozen=True, slots=True)
class Payload:
    """One batch on its way to the spool. ``priority`` batches have reserved room there."""

    body: bytes = field(repr=False)
    counts: Mapping[str, int]
    """Rows by kind: statements, sessions, verdicts, losses, snapshots."""
    priority: bool = False

    @property
    def rows(self) -> int:
        return sum(self.counts.values())


def to_wire(body: bytes, epoch: int, sequence: int) -> bytes:
    """A serialized AgentMessage. Protobuf merges concatenated messages, so nothing is copied twice.

    The number comes first: a collector that cannot decode the rest can still say which batch it is.
    """
    numbered = pb.Batch(epoch=epoch, sequence=sequence).SerializeToString() + body
    return b"\x12" + _varint(len(numbered)) + numbered  # field 2 of AgentMessage


class BatchBuilder:
    """Collects rows and seals a batch before it would pass ``limit_bytes``.

    Bulk rows (statements, sessions) and priority rows (verdicts, losses, snapshots) go into
    separate batches, so a full spool can refuse the first and still take the second.
    """

    def __init__(self, limit_bytes: int = MAX_PAYLOAD_BYTES) -> None:
        self._limit = limit_bytes
        self._bulk = BulkRows()
        self._priority = PriorityRows()
        self._sealed: list[Payload] = []

    @property
    def rows(self) -> int:
        """Rows that ``take`` would hand out."""
        return self._bulk.rows + self._priority.rows + sum(p.rows for p in self._sealed)

    @property
    def size_bytes(self) -> int:
        """An upper bound of what is collected."""
        sealed = sum(len(payload.body) for payload in self._sealed)
        return self._bulk.bytes + self._priority.bytes + sealed

    def add(
        self,
        statement: Statement,
        shape: Shape,
        error_message: str = "",
        rule: str = "",
        parameters: str = "",
    ) -> None:
        """``error_message`` must be redacted already; ``rule``: id of the rule that decided;
        ``parameters``: what of them is shown."""
        names = statement_names(statement, error_message, rule, parameters)
        if not self._bulk.fits(ROW_BYTES, names, shape, self._limit):
            self._seal_bulk()
        self._bulk.add_statement(statement, shape, names)

    def add_run(self, run: StatementRun, shape: Shape, parameters: str = "") -> None:
        """Its rows, in as many batches as they need."""
        names = statement_names(run, parameters=parameters)
        total, first = len(run.executions), 0
        while first < total:
            count = min(total - first, MAX_RUN_ROWS)
            if not self._bulk.fits(ROW_BYTES * count, names, shape, self._limit):
                self._seal_bulk()
            self._bulk.add_run(run, first, count, shape, names)
            first += count

    def add_session(self, session: Session, seen_at_us: int) -> None:
        names = session_names(session)
        if not self._bulk.fits(SESSION_ROW_BYTES, names, None, self._limit):
            self._seal_bulk()
        self._bulk.add_session(session, seen_at_us, names)

    def add_verdict(self, verdict: Verdict, session: Session, redacted_text: str) -> None:
        self._add_priority("verdicts", verdict_to_wire(verdict, session, redacted_text))

    def add_loss(self, lost: Lost) -> None:
        self._add_priority("losses", loss_to_wire(lost))

    def add_snapshot(self, snapshot: Snapshot) -> None:
        """One message where it fits, else one for each kind.

        A kind too large even alone is sent in parts that name no kind: its items are recorded,
        and nobody takes a part for the whole. That is counted as a loss.
        """
        for message, partial in snapshots_to_wire(snapshot, self._limit // 2):
            self._add_priority("snapshots", message)
            if partial:
                self.add_loss(Lost(snapshot.at_us * 1000, "catalog", "snapshot_over_limit", 1))

    def take(self) -> list[Payload]:
        """Everything collected so far, each at most ``limit_bytes``; the builder is empty after."""
        self._seal_bulk()
        self._seal_priority()
        sealed, self._sealed = self._sealed, []
        return sealed

    def _add_priority(self, kind: str, message: Message) -> None:
        size = message.ByteSize() + 6
        if self._priority.bytes + size > self._limit:
            self._seal_priority()
        self._priority.add(kind, message, size)

    def _seal_bulk(self) -> None:
        if self._bulk.rows:
            self._sealed.append(Payload(*self._bulk.seal()))
            self._bulk = BulkRows()

    def _seal_priority(self) -> None:
        if self._priority.rows:
            self._sealed.append(Payload(*self._priority.seal(), priority=True))
            self._priority = PriorityRows()


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
