"""Statements and audit records wait for one another here, and leave when they have one another or
have waited long enough.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from agent.sessions.audits import (
    CLOCK_SLACK_NS,
    AuditGroup,
    Found,
    add_loose,
    belongs,
    bound,
    claimed,
    find,
    hand_down,
    latest_ns,
    nearly,
    nearly_by,
    only_audited,
    owner,
    ran_at,
    split_off,
    within,
)
from agent.sessions.backend import Backend
from agent.sessions.execution import Execution, shortened, without_copy
from agent.sessions.limits import Limits
from agent.sessions.past import past
from agent.sessions.waiting import WaitingRoom
from model.event import AuditLogged
from model.session import BackendKey, Session
from model.statement import Source, Statement, StatementRun

Output: TypeAlias = Session | Statement | StatementRun

_SETTLE_US = 100_000
"""How long a statement that has its record waits for further ones (objects, nested commands)."""
_NEARING_US = 300_000
"""How long a record waits for the statement that ran when it was written, before it is content
with one that ran nearly then: the right one may not have come from the probe yet.
"""
_BOUND_TURNS = 20
"""For so many windows a record waits that may be of a portal which was bound and not executed."""
_RECORD_CHARS = 500
"""What a record takes beside its text, about."""
_LATE_US = 5_000_000
"""How much later than the log's window a step of the clock still parts a record and a statement."""
_Waiting: TypeAlias = tuple[Backend, Execution | AuditGroup]


