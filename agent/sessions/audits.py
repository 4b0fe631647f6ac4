"""Which audit record belongs to which statement of a backend.

pgaudit writes a record before the statement ends, in the order of the backend's work, and gives
the records of one top-level statement one number.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from agent.sessions.execution import Execution, has_text, same_text
from model.event import AuditLogged
from model.session import Session
from model.statement import Source

_CLOCK_SLACK_NS = 250_000_000
"""Between the probe's clock and the log's, which are set from one another by estimate."""
_OUTER_COMMANDS = frozenset(("EXECUTE", "CALL", "DO"))
_SECOND_NS = 1_000_000_000


@dataclass(slots=True, eq=False)
class AuditGroup:
    """All records with one statement_id."""

    statement_id: int
    records: list[AuditLogged] = field(default_factory=list)
    """Those that no statement has taken yet."""
    root: Execution | None = None
    left: bool = False


def find(candidates: Iterable[Execution], record: AuditLogged) -> Execution | None:
    """The first statement with this text that ran when the record was written; if the clocks
    disagree, the first within their slack.
    """
    near = None
    for execution in candidates:
        if execution.audits or execution.left or not _may_be(execution, record):
            continue
        if _ran_at(execution, record.at_ns, 0):
            return execution
        if near is None and _ran_at(execution, record.at_ns, _CLOCK_SLACK_NS):
            near = execution
    return near


def _may_be(execution: Execution, record: AuditLogged) -> bool:
    if not has_text(record):
        return True
    in_full = execution.text_bytes <= len(execution.text)
    return same_text(record.text, execution.text, in_full)


def _ran_at(execution: Execution, at_ns: int, slack_ns: int) -> bool:
    # Log times are cut to milliseconds, or with %t to seconds.
    precision_ns = _SECOND_NS if at_ns % _SECOND_NS == 0 else 1_000_000
    if at_ns + precision_ns + slack_ns < execution.started_at_us * 1000:
        return False
    ended_at_us = execution.ended_at_us
    return not ended_at_us or at_ns - slack_ns <= ended_at_us * 1000 + 1000


def only_audited(id: int, session: Session, records: list[AuditLogged]) -> Execution:
    """A statement that no probe saw."""
    outer = next((record for record in records if record.command in _OUTER_COMMANDS), records[0])
    text = outer.text.encode("utf-8", "surrogateescape")
    return Execution(
        id=id,
        session=session,
        text=text,
        text_bytes=len(text),
        started_at_us=records[0].at_ns // 1000,
        source=Source.PGAUDIT,
        tag=outer.command,
        audits=records,
    )
