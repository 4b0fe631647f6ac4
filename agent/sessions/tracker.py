"""The one place where events of all sources become Sessions and Statements."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType

from agent.clock_steps import Step
from agent.sessions.backend import Backend, Slot, slot_of
from agent.sessions.execution import Execution, as_run, counted, executed
from agent.sessions.known import explained, logged, named, remember_name, seen
from agent.sessions.limits import DEFAULT_LIMITS, Limits
from agent.sessions.logins import refused_login
from agent.sessions.matching import Matching, Output
from agent.sessions.own_pids import OwnPids, Processes
from agent.sessions.unanswered import Recorded, recorded_id, unanswered_of
from agent.sessions.unsaid import UnsaidSessions, say, under_former_key
from agent.sessions.waiting import WaitingRoom
from model.event import (
    ApplicationNamed,
    AuditLogged,
    ClockMoved,
    Event,
    LoginFailed,
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

_SECOND_US = 1_000_000
_LINGER_US = 30 * _SECOND_US
"""How long an ended backend is remembered for log lines that come late."""
_READY_US = _SECOND_US
"""How long a statement that was answered waits for the end of its round trip, which is the client's
to say: one that says nothing must not keep it off the record."""


class SessionTracker:
    """``epoch_seconds`` makes statement ids unique across restarts. ``merge_window_us``: how long
    one source waits for the other; statements of clusters that are not ``audited`` do not wait.
    ``enrich`` fills in identity and superuser; it is called when what is known of a session
    changes. ``recorded``: statements that are on the record already, without their end.
    ``runs_since``: since when (Unix microseconds) a backend runs a statement of which no event has
    told yet, 0 if it runs none; its audit records wait for it. ``processes``: see OwnPids.

    Call ``expire`` several times a second: it is the only clock.
    """

    def __init__(
        self,
        epoch_seconds: int,
        merge_window_us: int = 1_500_000,
        enrich: Callable[[Session], Session] = lambda session: session,
        limits: Limits = DEFAULT_LIMITS,
        audited: Callable[[str], bool] = lambda cluster: True,
        recorded: Recorded = MappingProxyType({}),
        runs_since: Callable[[BackendKey], int] = lambda backend: 0,
        processes: Processes = lambda cluster: {},
    ) -> None:
        self._next_id = epoch_seconds << 32
        self._window_us = merge_window_us
        self._enrich = enrich
        self._limits = limits
        self._audited = audited
        self._recorded = recorded
        self._backends: dict[Slot, Backend] = {}
        """By pid and start second: all that the log tells of a backend."""
        self._by_pid: dict[int, Backend] = {}
        self._lost: Counter[str] = Counter()
        self._matching = Matching(
            merge_window_us, limits, audited, runs_since, self._id, self._lost
        )
        self._own_pids = OwnPids(merge_window_us, limits, processes, self._lost)
        self._departed: WaitingRoom[tuple[Slot, Backend]] = WaitingRoom(_LINGER_US)
        self._unsaid = UnsaidSessions(merge_window_us)
        self._step = Step()
        self._answered: WaitingRoom[tuple[Backend, Execution]] = WaitingRoom(_READY_US)

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
                self._audit(self._own_pids.translated(event) if event.own_pids else [event], out)
            case LoginFailed():
                login = self._own_pids.login(event) if event.own_pids else event
                out.append(refused_login(self._id(), login))
            case SessionSeen():
                self._seen(event, out)
                self._audit(self._own_pids.learn(event), out)
            case ApplicationNamed():
                backend = self._backend(event.backend, event.at_ns, out)
                remember_name(backend.names, event)
                renamed = replace(backend.session, application_name=event.application_name)
                self._update(backend, renamed, out)
            case SessionExplained():
                # A look-up that comes late must not bring a forgotten session back.
                known = self._backends.get(slot_of(event.backend))
                if known is not None and not known.is_another(event.backend):
                    self._update(known, explained(known.session, event.peer), out)
            case SessionEnded():
                self._exit(event, out)
            case StatementsCounted():
                backend = self._backend(event.backend, event.last_at_us * 1000, out)
                then = named(backend.session, backend.names, event.naming)
                session = then if then == backend.session else self._enrich(then)
                out.append(counted(self._id(), session, event).statement(session))
            case ClockMoved():
                self._clock_moved(Step(event.at_ns // 1000, event.by_us))
            case Lost():
                pass  # counted by its source
        return out

    def _clock_moved(self, step: Step) -> None:
        self._step = step
        rooms = (self._matching, self._departed, self._answered, self._unsaid, self._own_pids)
        for each in rooms:
            each.clock_moved(step.by_us)
        for execution in (one for each in self._backends.values() for one in each.pending):
            execution.moved_us += step.by_us

    def expire(self, now_us: int, logs_read_us: int | None = None) -> list[Output]:
        """What has waited long enough at ``now_us`` (Unix microseconds). ``logs_read_us``: as of
        when the servers' logs have been read; a statement's time to wait for its records
        runs by this clock, so that a log which is read late parts nothing."""
        out: list[Output] = [*self._unsaid.due(now_us)]
        self._audit(self._own_pids.due(now_us), out)
        for backend, first in self._answered.due(now_us):
            if backend.unready and backend.unready[0] is first:
                self._matching.ended(backend, backend.take_unready(), out)
        self._matching.expire(now_us, now_us if logs_read_us is None else logs_read_us, out)
        for slot, backend in self._departed.due(now_us):
            self._forget(slot, backend, now_us, out)
        return out

    def flush(self) -> list[Output]:
        """Everything, without waiting longer; for the end of the program. How a statement ends that
        has not been answered nobody will see."""
        out: list[Output] = []
        self._audit(self._own_pids.flush(), out)
        out += [say(each) for each in self._backends.values() if not each.said]
        for backend in list(self._backends.values()):
            self._matching.ended(backend, backend.take_unready(), out)
            for execution in backend.take_unanswered():
                self._matching.leave(backend, execution, out)
            self._adopt(backend, None, out)
        self._matching.flush(out)
        return out

    def unanswered(self) -> Recorded:
        """The last of each backend that ``flush`` would put on the record without its end."""
        return unanswered_of(self._backends.values())

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
        lost = dict(self._lost)
        self._lost.clear()
        return lost

    # -- sessions

    def _backend(self, key: BackendKey, at_ns: int, out: list[Output]) -> Backend:
        backend = self._backends.get(slot_of(key))
        if backend is None or backend.is_another(key):
            return self._new_backend(Session(key), at_ns, False, out)
        if backend.imprecise and key.started_at_us != backend.session.key.started_at_us:
            self._rename(backend, replace(backend.session, key=key), at_ns, False, out)
        return backend

    def _new_backend(
        self, session: Session, at_ns: int, imprecise: bool, out: list[Output]
    ) -> Backend:
        slot = slot_of(session.key)
        former = self._by_pid.get(slot[0])
        if former is not None and former.alive:
            if former.imprecise and former.session.key.started_at_us == 0:
                self._backends.pop(slot_of(former.session.key), None)
                self._backends[slot] = former
                renamed = replace(former.session, key=session.key)
                self._rename(former, renamed, at_ns, imprecise, out)
                return former
            self._end(former, at_ns // 1000, out)  # the pid belongs to another process by now
        if len(self._backends) >= self._limits.sessions:
            self._evict(at_ns // 1000, out)
        backend = Backend(session, imprecise)
        self._backends[slot] = self._by_pid[slot[0]] = backend
        backend.session = self._enrich(session)
        out += self._unsaid.told(backend)
        return backend

    def _update(self, backend: Backend, session: Session, out: list[Output]) -> None:
        if session == backend.session:
            return
        backend.session = self._enrich(session)
        out += self._unsaid.told(backend)

    def _rename(
        self, backend: Backend, session: Session, at_ns: int, imprecise: bool, out: list[Output]
    ) -> None:
        """The log knew its start less well."""
        out += under_former_key(backend, session, at_ns // 1000)
        backend.imprecise = imprecise
        self._update(backend, session, out)

    def _seen(self, event: SessionSeen, out: list[Output]) -> None:
        known = self._backends.get(slot_of(event.backend))
        if known is not None and known.is_another(event.backend):
            known = None
        before = known.session if known is not None else Session(event.backend)
        session = seen(before, event)
        if known is None:
            backend = self._new_backend(session, event.at_ns, False, out)
            remember_name(backend.names, event)
            if backend.session.key != session.key or not backend.session.user:
                self._update(backend, session, out)
            return
        remember_name(known.names, event)
        self._rename(known, session, event.at_ns, False, out)

    def _exit(self, event: SessionEnded, out: list[Output]) -> None:
        bearer = self._by_pid.get(event.backend.pid)
        if bearer and bearer.session.key.started_at_us > event.backend.started_at_us:
            return  # ended when its pid came again
        self._end(self._backend(event.backend, event.at_ns, out), event.at_ns // 1000, out)

    def _end(self, backend: Backend, at_us: int, out: list[Output]) -> None:
        if not backend.alive:
            return
        backend.alive = False
        ended = backend.take_unready()
        # How they ended nobody said: the process is gone.
        backend.end_all(at_us, "", ended)
        self._adopt(backend, None, out)
        self._matching.ended(backend, ended, out)
        backend.session = self._enrich(replace(backend.session, ended_at_us=at_us))
        out.append(say(backend))
        self._departed.add((slot_of(backend.session.key), backend))

    def _forget(self, key: Slot, backend: Backend, at_us: int, out: list[Output]) -> None:
        ended = backend.take_unready()
        backend.end_all(at_us, "", ended)
        self._adopt(backend, None, out)
        self._matching.ended(backend, ended, out)
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
        if backend.begin_asked(event):
            return
        if not event.depth:
            ended = backend.take_unready()
            ended += backend.leave_round(event.round, event.at_ns // 1000) if event.number else []
            self._matching.ended(backend, ended, out)
        if len(backend.pending) >= self._limits.pending_per_backend:
            self._lost["statement_end_unseen"] += 1
            oldest = backend.pending.popleft()
            backend.let_go += 1
            for execution in (oldest, *oldest.children):
                execution.end(event.at_ns // 1000)
                self._matching.leave(backend, execution, out)
        text = event.text
        if self._matching.text_bytes + len(text) > self._limits.text_bytes:
            self._lost["text_cut_for_memory"] += len(text) > self._limits.short_text_bytes
            text = text[: self._limits.short_text_bytes]
        self._matching.text_bytes += len(text)
        if event.nested:
            self._nest(backend, backend.start_nested(event, self._id(), text), out)
            return
        known = recorded_id(self._recorded, event)
        execution = backend.start(event, known or self._id(), text)
        execution.asked_before(self._step, event.at_ns // 1000)
        if known:
            self._matching.skip(execution)
        self._adopt(backend, execution, out)
        self._matching.catch_up(backend, execution, out)

    def _nest(self, backend: Backend, execution: Execution, out: list[Output]) -> None:
        if execution.parent is None:
            backend.early.append(execution)
            if len(backend.early) > self._limits.nested_per_statement:
                self._matching.leave(backend, backend.early.popleft(), out)
        elif self._window_us == 0:
            self._matching.leave(backend, execution, out)
        else:
            siblings = execution.root.children
            siblings.append(execution)
            if len(siblings) > self._limits.nested_per_statement:
                siblings.pop(0)
            backend.unmatched.append(execution)
            self._matching.catch_up(backend, execution, out)
            self._matching.wait_for_other(backend, execution, out)

    def _adopt(self, backend: Backend, outer: Execution | None, out: list[Output]) -> None:
        """What ran while a statement was planned belongs to it."""
        while backend.early:
            execution = backend.early.popleft()
            execution.parent = outer
            if outer is None:
                self._matching.leave(backend, execution, out)
            else:
                self._nest(backend, execution, out)

    def _executed(self, event: StatementsExecuted, out: list[Output]) -> None:
        backend = self._backend(event.backend, event.executions[0].started_at_us * 1000, out)
        backend.let_go = 0
        if backend.pending or backend.unready:
            # It was alone in its round trip: the answers to those before it have been lost.
            ended = backend.take_unready()
            backend.end_all(event.executions[0].started_at_us, "", ended)
            self._matching.ended(backend, ended, out)
        if not self._matching.waits(backend):
            first_id = self._next_id + 1
            self._next_id += len(event.executions)
            if backend.early:
                first = executed(first_id, backend.session, event, event.executions[0])
                self._adopt(backend, first, out)
            out.append(as_run(first_id, backend.session, event))
            return
        for one in event.executions:
            self._matching.text_bytes += len(event.text)
            execution = executed(self._id(), backend.session, event, one)
            if not backend.portals.executed(execution, event):
                backend.unmatched.append(execution)
            self._adopt(backend, execution, out)
            self._matching.catch_up(backend, execution, out)
            self._matching.ended(backend, [execution], out)

    def _answer(self, event: ResponseSent, out: list[Output]) -> None:
        backend = self._backend(event.backend, event.at_ns, out)
        ended, strangers = backend.answer(event, self._id)
        if backend.unready:
            self._answered.add((backend, backend.unready[0]))
        if strangers:
            self._lost["statement_start_unseen"] += strangers
        if backend.unseen:
            self._lost["statement_end_unseen"] += backend.unseen
            backend.unseen = 0
        if backend.unread:
            self._lost["refused_unread"] += backend.unread
            backend.unread = 0
        if backend.early and event.ready:
            self._adopt(backend, ended[-1].root if ended else None, out)
        self._matching.ended(backend, ended, out)

    # -- audit records

    def _audit(self, records: list[AuditLogged], out: list[Output]) -> None:
        for record in records:
            self._matching.record(self._audited_backend(record, out), record, out)

    def _audited_backend(self, record: AuditLogged, out: list[Output]) -> Backend:
        key = record.backend
        backend = self._backends.get(slot_of(key))
        if backend is None and key.started_at_us == 0:
            backend = self._by_pid.get(key.pid)
        if backend is None:
            return self._new_backend(logged(Session(key), record), record.at_ns, True, out)
        self._update(backend, logged(backend.session, record), out)
        return backend
