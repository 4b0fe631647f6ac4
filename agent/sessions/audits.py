"""Which audit record belongs to which statement of a backend.

pgaudit writes a record before the statement ends, in the order of the backend's work, and gives
the records of one top-level statement one number.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import TypeAlias

from agent.sessions.execution import Execution, has_text, has_this_text
from model.event import AuditLogged
from model.session import Session
from model.statement import Source

CLOCK_SLACK_NS = 250_000_000
"""Between the probe's clock and the log's, which are set from one another by estimate."""
_LOOSE_LOOK = 50
"""Waiting records to either side of its start that a statement is compared with at most, so that
a backend whose statements the probe does not see costs no more than that.
"""
_OUTER_COMMANDS = frozenset(("EXECUTE", "CALL", "DO"))


@dataclass(slots=True, eq=False)
class AuditGroup:
    """All records with one statement_id."""

    statement_id: int
    records: list[AuditLogged] = field(default_factory=list)
    """Those that no statement has taken yet."""
    root: Execution | None = None
    ran: bool = False
    """Its statement still ran when somebody last looked."""
    left: bool = False


Found: TypeAlias = tuple[AuditGroup, Execution, AuditLogged]


def find(candidates: Iterable[Execution], record: AuditLogged) -> Execution | None:
    """The first statement with this text that ran when the record was written."""
    for execution in candidates:
        if _free(execution, record) and ran_at(execution, record, 0):
            return execution
    return None


def nearly(candidates: Iterable[Execution], record: AuditLogged) -> Execution | None:
    """As ``find``; failing that, the first within what the clocks may differ."""
    near = None
    for execution in candidates:
        if not _free(execution, record):
            continue
        if ran_at(execution, record, 0):
            return execution
        if near is None and ran_at(execution, record, CLOCK_SLACK_NS):
            near = execution
    return near


def nearly_by(
    moved_us: Iterable[int], candidates: Iterable[Execution], record: AuditLogged
) -> Execution | None:
    """As ``nearly``, where the clock was set by so much between the readings for the one and for
    the other."""
    for by_ns in (by_us * 1000 for by_us in moved_us):
        for at_ns in (record.at_ns + by_ns, record.at_ns - by_ns):
            if execution := nearly(candidates, replace(record, at_ns=at_ns)):
                return execution
    return None


def within(root: Execution, record: AuditLogged) -> Execution:
    """The part of a statement that a record of its group is about."""
    for child in root.children:
        if child.audits and child.audits[0].substatement_id == record.substatement_id:
            return child
    return nearly(root.children, record) or root


def hand_down(root: Execution, child: Execution) -> None:
    """The log told of what EXECUTE runs before the probe did: those records are the child's."""
    number = next(
        (r.substatement_id for r in root.audits if has_text(r) and nearly((child,), r)), None
    )
    theirs = [record for record in root.audits if record.substatement_id == number]
    if len(theirs) < len(root.audits):
        child.audits = theirs
        root.audits = [record for record in root.audits if record.substatement_id != number]


def claimed(loose: deque[AuditGroup], started: Execution) -> Found | None:
    """The waiting records that are about a statement which starts just now.

    Records come in the order of the statements: if the first that is not older than this start
    is about another statement, this one has none.
    """
    first = bisect_left(loose, started.started_at_us * 1000, key=_written_before_ns)
    if first == len(loose):
        return None
    group = loose[first]
    record = next((r for r in group.records if find((started,), r)), None)
    return (group, started, record) if record else None


def owner(
    loose: deque[AuditGroup],
    before: AuditGroup,
    execution: Execution,
    moved_us: Iterable[int] = (),
) -> Found | None:
    """The waiting records, written before those of ``before``, that are about this statement, or
    nearly about it; ``moved_us``: by how much the clock was set lately.
    """
    first = bisect_left(loose, execution.started_at_us * 1000, key=_written_before_ns)
    near_by = list(islice(loose, max(first - _LOOSE_LOOK, 0), first + _LOOSE_LOOK))
    for match in (find, nearly, partial(nearly_by, moved_us)):
        for group in near_by:
            if group.statement_id == before.statement_id:
                break
            if record := next((r for r in group.records if match((execution,), r)), None):
                return group, execution, record
    return None


def _free(execution: Execution, record: AuditLogged) -> bool:
    return not execution.audits and not execution.left and _may_be(execution, record)


def _may_be(execution: Execution, record: AuditLogged) -> bool:
    if not has_text(record):
        return True
    in_full = execution.text_bytes <= len(execution.text)
    return has_this_text(record, execution.text, in_full)


def ran_at(execution: Execution, record: AuditLogged, slack_ns: int) -> bool:
    if latest_ns(record) + slack_ns < execution.started_at_us * 1000:
        return False
    ended_at_us = execution.ended_at_us
    return not ended_at_us or record.at_ns - slack_ns <= ended_at_us * 1000 + 1000


def latest_ns(record: AuditLogged) -> int:
    """The latest that its time can mean. Not by the look of it: one in a thousand that are cut to
    milliseconds is a whole second, and would do for whatever ran in that."""
    return record.at_ns + record.precision_ns


def _written_before_ns(group: AuditGroup) -> int:
    return latest_ns(group.records[-1])


def only_audited(
    id: int, session: Session, records: list[AuditLogged], outer: Execution | None
) -> Execution:
    """A statement that no probe saw; ``outer``: the one that it ran inside of."""
    told = next((record for record in records if record.command in _OUTER_COMMANDS), records[0])
    text = told.text.encode("utf-8", "surrogateescape")
    return Execution(
        id=id,
        session=session,
        text=text,
        text_bytes=len(text) + told.missing_bytes,
        started_at_us=records[0].at_ns // 1000,
        source=Source.PGAUDIT,
        tag=told.command,
        audits=records,
        parent=outer,
    )
