"""The one place where events of all sources become Sessions and Statements."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from agent.sessions.audits import (
    AuditGroup,
    Found,
    claimed,
    find,
    hand_down,
    nearly,
    only_audited,
    owner,
    within,
)
from agent.sessions.backend import Backend, Slot, slot_of
from agent.sessions.execution import Execution, counted, executed
from agent.sessions.known import explained, logged, seen
from agent.sessions.limits import DEFAULT_LIMITS, Limits
from agent.sessions.waiting import WaitingRoom
from model.event import (
    ApplicationNamed,
    AuditLogged,
    Event,
    Lost,
    ResponseSent,
    SessionEnded,
    SessionExplained,
    SessionSeen,
    StatementsCounted,
    StatementsExecuted,
    StatementStarted,
)
from model.session import BackendKey, Session
from model.statement import Source, Statement, StatementRun

Output: TypeAlias = Session | Statement | StatementRun

_SECOND_US = 1_000_000
_SETTLE_US = 100_000
"""How long a statement that has its record waits for further ones (objects, nested commands)."""
_NEARING_US = 300_000
"""How long a record waits for the statement that ran when it was written, before it is content
with one that ran nearly then: the right one may not have come from the probe yet.
"""
_LINGER_US = 30 * _SECOND_US
"""How long an ended backend is remembered for log lines that come late."""
_Waiting: TypeAlias = tuple[Backend, Execution | AuditGroup]


class SessionTracker:
    """``epoch_seconds`` makes statement ids unique across restarts. ``merge_window_us``: how long
    one source waits for the other; statements of clusters that are not ``audited`` do not wait.
    ``enrich`` fills in identity and superuser; it is called when what is known of a session
    changes.

    Call ``expire`` several times a second: it is the only clock.
    """

    def __init__(
        self,
        epoch_seconds: int,
        merge_window_us: int = 1_500_000,
        enrich: Callable[[Session], Session] = lambda session: session,
        limits: Limits = DEFAULT_LIMITS,
        audited: Callable[[str], bool] = lambda cluster: True,
    ) -> None:
        self._next_id = epoch_seconds << 32
        self._window_us = merge_window_us
        self._enrich = enrich
        self._limits = limits
        self._audited = audited
        self._backends: dict[Slot, Backend] = {}
        """By pid and start second: all that the log tells of a backend."""
        self._by_pid: dict[int, Backend] = {}
        self._text_bytes = 0
        self._lost: Counter[str] = Counter()
        self._waiting: WaitingRoom[_Waiting] = WaitingRoom(merge_window_us)
        self._settling: WaitingRoom[tuple[Backend, Execution]] = WaitingRoom(_SETTLE_US)
        near_us = min(_NEARING_US, merge_window_us // 2)
        self._nearing: WaitingRoom[tuple[Backend, AuditGroup]] = WaitingRoom(near_us)
        self._departed: WaitingRoom[tuple[Slot, Backend]] = WaitingRoom(_LINGER_US)

    def observe(self, event: Event) -> list[Output]:
        out: list[Output] = []
        match event:
            case StatementsExecuted():
                self._executed(event, out)
            case ResponseSent():
                self._answer(event, out)
            case StatementStarted():
                self._start(event, out)
            case AuditLogged():
                self._audit(event, out)
            case SessionSeen():
                self._seen(event, out)
            case ApplicationNamed():
                backend = self._backend(event.backend, event.at_ns, out)
                name = event.application_name
                self._update(backend, replace(backend.session, application_name=name), out)
            case SessionExplained():
                # A look-up that comes late must not bring a forgotten session back.
                if known := self._backends.get(slot_of(event.backend)):
                    self._update(known, explained(known.session, event.peer), out)
            case SessionEnded():
                self._end(self._backend(event.backend, event.at_ns, out), event.at_ns // 1000, out)
            case StatementsCounted():
                backend = self._backend(event.backend, event.last_at_us * 1000, out)
                out.append(counted(self._id(), backend.session, event).statement(backend.session))
            case Lost():
                pass  # counted by its source
        return out

    def expire(self, now_us: int) -> list[Output]:
        """What has waited long enough at ``now_us`` (Unix microseconds)."""
        out: list[Output] = []
        for backend, execution in self._settling.due(now_us):
            self._leave(backend, execution, out)
        self._approach(self._nearing.due(now_us), out)
        for backend, item in self._waiting.due(now_us):
            self._give_up(backend, item, out)
        for slot, backend in self._departed.due(now_us):
            self._forget(slot, backend, now_us, out)
        return out

    def flush(self) -> list[Output]:
        """Everything that has ended, without waiting longer; for the end of the program."""
        out: list[Output] = []
        for backend in list(self._backends.values()):
            self._ended(backend, backend.take_unready(), out)
        self._approach([self._nearing.pop() for _ in range(len(self._nearing))], out)
        while self._waiting:
            self._give_up(*self._waiting.pop(), out)
        while self._settling:
            self._leave(*self._settling.pop(), out)
        return out

    def sessions(self) -> list[Session]:
        """Sessions that live, as far as is known."""
        return [backend.session for backend in self._backends.values() if backend.alive]

    def refresh(self) -> list[Output]:
        """What sessions are enriched with has changed."""
        out: list[Output] = []
        for backend in [each for each in self._backends.values() if each.alive]:
            self._update(backend, self._enrich(backend.session), out)
        return out

    def losses(self) -> dict[str, int]:
        """What was left out since the last call, by reason."""
        lost, self._lost = self._lost, Counter()
        return dict(lost)

    # -- sessions

    def _backend(self, key: BackendKey, at_ns: int, out: list[Output]) -> Backend:
        slot = slot_of(key)
        backend = self._backends.get(slot)
        if backend is not None:
            if backend.imprecise and key.started_at_us != backend.session.key.started_at_us:
                backend.imprecise = False
                self._update(backend, replace(backend.session, key=key), out)
            return backend
        return self._new_backend(Session(key), at_ns, False, out)

    def _new_backend(
        self, session: Session, at_ns: int, imprecise: bool, out: list[Output]
    ) -> Backend:
        slot = slot_of(session.key)
        former = self._by_pid.get(slot[0])
        if former is not None and former.alive:
            if former.imprecise and former.session.key.started_at_us == 0:
                self._backends.pop(slot_of(former.session.key), None)
                self._backends[slot] = former
                former.imprecise = imprecise
                self._update(former, replace(former.session, key=session.key), out)
                return former
            self._end(former, at_ns // 1000, out)  # the pid belongs to another process by now
        if len(self._backends) >= self._limits.sessions:
            self._evict(at_ns // 1000, out)
        backend = Backend(session, imprecise)
        self._backends[slot] = self._by_pid[slot[0]] = backend
        backend.session = self._enrich(session)
        out.append(backend.session)
        return backend

    def _update(self, backend: Backend, session: Session, out: list[Output]) -> None:
        if session == backend.session:
            return
        backend.session = self._enrich(session)
        out.append(backend.session)

    def _seen(self, event: SessionSeen, out: list[Output]) -> None:
        known = self._backends.get(slot_of(event.backend))
        before = known.session if known is not None else Session(event.backend)
        session = seen(before, event)
        if known is None:
            backend = self._new_backend(session, event.at_ns, False, out)
            if backend.session.key != session.key or not backend.session.user:
                self._update(backend, session, out)
            return
        known.imprecise = False
        self._update(known, session, out)

    def _end(self, backend: Backend, at_us: int, out: list[Output]) -> None:
        if not backend.alive:
            return
        backend.alive = False
        ended = backend.take_unready()
        # How they ended nobody said: the process is gone.
        backend.end_all(at_us, "", ended)
        self._adopt(backend, None, out)
        self._ended(backend, ended, out)
        self._update(backend, replace(backend.session, ended_at_us=at_us), out)
        self._departed.add((slot_of(backend.session.key), backend))

    def _forget(self, key: Slot, backend: Backend, at_us: int, out: list[Output]) -> None:
        ended = backend.take_unready()
        backend.end_all(at_us, "", ended)
        self._adopt(backend, None, out)
        self._ended(backend, ended, out)
        if self._backends.get(key) is backend:
            del self._backends[key]
        if self._by_pid.get(key[0]) is backend:
            del self._by_pid[key[0]]

    def _evict(self, at_us: int, out: list[Output]) -> None:
        """Forgets a backend that has ended; if there is none, the one that was met first."""
        if self._departed:
            slot, backend = self._departed.pop()
        else:
            slot, backend = next(iter(self._backends.items()))
            self._lost["session_forgotten"] += 1
        self._forget(slot, backend, at_us, out)

    # -- statements

    def _id(self) -> int:
        self._next_id += 1
        return self._next_id

    def _start(self, event: StatementStarted, out: list[Output]) -> None:
        backend = self._backend(event.backend, event.at_ns, out)
        if not event.depth:
            self._ended(backend, backend.take_unready(), out)
        if len(backend.pending) >= self._limits.pending_per_backend:
            self._lost["statement_end_unseen"] += 1
            oldest = backend.pending.popleft()
            for execution in (oldest, *oldest.children):
                execution.end(event.at_ns // 1000)
                self._leave(backend, execution, out)
        text = event.text
        if self._text_bytes + len(text) > self._limits.text_bytes:
            self._lost["text_cut_for_memory"] += len(text) > self._limits.short_text_bytes
            text = text[: self._limits.short_text_bytes]
        self._text_bytes += len(text)
        if event.nested:
            self._nest(backend, backend.start_nested(event, self._id(), text), out)
            return
        execution = backend.start(event, self._id(), text)
        self._adopt(backend, execution, out)
        self._catch_up(backend, execution, out)

    def _catch_up(self, backend: Backend, execution: Execution, out: list[Output]) -> None:
        """The log may have been faster than the probe."""
        root = execution.root
        if root is not execution and root.audits:
            hand_down(root, execution)
        elif backend.loose and (found := claimed(backend.loose, execution)):
            self._take(backend, found, out)

    def _nest(self, backend: Backend, execution: Execution, out: list[Output]) -> None:
        if execution.parent is None:
            backend.early.append(execution)
            if len(backend.early) > self._limits.nested_per_statement:
                self._leave(backend, backend.early.popleft(), out)
        elif self._window_us == 0:
            self._leave(backend, execution, out)
        else:
            siblings = execution.root.children
            siblings.append(execution)
            if len(siblings) > self._limits.nested_per_statement:
                siblings.pop(0)
            backend.unmatched.append(execution)
            self._catch_up(backend, execution, out)
            self._await(backend, execution, out)

    def _adopt(self, backend: Backend, outer: Execution | None, out: list[Output]) -> None:
        """What ran while a statement was planned belongs to it."""
        while backend.early:
            execution = backend.early.popleft()
            execution.parent = outer
            if outer is None:
                self._leave(backend, execution, out)
            else:
                self._nest(backend, execution, out)

    def _executed(self, event: StatementsExecuted, out: list[Output]) -> None:
        backend = self._backend(event.backend, event.executions[0].started_at_us * 1000, out)
        if backend.pending:
            # It was alone in its round trip: the answers to those before it have been lost.
            ended: list[Execution] = []
            backend.end_all(event.executions[0].started_at_us, "", ended)
            self._ended(backend, ended, out)
        if not self._waits(backend):
            first_id = self._next_id + 1
            self._next_id += len(event.executions)
            if backend.early:
                first = executed(first_id, backend.session, event, event.executions[0])
                self._adopt(backend, first, out)
            out.append(
                StatementRun(
                    first_id,
                    backend.session,
                    event.text,
                    event.tag,
                    event.transaction,
                    event.executions,
                    parameters=event.parameters,
                )
            )
            return
        for one in event.executions:
            self._text_bytes += len(event.text)
            execution = executed(self._id(), backend.session, event, one)
            backend.unmatched.append(execution)
            self._adopt(backend, execution, out)
            if backend.loose and (found := claimed(backend.loose, execution)):
                self._take(backend, found, out)
            self._ended(backend, [execution], out)

    def _answer(self, event: ResponseSent, out: list[Output]) -> None:
        backend = self._backend(event.backend, event.at_ns, out)
        ended, strangers = backend.answer(event, self._id)
        if strangers:
            self._lost["statement_start_unseen"] += strangers
        if backend.early and event.ready:
            self._adopt(backend, ended[-1].root if ended else None, out)
        self._ended(backend, ended, out)

    def _waits(self, backend: Backend) -> bool:
        return self._window_us > 0 and self._audited(backend.session.cluster)

    def _ended(self, backend: Backend, ended: list[Execution], out: list[Output]) -> None:
        waits = self._waits(backend)
        for execution in ended:
            if not waits or execution.failed_early:
                self._leave(backend, execution, out)
            elif not execution.audits:
                self._await(backend, execution, out)
            elif backend.group is not None and backend.group.root is execution.root:
                self._settle(backend, execution, out)
            else:
                self._leave(backend, execution, out)

    def _await(self, backend: Backend, item: Execution | AuditGroup, out: list[Output]) -> None:
        self._waiting.add((backend, item))
        if len(self._waiting) > self._limits.waiting:
            self._give_up(*self._waiting.pop(), out)

    def _settle(self, backend: Backend, execution: Execution, out: list[Output]) -> None:
        self._settling.add((backend, execution))
        if len(self._settling) > self._limits.waiting:
            self._leave(*self._settling.pop(), out)

    def _leave(self, backend: Backend, execution: Execution, out: list[Output]) -> None:
        if execution.left:
            return
        execution.left = True
        if execution.source is Source.EBPF and not execution.failed_early:
            self._text_bytes -= len(execution.text)
            if not execution.audits and execution.parent is None:
                backend.fell_silent(execution)
        out.append(execution.statement(backend.session))
        while backend.unmatched and (backend.unmatched[0].left or backend.unmatched[0].audits):
            backend.unmatched.popleft()

    # -- audit records

    def _audit(self, record: AuditLogged, out: list[Output]) -> None:
        backend = self._audited_backend(record, out)
        group = backend.group
        if group is None or group.statement_id != record.statement_id:
            if group is not None and group.root is not None:
                self._close_group(backend, group.root, out)
            group = backend.group = AuditGroup(record.statement_id)
        if group.left or (group.root is not None and group.root.left):
            self._lost["audit_record_late"] += 1
            return
        if group.root is not None:
            self._add(within(group.root, record), record)
            return
        execution = find(backend.unmatched, record)
        if execution is None:
            self._wait(backend, group, record, out)
            return
        self._take(backend, (group, execution, record), out)

    def _audited_backend(self, record: AuditLogged, out: list[Output]) -> Backend:
        key = record.backend
        backend = self._backends.get(slot_of(key))
        if backend is None and key.started_at_us == 0:
            backend = self._by_pid.get(key.pid)
        if backend is None:
            return self._new_backend(logged(Session(key), record), record.at_ns, True, out)
        self._update(backend, logged(backend.session, record), out)
        return backend

    def _add(self, execution: Execution, record: AuditLogged) -> None:
        if len(execution.audits) < self._limits.records_per_statement:
            execution.audits.append(record)
        else:
            self._lost["audit_record_over_limit"] += 1

    def _wait(
        self, backend: Backend, group: AuditGroup, record: AuditLogged, out: list[Output]
    ) -> None:
        if len(group.records) >= self._limits.records_per_statement:
            self._lost["audit_record_over_limit"] += 1
            return
        group.records.append(record)
        if len(group.records) == 1:
            backend.loose.append(group)
            self._await(backend, group, out)
            self._nearing.add((backend, group))
            if len(self._nearing) > self._limits.waiting:
                self._nearing.pop()

    def _take(self, backend: Backend, found: Found, out: list[Output]) -> None:
        """The group's statement is found; records that came before it are its own as well."""
        group, execution, record = found
        group.root = execution.root
        self._add(execution, record)
        for other in group.records:
            if other is not record:
                self._add(within(group.root, other), other)
        group.records = []
        if group in backend.loose:
            backend.loose.remove(group)
        for member in (group.root, *group.root.children):
            if member.ended_at_us and member.audits:
                self._settle(backend, member, out)
        self._conclude_before(backend, group, execution, out)

    def _approach(self, groups: list[tuple[Backend, AuditGroup]], out: list[Output]) -> None:
        """The statements may have come by now; where none did, one that ran nearly then will do."""
        for match in (find, nearly):
            for backend, group in groups:
                for record in group.records if group.root is None and not group.left else ():
                    if execution := match(backend.unmatched, record):
                        self._take(backend, (group, execution, record), out)
                        break

    def _close_group(self, backend: Backend, root: Execution, out: list[Output]) -> None:
        """pgaudit has gone on to the next statement: nothing more comes for this one."""
        for execution in (root, *root.children):
            if execution.ended_at_us and execution.audits:
                self._leave(backend, execution, out)

    def _conclude_before(
        self, backend: Backend, group: AuditGroup, matched: Execution, out: list[Output]
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
            elif earlier := owner(backend.loose, group, first):
                self._take(backend, earlier, out)
            else:
                self._leave(backend, first, out)

    def _give_up(self, backend: Backend, item: Execution | AuditGroup, out: list[Output]) -> None:
        if isinstance(item, Execution):
            if not item.left:
                self._leave(backend, item, out)
            return
        self._approach([(backend, item)], out)
        if item.root is None and not item.left:
            item.left = True
            backend.loose.remove(item)
            outer = backend.outer(item.records[0])
            execution = only_audited(self._id(), backend.session, item.records, outer)
            self._leave(backend, execution, out)