class Matching:
    """``window_us``: how long one source waits for the other; statements of clusters that are not
    ``audited`` do not wait. What is left out is counted in ``lost``, by reason. What leaves is
    added to ``out``.
    """

    def __init__(
        self,
        window_us: int,
        limits: Limits,
        audited: Callable[[str], bool],
        runs_since: Callable[[BackendKey], int],
        next_id: Callable[[], int],
        lost: Counter[str],
    ) -> None:
        self._window_us = window_us
        self._limits = limits
        self._audited = audited
        self._runs_since = runs_since
        self._next_id = next_id
        self._lost = lost
        self.text_bytes = 0
        """Of the texts of all statements that have not left."""
        self._audit_chars = 0
        """Of all records that no statement has."""
        self._waiting: WaitingRoom[_Waiting] = WaitingRoom(window_us)
        self._settling: WaitingRoom[tuple[Backend, Execution]] = WaitingRoom(_SETTLE_US)
        near_us = min(_NEARING_US, window_us // 2)
        self._nearing: WaitingRoom[tuple[Backend, AuditGroup]] = WaitingRoom(near_us)
        self._moved_us: WaitingRoom[int] = WaitingRoom(window_us + _LATE_US)
        """By how much the clock was set lately: the log and the probe, whose clock is read when its
        records are, do not see that at the same moment."""

    def clock_moved(self, by_us: int) -> None:
        for room in (self._waiting, self._settling, self._nearing, self._moved_us):
            room.clock_moved(by_us)
        self._moved_us.add(by_us)

    def expire(self, now_us: int, logs_read_us: int, out: list[Output]) -> None:
        self._moved_us.due(logs_read_us)
        for backend, execution in self._settling.due(logs_read_us):
            self._gather(backend, execution)
            self.leave(backend, execution, out)
        near = self._nearing.due(now_us)
        self._approach(near, out)
        for backend, group in near:
            self._still_awaited(backend, group)
        for backend, item in self._waiting.due(logs_read_us):
            if isinstance(item, AuditGroup) and self._awaited(backend, item):
                self._waiting.add((backend, item))
            else:
                self._give_up(backend, item, out)

    def flush(self, out: list[Output]) -> None:
        """Nothing more comes."""
        self._approach([self._nearing.pop() for _ in range(len(self._nearing))], out)
        while self._settling:
            backend, execution = self._settling.pop()
            self._gather(backend, execution)
            self.leave(backend, execution, out)
        while self._waiting:
            self._give_up(*self._waiting.pop(), out)

    def waits(self, backend: Backend) -> bool:
        return self._window_us > 0 and self._audited(backend.session.cluster)

    def ended(self, backend: Backend, ended: list[Execution], out: list[Output]) -> None:
        waits = self.waits(backend)
        for execution in ended:
            if execution.empty:
                self.skip(execution)
            elif not waits or execution.failed_early:
                self.leave(backend, execution, out)
            elif not (execution.audits or _goes_on(execution)):
                self.wait_for_other(backend, execution, out)
            elif self._may_have_more(backend, execution):
                self._settle(backend, execution, out)
            else:
                self.leave(backend, execution, out)

    def leave(self, backend: Backend, execution: Execution, out: list[Output]) -> None:
        if execution.left:
            return
        execution.left = True
        if execution.continues is not None:
            execution.audits = execution.continues.audits + execution.audits
        if execution.source is Source.EBPF and not execution.failed_early:
            self.text_bytes -= len(execution.text)
            if execution.parent is None:
                backend.past.append(past(execution))
        out.append(execution.statement(backend.session))
        while backend.unmatched and (backend.unmatched[0].left or backend.unmatched[0].audits):
            backend.unmatched.popleft()

    def skip(self, execution: Execution) -> None:
        """It is on the record."""
        execution.left = True
        self.text_bytes -= len(execution.text)

    def catch_up(self, backend: Backend, execution: Execution, out: list[Output]) -> None:
        """The log may have been faster than the probe."""
        root = execution.root
        if root is not execution and root.audits:
            hand_down(root, execution)
        elif execution.continues is not None:
            pass  # its record is that of its portal
        elif backend.loose and (found := claimed(backend.loose, execution)):
            self._take(backend, found, out)
        elif root is execution and backend.group is not None:
            self._split(backend, backend.group, execution, out)

    def wait_for_other(
        self, backend: Backend, item: Execution | AuditGroup, out: list[Output]
    ) -> None:
        self._waiting.add((backend, item))
        if len(self._waiting) > self._limits.waiting:
            self._give_up(*self._waiting.pop(), out)

    def record(self, backend: Backend, record: AuditLogged, out: list[Output]) -> None:
        group = backend.group
        if group is None or group.statement_id != record.statement_id:
            if group is not None and group.root is not None:
                self._close_group(backend, group.root, out)
            group = backend.group = AuditGroup(record.statement_id)
        elif not belongs(group, record, backend.unmatched):
            if self._ran_in_slice(backend, record):
                return
            if group.root is not None and group.root.ended_at_us:
                self._close_group(backend, group.root, out)
            group = backend.group = AuditGroup(record.statement_id)
        self._place(backend, group, record, out)

    def _place(
        self, backend: Backend, group: AuditGroup, record: AuditLogged, out: list[Output]
    ) -> None:
        if group.left or (group.root is not None and group.root.left):
            self._lost["audit_record_late"] += 1
            return
        if group.root is not None:
            self._add(within(group.root, record), record, group)
            return
        execution = find(backend.unmatched, record)
        if execution is None:
            self._wait(backend, group, record, out)
            return
        self._take(backend, (group, execution, record), out)

    def _settle(self, backend: Backend, execution: Execution, out: list[Output]) -> None:
        self._settling.add((backend, execution))
        if len(self._settling) > self._limits.waiting:
            self.leave(*self._settling.pop(), out)

    def _ran_in_slice(self, backend: Backend, record: AuditLogged) -> bool:
        """Functions in a query that is read in slices."""
        for execution in reversed(backend.portals.slices):
            # What ended in that millisecond leaves room for another statement.
            over = execution.ended_at_us and execution.ended_at_us * 1000 < latest_ns(record)
            if not (execution.left or over) and ran_at(execution, record, 0):
                self._add(execution, record)
                return True
        return False

    def _split(
        self, backend: Backend, group: AuditGroup, started: Execution, out: list[Output]
    ) -> None:
        root = group.root
        for former in (root, *backend.portals.slices):
            if former in (None, started) or former.left:
                continue
            if theirs := split_off(former, started):
                own = backend.group = AuditGroup(group.statement_id, root=started)
                for record in theirs:
                    self._add(started, record, own)
                if root is not None and root.ended_at_us:
                    self._close_group(backend, root, out)
                return

    def _add(
        self, execution: Execution, record: AuditLogged, group: AuditGroup | None = None
    ) -> None:
        if group is not None:
            group.parts.add(record.substatement_id)
        if len(execution.audits) < self._limits.records_per_statement:
            execution.audits.append(without_copy(record, execution.text))
        else:
            self._lost["audit_record_over_limit"] += 1

    def _wait(
        self, backend: Backend, group: AuditGroup, record: AuditLogged, out: list[Output]
    ) -> None:
        if len(group.records) >= self._limits.records_per_statement:
            self._lost["audit_record_over_limit"] += 1
            return
        short = self._limits.short_text_bytes
        full = self._audit_chars + _chars(record) > self._limits.audit_text_chars
        if full and len(record.text) > short:
            self._lost["text_cut_for_memory"] += 1
            record = shortened(record, short)
        self._audit_chars += _chars(record)
        group.records.append(record)
        if len(group.records) == 1:
            add_loose(backend.loose, group)
            self.wait_for_other(backend, group, out)
            self._nearing.add((backend, group))
            if len(self._nearing) > self._limits.waiting:
                self._nearing.pop()
        while self._audit_chars > 2 * self._limits.audit_text_chars and self._waiting:
            self._give_up(*self._waiting.pop(), out)

    def _take(self, backend: Backend, found: Found, out: list[Output]) -> None:
        """The group's statement is found; records that came before it are its own as well."""
        group, execution, record = found
        group.root = execution.root
        if group in backend.loose:
            backend.loose.remove(group)
        records, group.records = group.records, []
        self._audit_chars -= sum(map(_chars, records))
        self._add(execution, record, group)
        apart = None
        for other in records:
            if other is record:
                continue
            if belongs(group, other, backend.unmatched, surely=True):
                self._add(within(group.root, other), other, group)
                continue
            if apart is None or apart.root is not None:
                apart = AuditGroup(group.statement_id)
            self._place(backend, apart, other, out)
        for member in (group.root, *group.root.children):
            if member.ended_at_us and member.audits:
                self._settle(backend, member, out)
        self._conclude_before(backend, group, execution, record, out)

    def _may_have_more(self, backend: Backend, execution: Execution) -> bool:
        if backend.group is not None and backend.group.root is execution.root:
            return True
        return bool(execution.audits and _loose_of(backend, execution))

    def _gather(self, backend: Backend, execution: Execution) -> None:
        """What waits with its number, and ran inside it as far as is known by now."""
        if execution.left or execution.parent or not (execution.audits and backend.loose):
            return
        for other in _loose_of(backend, execution):
            own = AuditGroup(other.statement_id, root=execution)
            if all(belongs(own, record, backend.unmatched) for record in other.records):
                backend.loose.remove(other)
                other.root = execution
                records, other.records = other.records, []
                self._audit_chars -= sum(map(_chars, records))
                for record in records:
                    self._add(within(execution, record), record)

    def _approach(self, groups: list[tuple[Backend, AuditGroup]], out: list[Output]) -> None:
        """The statements may have come by now; where none did, one that ran nearly then will do."""
        for match in (find, nearly, partial(nearly_by, self._moved_us)):
            for backend, group in groups:
                for record in group.records if group.root is None and not group.left else ():
                    if execution := match(backend.unmatched, record):
                        self._take(backend, (group, execution, record), out)
                        break

    def _close_group(self, backend: Backend, root: Execution, out: list[Output]) -> None:
        """pgaudit has gone on to the next statement: nothing more comes for this one."""
        if root.audits and _loose_of(backend, root):
            return  # it settles: some of that may be its own
        for execution in (root, *root.children):
            if execution.ended_at_us and execution.audits:
                self.leave(backend, execution, out)

    def _conclude_before(
        self,
        backend: Backend,
        group: AuditGroup,
        matched: Execution,
        record: AuditLogged,
        out: list[Output],
    ) -> None:
        """A record for a later statement proves that those before it have none, save those that
        wait because the clocks disagree.
        """
        # By id: the matched one itself may be gone from the queue by now.
        while backend.unmatched and (first := backend.unmatched[0]).id < matched.id:
            if first.left or first.audits:
                backend.unmatched.popleft()
            elif first.root is matched.root or not first.ended_at_us:
                return
            elif latest_ns(record) < first.ended_at_us * 1000:
                return  # written when it was bound, before that one ran
            elif earlier := (
                owner(backend.loose, group, first, self._moved_us) or bound(backend.loose, first)
            ):
                self._take(backend, earlier, out)
            else:
                self.leave(backend, first, out)

    def _awaited(self, backend: Backend, group: AuditGroup) -> bool:
        if self._still_awaited(backend, group):
            return True
        if group.root is not None or group.left or not backend.alive:
            return False
        group.turns += 1
        if group.turns >= _BOUND_TURNS or backend.imprecise:
            return False
        return backend.portals.may_be_bound(group.records[0])

    def _still_awaited(self, backend: Backend, group: AuditGroup) -> bool:
        """The statement that wrote these runs, and the probe tells of it at its end; or it ran at
        the last look, so that what the probe told may be on its way.
        """
        if group.root is not None or group.left:
            return False
        since_us = self._runs_since(backend.session.key)
        ran = group.ran
        group.ran = 0 < since_us * 1000 <= latest_ns(group.records[0]) + CLOCK_SLACK_NS
        return ran or group.ran

    def _give_up(self, backend: Backend, item: Execution | AuditGroup, out: list[Output]) -> None:
        if isinstance(item, Execution):
            if item.audits or item.left or item.continues is not None or item.nested:
                found = None
            else:
                found = bound(backend.loose, item)
            if found:
                self._take(backend, found, out)
            elif not item.left:
                self.leave(backend, item, out)
            return
        self._approach([(backend, item)], out)
        if item.root is None and not item.left:
            item.left = True
            self._audit_chars -= sum(map(_chars, item.records))
            backend.loose.remove(item)
            outer = backend.outer(item.records[0])
            execution = only_audited(self._next_id(), backend.session, item.records, outer)
            self.leave(backend, execution, out)


def _goes_on(execution: Execution) -> bool:
    """The first slice of its portal has its record."""
    return execution.continues is not None and bool(execution.continues.audits)


def _loose_of(backend: Backend, execution: Execution) -> list[AuditGroup]:
    number = execution.audits[0].statement_id
    return [group for group in backend.loose if group.statement_id == number]


def _chars(record: AuditLogged) -> int:
    return len(record.text) + _RECORD_CHARS
