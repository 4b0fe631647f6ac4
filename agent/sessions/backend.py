"""One backend: its statements in order, and which of them a server's answer is about.

A backend runs one statement at a time, so CommandComplete messages come in the order of the
starts, and an error is about the last that started or about something that never did. Both are
counted by the kernel, so what is lost on the way shifts nothing: the n-th completion of a round
trip is of its n-th start.
"""

from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from agent.sessions.audits import AuditGroup
from agent.sessions.execution import Execution
from agent.sessions.known import Names
from agent.sessions.past import MOST, Past, past, that_ran
from agent.sessions.portals import Portals
from agent.sessions.uncommitted import is_uncommitted
from model.event import AuditLogged, ErrorReport, Protocol, ResponseSent, StatementStarted
from model.session import BackendKey, Session

SUCCESS = "00000"
_HANDED_OVER = frozenset(("SELECT", "FETCH"))
"""Tags that count rows which the client has, whatever becomes of the transaction."""
Slot: TypeAlias = tuple[int, int]
"""Pid and start second: all that the log tells of a backend."""


def slot_of(key: BackendKey) -> Slot:
    return key.pid, key.started_at_us // 1_000_000


class Backend:
    __slots__ = (
        "alive",
        "early",
        "group",
        "imprecise",
        "last_requested_at_us",
        "let_go",
        "levels",
        "loose",
        "names",
        "past",
        "pending",
        "portals",
        "said",
        "session",
        "unmatched",
        "unread",
        "unready",
        "unseen",
        "waits",
        "walsender",
    )

    def __init__(self, session: Session, imprecise: bool) -> None:
        self.session = session
        self.imprecise = imprecise
        """Only the log spoke of it so far: its start is known to the second, or not at all."""
        self.said = self.waits = False
        """Whether others have heard of it, and whether that waits for the probes."""
        self.names: Names = {}
        self.alive = True
        self.pending: deque[Execution] = deque()
        """Top-level statements that have not ended, oldest first."""
        self.let_go = 0
        """Of those that left before they ended, the ones whose completion is yet to come."""
        self.levels: list[tuple[int, Execution]] = []
        """With their depth: where only some nested ones are told, depths are left out."""
        """Nested statements that the last one may be inside of, by depth."""
        self.early: deque[Execution] = deque()
        """Nested ones that ran before their outer one began: planning calls functions."""
        self.walsender = False
        self.unmatched: deque[Execution] = deque()
        """Statements without an audit record, nested ones too, in the order of their start."""
        self.group: AuditGroup | None = None
        """The records of the statement that pgaudit wrote of last."""
        self.loose: deque[AuditGroup] = deque()
        """Records whose statement has not been seen."""
        self.past: deque[Past] = deque(maxlen=MOST)
        """Those that left last: pgaudit may yet tell of what ran inside them."""
        self.portals = Portals()
        self.last_requested_at_us = 0
        self.unseen = 0
        """Statements whose completion was not seen, since they were last asked for."""
        self.unread = 0
        """Errors to which no statement belongs, since they were last asked for."""
        self.unready: list[Execution] = []
        """They have ended, but not their round trip: what becomes of the transaction comes with
        ReadyForQuery, in a later write. If another statement starts before, or nothing comes for
        long, they leave without.
        """

    def is_another(self, key: BackendKey) -> bool:
        """``key``, from the probe, is that of another process with the same pid, which began within
        the same second."""
        known = self.session.key
        return known is not key and not self.imprecise and known != key

    def start(self, event: StatementStarted, id: int, text: bytes) -> Execution:
        parent = self.pending[-1] if event.depth and self.pending else None
        execution = Execution(
            id=id,
            session=self.session,
            text=text,
            text_bytes=event.text_bytes,
            started_at_us=self._started_at_us(event, parent),
            protocol=event.protocol,
            row_limit=event.row_limit,
            parent=parent,
            parameters=event.parameters,
            hold_id=event.hold_id,
            round=event.round,
            number=event.number,
            idle_at_us=self.portals.idle_at_us,
        )
        if execution.started_at_us == event.requested_at_us and not event.met:
            execution.preparation_us = event.at_ns // 1000 - execution.started_at_us
        if event.protocol is Protocol.REPLICATION:
            self.walsender = True
        if parent is None:
            self.levels.clear()
            self.pending.append(execution)
        else:
            parent.children.append(execution)
        if not (event.continued and self.portals.continued_by(execution)):
            self.unmatched.append(execution)
        if parent is None:
            self.portals.began(execution)
        return execution

    def begin_asked(self, event: StatementStarted) -> bool:
        """Whether a walsender was asked for this just before: a long text is told then, and again
        when it turns out to be SQL."""
        asked = self.pending[-1] if self.pending else None
        if asked is None or asked.protocol is not Protocol.REPLICATION or event.depth:
            return False
        if event.protocol is not Protocol.QUERY or not event.requested_at_us:
            return False
        if event.requested_at_us != self.last_requested_at_us:
            return False
        asked.protocol, asked.row_limit = event.protocol, event.row_limit
        asked.preparation_us = event.at_ns // 1000 - asked.started_at_us
        return True

    def start_nested(self, event: StatementStarted, id: int, text: bytes) -> Execution:
        """Has no parent if that one has not begun."""
        while self.levels and self.levels[-1][0] >= event.depth:
            self.levels.pop()
        root = self.pending[-1] if self.pending else None
        execution = Execution(
            id=id,
            session=self.session,
            text=text,
            text_bytes=event.text_bytes,
            started_at_us=event.at_ns // 1000,
            parent=self.levels[-1][1] if self.levels else root,
            nested=True,
            hold_id=event.hold_id,
        )
        self.levels.append((event.depth, execution))
        return execution

    def _started_at_us(self, event: StatementStarted, parent: Execution | None) -> int:
        """When the client's message came; of several statements in one message that is true of
        the first only.
        """
        at_us = event.at_ns // 1000
        requested = event.requested_at_us
        if parent or not 0 < requested <= at_us or requested == self.last_requested_at_us:
            return at_us
        self.last_requested_at_us = requested
        return requested

    def answer(
        self, event: ResponseSent, next_id: Callable[[], int]
    ) -> tuple[list[Execution], int]:
        """Statements that ended by this answer, and how many completions had no start.

        What the server refuses before it is a statement (a text that is not valid in the client's
        encoding, a NUL, the name of nothing that was prepared) is counted in ``unread``.

        The bytes go to the last statement that the answer completes, or to the one that was
        running. ReadyForQuery in a write of its own is of the one before it.
        """
        at_us = self._complete_by(event)
        ended = self.leave_round(event.round, at_us)
        strangers = 0
        running = self._running(event)
        if running is not None:
            running.bytes_sent = max(running.bytes_sent, 0) + event.bytes_sent
        elif self.unready and event.ready:
            last = self.unready[-1]
            last.bytes_sent = max(last.bytes_sent, 0) + event.bytes_sent
        numbers = event.numbers or self._guessed(event, at_us, ended)
        for completion, number in zip(event.completions, numbers, strict=True):
            self._pass(number, at_us, ended)
            missing = not self.pending or (number and self.pending[0].number != number)
            if self.let_go and (missing or not number):
                self.let_go -= 1
                continue
            if missing:
                # The end of a stream, and DROP_REPLICATION_SLOT on 12, are told twice.
                strangers += not self.walsender
                continue
            execution = self.pending.popleft()
            execution.tag, execution.rows = completion.tag, completion.rows
            if not completion.tag:
                execution.rows = execution.row_limit  # a suspended portal gave just as many
            self._end(execution, self._over_by(at_us), SUCCESS, "", ended)
        if event.error is not None:
            self._fail(event, event.error, running, next_id, ended)
        if event.ready:
            at_us = event.at_ns // 1000
            self._pass(event.ended + 1, at_us, ended)
            if event.ended < 0 and not self.walsender:
                self.unseen += sum(each.protocol is Protocol.QUERY for each in self.pending)
            # What is known not to have ended has failed, and that was lost.
            self.end_all(at_us, "" if event.ended >= 0 else SUCCESS, ended)
            self.let_go = 0
            ended = self.take_unready() + ended
            began_us = ended[0].started_at_us if ended else at_us
            self.portals.answered(
                event.transaction_before, event.transaction_status, began_us, at_us
            )
        transaction = _transaction(event)
        for execution in ended:
            execution.transaction = transaction
        if ended and not event.ready:
            self.unready += ended
            return [], strangers
        return ended, strangers

    def leave_round(self, round: int, at_us: int) -> list[Execution]:
        """What is left of an earlier round trip: its end was lost."""
        ended: list[Execution] = []
        while self.pending and self.pending[0].number and self.pending[0].round != round:
            self._end(self.pending.popleft(), self._over_by(at_us), "", "", ended)
        return ended

    def _running(self, event: ResponseSent) -> Execution | None:
        last = event.numbers[-1] if event.numbers and event.error is None else 0
        found = (each for each in self.pending if last and each.number == last)
        return next(found, self.pending[-1] if self.pending else None)

    def _pass(self, number: int, at_us: int, ended: list[Execution]) -> None:
        """Those before this one have ended, and nobody saw how many rows they gave. Of a fastpath
        call there is nothing to see."""
        while self.pending and self.pending[0].number < number:
            execution = self.pending.popleft()
            self.unseen += execution.protocol is not Protocol.FASTPATH
            sqlstate = SUCCESS if execution.number else ""
            self._end(execution, self._over_by(at_us), sqlstate, "", ended)

    def _guessed(self, event: ResponseSent, at_us: int, ended: list[Execution]) -> tuple[int, ...]:
        """No numbers: nobody has counted."""
        for _ in range(self._unseen(event)):
            self._end(self.pending.popleft(), self._over_by(at_us), SUCCESS, "", ended)
        return (0,) * len(event.completions)

    def _unseen(self, event: ResponseSent) -> int:
        """How many of the oldest ended in a part of the answer that nobody saw. A round trip that
        is over without an error has ended whatever began in it, so its last completions are of
        the last statements. A fastpath call has none."""
        missing = len(self.pending) - len(event.completions)
        if not event.ready or event.error or not event.completions or self.walsender:
            return 0
        if missing < 0 or self.pending[-1].protocol is Protocol.FASTPATH:
            return 0
        self.unseen += missing
        self.let_go = 0  # theirs were in that part too
        return missing

    def take_unready(self) -> list[Execution]:
        """Nothing more is heard of their round trip."""
        ended, self.unready = self.unready, []
        return ended

    def take_unanswered(self) -> list[Execution]:
        """With what SQL EXECUTE runs inside them."""
        found = [each for outer in self.pending for each in (outer, *outer.children)]
        self.pending.clear()
        return found

    def outer(self, record: AuditLogged) -> Execution | None:
        """The statement that something ran inside of which the log alone tells."""
        begun = (*self.pending, *(each for each in self.unmatched if each.parent is None))
        found = that_ran((*map(past, begun), *reversed(self.past)), record)
        if found is None:
            return None
        return Execution(found.id, self.session, found.claim, 0, found.started_at_us)

    def _fail(
        self,
        event: ResponseSent,
        error: ErrorReport,
        running: Execution | None,
        next_id: Callable[[], int],
        ended: list[Execution],
    ) -> None:
        at_us = event.at_ns // 1000
        text = event.failed_text
        # Before the client's next message was looked at, all that had begun was over.
        all_begun = event.starts if event.later else event.ended
        self._pass(all_begun + 1, self._complete_by(event), ended)
        begun = not (text or event.later) and 0 <= event.ended < event.starts
        if self.pending and (not text or _same(self.pending[-1], text)):
            failed = self.pending.pop()
            # Whatever is left gave no completion although something started after it: a portal
            # that was suspended. How it would have ended is not known.
            self.end_all(at_us, "", ended)
            self._end(failed, at_us, error.sqlstate, error.message, ended)
        elif text:
            requested = event.requested_at_us
            failed = Execution(
                id=next_id(),
                session=self.session,
                text=text,
                text_bytes=max(len(text), event.failed_bytes),
                started_at_us=requested if 0 < requested <= at_us else at_us,
                bytes_sent=event.bytes_sent,
                failed_early=True,
            )
            if running is not None:  # it was not the last of this answer
                running.bytes_sent = (running.bytes_sent - event.bytes_sent) or -1
            self._end(failed, at_us, error.sqlstate, error.message, ended)
        elif begun:
            pass  # its start was lost, and counted then
        elif (done := self.unready + ended) and is_uncommitted(error, event.later):
            last = next(each for each in reversed(done) if each.parent is None)
            last.rows = last.rows if last.tag in _HANDED_OVER else -1
            last.tag = ""
            last.end(at_us, error.sqlstate, error.message)
        elif error.severity == "ERROR":
            self.unread += 1

    def _complete_by(self, event: ResponseSent) -> int:
        """When all had ended that this answer completes. A message that fails before it begins may
        be planned for long, and its error be logged, before what was complete is sent with it: that
        was over when the message came, unless it is part of the same one."""
        at_us, requested = event.at_ns // 1000, event.requested_at_us
        if event.error is None or not event.failed_text or requested == self.last_requested_at_us:
            return at_us
        return requested if 0 < requested <= at_us else at_us

    def _over_by(self, at_us: int) -> int:
        """When the one that was just taken had ended: one answer may tell of several, which ran one
        after the other."""
        return min(at_us, self.pending[0].started_at_us) if self.pending else at_us

    def end_all(self, at_us: int, sqlstate: str, ended: list[Execution]) -> None:
        while self.pending:
            execution = self.pending.popleft()
            self._end(execution, self._over_by(at_us), sqlstate, "", ended)

    def _end(
        self, execution: Execution, at_us: int, sqlstate: str, message: str, ended: list[Execution]
    ) -> None:
        execution.end(at_us, sqlstate, message)
        ended.append(execution)
        for child in execution.children:
            if child.nested:
                child.ended_at_us = at_us  # not later
                continue
            # What SQL EXECUTE ran has no completion of its own.
            child.tag, child.rows = execution.tag, execution.rows
            child.end(at_us, sqlstate, message)
            ended.append(child)


def _transaction(event: ResponseSent) -> str:
    """Of several statements in one round trip it is known for the round trip alone."""
    before, after = event.transaction_before or "?", event.transaction_status or "?"
    return "" if before == after == "?" else before + after


def _same(execution: Execution, failed_text: bytes) -> bool:
    text = execution.text
    return text.startswith(failed_text) or failed_text.startswith(text)
