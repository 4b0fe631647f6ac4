"""One statement between its start and the moment it leaves the tracker."""

from dataclasses import dataclass, field, replace

from agent.clock_steps import Step
from agent.sql.replication import is_replication_command
from model.event import (
    Asked,
    AuditLogged,
    Executed,
    Protocol,
    StatementsCounted,
    StatementsExecuted,
)
from model.session import Session
from model.statement import Audit, Source, Statement, StatementRun

_MAX_OBJECTS = 1000


@dataclass(slots=True, eq=False)
class Execution:
    id: int
    session: Session
    text: bytes
    text_bytes: int
    started_at_us: int
    protocol: Protocol = Protocol.QUERY
    parent: "Execution | None" = None
    children: list["Execution"] = field(default_factory=list)
    continues: "Execution | None" = None
    """The first slice of its portal, whose records are its own as well: pgaudit writes once."""
    source: Source = Source.EBPF
    ended_at_us: int = 0
    idle_at_us: int = 0
    """When no transaction was open for the last time: its portal was bound after that."""
    moved_us: int = 0
    """By how much the clock was set meanwhile: it did not run that long."""
    tag: str = ""
    rows: int = -1
    row_limit: int = 0
    preparation_us: int = -1
    transaction: str = ""
    executions: int = 1
    durations: tuple[int, ...] = ()
    bytes_sent: int = -1
    sqlstate: str = ""
    error_message: str = ""
    parameters: bytes = b""
    hold_id: int = 0
    round: int = 0
    number: int = 0
    """As in StatementStarted."""
    audits: list[AuditLogged] = field(default_factory=list)
    failed_early: bool = False
    """It failed before it started, so pgaudit had nothing to write."""
    empty: bool = False
    """The server found no statement in its text: it makes no row."""
    left: bool = False
    nested: bool = False
    """Found as such by the probes: how and when it ended nobody tells."""

    @property
    def root(self) -> "Execution":
        root = self
        while root.parent is not None:
            root = root.parent
        return root

    @property
    def _asked(self) -> Asked | None:
        root = self.root
        if root is not self:
            return Asked(root.text, root.number)
        return Asked(b"") if self.nested else None

    @property
    def _ran_us(self) -> int:
        return max(self.ended_at_us - self.started_at_us - self.moved_us, 0)

    def asked_before(self, step: Step, begun_us: int) -> None:
        """Where the clock was set between the client's message and this execution's start."""
        if not step.is_after(self.started_at_us) or step.is_after(begun_us):
            return
        self.moved_us += step.by_us
        if self.preparation_us >= 0:
            self.preparation_us = max(self.preparation_us - step.by_us, 0)

    def end(self, at_us: int, sqlstate: str = "", message: str = "") -> None:
        """SQL that a walsender is asked for passes for one of its commands until it runs."""
        if self.protocol is Protocol.REPLICATION and not is_replication_command(self.text):
            self.protocol = Protocol.QUERY
            self.empty = sqlstate == "00000" and bool(self.text or not self.text_bytes)
        self.ended_at_us = at_us
        self.sqlstate = sqlstate
        self.error_message = message

    def statement(self, session: Session) -> Statement:
        source = self.source
        if self.audits and source is Source.EBPF:
            source = Source.BOTH
        known_end = self.source is Source.EBPF and self.ended_at_us and not self.nested
        return Statement(
            id=self.id,
            # A session met in the middle of its life is known better by now.
            session=self.session if self.session.user else session,
            text=self.text,
            text_bytes=self.text_bytes,
            started_at_us=self.started_at_us,
            source=source,
            duration_us=self._ran_us if known_end else -1,
            rows=self.rows,
            bytes_sent=self.bytes_sent,
            tag=self.tag,
            sqlstate=self.sqlstate,
            error_message=self.error_message,
            protocol=self.protocol,
            parent_id=self.parent.id if self.parent else 0,
            preparation_us=self.preparation_us,
            transaction=self.transaction,
            executions=self.executions,
            durations=self.durations,
            parameters=self.parameters,
            hold_id=self.hold_id,
            number=self.number,
            asked=self._asked,
            audit=summary(self.audits, self.text, self.tag) if self.audits else None,
        )


