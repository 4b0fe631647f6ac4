"""Which audit record belongs to which statement of a backend.

pgaudit writes a record before the statement ends, in the order of the backend's work, and gives
the records of one top-level statement one number.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeAlias

from agent.sessions.execution import Execution, has_text, same_text
from model.event import AuditLogged
from model.session import Session
from model.statement import Source

_CLOCK_SLACK_NS = 250_000_000
"""Between the probe's clock and the log's, which are set from one another by estimate."""
_LOOSE_LOOK = 100
"""Waiting records that a statement is compared with at most, so that a backend whose statements
the probe does not see costs no more than that.
"""
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


Found: TypeAlias = tuple[AuditGroup, Execution, AuditLogged]


def find(candidates: Iterable[Execution], record: AuditLogged) -> Execution | None:
    """The first statement with this text that ran when the record was written."""
    for execution in candidates:
        if _free(execution, record) and _ran_at(execution, record.at_ns, 0):
            return execution
    return None


def nearly(candidates: Iterable[Execution], record: AuditLogged) -> Execution | None:
    """As ``find``; failing that, the first within what the clocks may differ."""
    near = None
    for execution in candidates:
        if not _free(execution, record):
            continue
        if _ran_at(execution, record.at_ns, 0):
            return execution
        if near is None and _ran_at(execution, record.at_ns, _CLOCK_SLACK_NS):
            near = execution
    return near


def within(root: Execution, record: AuditLogged) -> Execution:
    """The part of a statement that a record of its group is about."""
    return nearly(root.children, record) or root


def claimed(loose: Iterable[AuditGroup], started: Execution) -> Found | None:
    """The waiting records that are about a statement which starts just now.

    Records come in the order of the statements: if the first that is not older than this start
    is about another statement, this one has none.
    """
    for group in islice(loose, _LOOSE_LOOK):
        if _ran_at(started, group.records[-1].at_ns, 0):
            record = next((r for r in group.records if find((started,), r)), None)
            return (group, started, record) if record else None
    return None


def owner(loose: Iterable[AuditGroup], before: AuditGroup, execution: Execution) -> Found | None:
    """The waiting records, written before those of ``before``, that are nearly about this one."""
    for group in islice(loose, _LOOSE_LOOK):
        if group is before or group.statement_id == before.statement_id:
            return None
        record = next((r for r in group.records if nearly((execution,), r)), None)
        if record:
            return group, execution, record
    return None


def _free(execution: Execution, record: AuditLogged) -> bool:
    return not execution.audits and not execution.left and _may_be(execution, record)


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
