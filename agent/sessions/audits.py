"""Which audit record belongs to which statement of a backend.

pgaudit writes a record before the statement ends, in the order of the backend's work, and gives
the records of one top-level statement one number.
"""

import re
from bisect import bisect_left, insort
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
_WRITTEN_FIRST = frozenset(("READ", "WRITE"))
"""Of these classes the statement's record is written before those of what runs inside it."""
BOUND = "SELECT"
"""The command of what pgaudit writes of at Bind; of others it does when they are executed."""
_FIRST_WORD = re.compile(rb"(?:\s|\(|--[^\n]*\n|/\*.*?\*/)*(\w+)", re.DOTALL)
_ALSO_BEGUN_BY = {
    "WITH": ("SELECT", "INSERT", "UPDATE", "DELETE", "MERGE"),
    "VALUES": ("SELECT",),
    "TABLE": ("SELECT",),
}
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
    parts: set[int] = field(default_factory=set)
    """The substatement_ids that are its root's."""
    turns: int = 0
    """How often it has waited for the Execute of what may only have been bound."""


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
    if has_text(record):
        return nearly(root.children, record) or root
    if any(each.substatement_id == record.substatement_id for each in root.audits):
        return root
    return _by_command(root.children, record) or root


def _by_command(children: list[Execution], record: AuditLogged) -> Execution | None:
    """Without a text it is the one that ran then and begins with this command; where different ones
    do, nobody knows."""
    fitting = [
        each
        for each in children
        if _free(each, record) and ran_at(each, record, 0) and _begins_with(each, record.command)
    ]
    alike = len({each.text for each in fitting}) == 1
    return fitting[0] if alike else None


def _begins_with(execution: Execution, command: str) -> bool:
    found = _FIRST_WORD.match(execution.text)
    word = found[1].upper().decode() if found else ""
    return word == command or command in _ALSO_BEGUN_BY.get(word, ())


def hand_down(root: Execution, child: Execution) -> None:
    """The log told of what EXECUTE runs before the probe did: those records are the child's."""
    number = next(
        (r.substatement_id for r in root.audits if has_text(r) and nearly((child,), r)), None
    )
    theirs = [record for record in root.audits if record.substatement_id == number]
    if len(theirs) < len(root.audits):
        child.audits = theirs
        root.audits = [record for record in root.audits if record.substatement_id != number]


def belongs(
    group: AuditGroup, record: AuditLogged, others: Iterable[Execution], surely: bool = False
) -> bool:
    """Whether a record with the number of a group is about its statement, or about what ran inside
    that: while a portal is open, what comes after its statement has the same number. ``others``:
    statements without a record. ``surely``: not of the millisecond in which it ended."""
    root = group.root
    if root is None or not root.audits or record.substatement_id in group.parts:
        return True
    if has_text(record) and (other := find(others, record)) is not None:
        return other.root is root
    own, start_ns = root.audits[0], root.started_at_us * 1000
    if own.audit_class in _WRITTEN_FIRST and record.substatement_id < own.substatement_id:
        return False
    alike = (record.text, record.command, record.audit_class)
    if has_text(own) and alike == (own.text, own.command, own.audit_class):
        return False
    if latest_ns(record) + (CLOCK_SLACK_NS if latest_ns(own) < start_ns else 0) < start_ns:
        return False
    if not root.ended_at_us:
        return True
    end_ns = root.ended_at_us * 1000 + 1000
    if surely and own.at_ns < end_ns < latest_ns(record):
        return False
    return record.at_ns - (CLOCK_SLACK_NS if own.at_ns > end_ns else 0) <= end_ns


def add_loose(loose: deque[AuditGroup], group: AuditGroup) -> None:
    insort(loose, group, key=_written_before_ns)


def claimed(loose: deque[AuditGroup], started: Execution) -> Found | None:
    """The waiting records that are about a statement which starts just now.

    Records come in the order of the statements: if the first that is not older than this start
    is about another statement, this one has none, unless that was written long before.
    """
    first = bisect_left(loose, started.started_at_us * 1000, key=_written_before_ns)
    if first < len(loose):
        group = loose[first]
        if record := next((r for r in group.records if find((started,), r)), None):
            return group, started, record
    return bound(loose, started)


def bound(loose: deque[AuditGroup], execution: Execution) -> Found | None:
    """The waiting records that were written when its portal was bound, long before this."""
    if not execution.idle_at_us:
        return None
    since_ns, until_ns = execution.idle_at_us * 1000, execution.started_at_us * 1000
    for group in loose:
        record = group.records[0]
        if record.at_ns > until_ns:
            break
        of_query = has_text(record) and record.command == BOUND and latest_ns(record) >= since_ns
        if of_query and _free(execution, record):
            return group, execution, record
    return None


def split_off(former: Execution, started: Execution) -> list[AuditLogged]:
    """The log told of this one before the probe did, behind a portal that is open: what it wrote
    since then is not the former's. The first is its own, if it is no slice."""
    for place, record in enumerate(former.audits):
        own = not place and former.continues is None
        if not own and has_text(record) and find((started,), record):
            theirs, former.audits[place:] = former.audits[place:], []
            return theirs
    return []


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
            if group is before:
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