def executed(id: int, session: Session, event: StatementsExecuted, one: Executed) -> Execution:
    """One of several that came together; it has ended."""
    execution = Execution(
        id=id,
        session=session,
        text=event.text,
        text_bytes=len(event.text),
        started_at_us=one.started_at_us,
        tag=event.tag,
        rows=one.rows,
        bytes_sent=one.bytes_sent,
        preparation_us=one.preparation_us,
        transaction=event.transaction,
        parameters=event.parameters,
    )
    execution.end(one.started_at_us + one.duration_us, "00000")
    return execution


def as_run(first_id: int, session: Session, event: StatementsExecuted) -> StatementRun:
    """All of them at once."""
    return StatementRun(
        first_id,
        session,
        event.text,
        event.tag,
        event.transaction,
        event.executions,
        parameters=event.parameters,
    )


def counted(id: int, session: Session, event: StatementsCounted) -> Execution:
    """Executions that the kernel counted, as one."""
    execution = Execution(
        id=id,
        session=session,
        text=event.text,
        text_bytes=len(event.text),
        started_at_us=event.first_at_us,
        rows=event.rows,
        bytes_sent=event.bytes_sent,
        executions=event.count,
        durations=event.durations,
    )
    execution.end(event.first_at_us + event.duration_us, "00000")
    return execution


def summary(records: list[AuditLogged], text: bytes, tag: str) -> Audit:
    """The records of one statement as one Audit.

    CREATE TABLE AS leaves SELECT, then CREATE TABLE AS; a serial column CREATE SEQUENCE and CREATE
    TABLE, ALTER SEQUENCE with one number: the last number tells most, and then the tag.
    """
    own = [record for record in records if _is_own(record, text)] or records[:1]
    last = max(record.substatement_id for record in own)
    outer = [record for record in own if record.substatement_id == last]
    chosen = next((r for r in outer if tag and tag.startswith(r.command)), outer[0])
    objects = dict.fromkeys(
        f"{record.object_type.lower()}:{record.object_name}"
        for record in records
        if record.object_name
    )
    return Audit(chosen.audit_class, chosen.command, tuple(objects)[:_MAX_OBJECTS])


_REDACTED = b" <REDACTED>"
_NO_TEXT = ("<not logged>", "<previously logged>")
_CUT_BYTES = 1 << 16
_LONG_CHARS = 512
_OWN_TEXT = "<that of its statement>"
"""Known by identity: no log line gives it."""


def without_copy(record: AuditLogged, text: bytes) -> AuditLogged:
    """The record of a statement with this text, which need not be kept twice if it is long."""
    if len(record.text) < _LONG_CHARS or not has_this_text(record, text):
        return record
    return replace(record, text=_OWN_TEXT)


def shortened(record: AuditLogged, chars: int) -> AuditLogged:
    kept = record.text[:chars]
    missing_bytes = record.missing_bytes + _bytes_of(record.text) - _bytes_of(kept)
    return replace(record, text=kept, missing_bytes=missing_bytes)


def _bytes_of(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))


def _is_own(record: AuditLogged, text: bytes) -> bool:
    return record.text is _OWN_TEXT or has_this_text(record, text)


def has_text(record: AuditLogged) -> bool:
    return record.text not in _NO_TEXT


def has_this_text(record: AuditLogged, captured: bytes, captured_in_full: bool = True) -> bool:
    """pgaudit's text against the one captured. Either may be cut: the log by the tail's bound or to
    save memory, the other by the probe's; and pgaudit ends a text with a password at that word.
    """
    text = record.text.encode("utf-8", "surrogateescape")
    if text == captured:
        return True
    if not captured_in_full and text.startswith(captured):
        return True
    if text.endswith(_REDACTED) and captured.startswith(text.removesuffix(_REDACTED)):
        return True
    return (record.missing_bytes > 0 or len(text) >= _CUT_BYTES) and captured.startswith(text)
