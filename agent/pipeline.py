"""Events to durable batches: who, what, may it, and what happened. One thread owns this."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from agent.catalog.touched import Touched, Touches
from agent.digests import Seal, unsealed
from agent.directory import Enrich
from agent.guard.hold import Settled
from agent.identity import Claims
from agent.judging import Held, Judges, Judging, RequestOf, no_request
from agent.parameters import Show, show_nothing
from agent.sessions import SessionTracker
from agent.sessions.logins import LOGIN
from agent.sessions.unanswered import Recorded
from agent.shown import Shown, as_it_is, without_strangers
from agent.sql.reader import Parser, read
from agent.urgency import Urgency
from agent.wire.batch import BatchBuilder, Payload
from model.action import Action, ActionKind, ActionOutcome, ActionResult
from model.approval import ApprovalStep
from model.catalog import Snapshot
from model.event import Asked, Event, Lost, Protocol
from model.rules_change import RulesChange
from model.session import Session
from model.statement import ParseStatus, Shape, Statement, StatementRun
from model.verdict import Mode, Outcome, RuleAction, Severity, Verdict

SUCCEEDED = ("", "00000")
Told = TypeVar("Told", Statement, StatementRun)


class Pipeline:
    """``take`` what the sources saw, ``tick`` the time, ``payloads`` for the spool."""

    def __init__(
        self,
        *,
        tracker: SessionTracker,
        parser: Parser,
        judges: Judges,
        mode: Mode,
        redact_message: Callable[[str, str, str], str],
        on_change: Callable[[Touched], None],
        on_verdict: Callable[[Verdict], None],
        on_statement: Callable[[Statement, Shape], None],
        on_run: Callable[[StatementRun, Shape], None],
        on_held: Callable[[Settled], None],
        on_lost: Callable[[Lost], None],
        claims: Claims | None = None,
        on_session: Callable[[Session], None] = lambda session: None,
        show_parameters: Show = show_nothing,
        on_tick: Callable[[], None] = lambda: None,
        request_of: RequestOf = no_request,
        touches: Touches | None = None,
        seal_digest: Seal = unsealed,
        shown: Shown = as_it_is,
    ) -> None:
        """``on_change``: a statement may have changed the catalog, or what ``touches`` knows to be
        watched. ``claims`` reads who a statement's comment names. ``on_session``: what is known of
        a session has changed. ``seal_digest``: what leaves the host in the place of a text's
        digest; ``shown``: in that of a text's Shape."""
        self._on_tick = on_tick
        self._claims = claims
        self._on_session = on_session
        self._tracker = tracker
        self._parser = parser
        self._judging = Judging(judges, mode, request_of)
        self._mode = mode
        self._redact_message = redact_message
        self._on_change = on_change
        self._touches = touches or Touches()
        self._on_verdict = on_verdict
        self._on_statement = on_statement
        self._on_run = on_run
        self._on_held = on_held
        self._on_lost = on_lost
        self._shown = shown
        self._show_parameters = show_parameters
        self._builder = BatchBuilder(seal=seal_digest)
        self._urgency = Urgency()
        self._unattributed = 0
        """Statements on the record of which nobody knows whose they are, since the last tick."""
        self.sessions: tuple[Session, ...] = ()
        """Those that live, as of the last tick; for readers on other threads."""
        self.unanswered: Recorded = {}
        """What ``finish`` put on the record without its end."""

    @property
    def rows(self) -> int:
        return self._builder.rows

    def take(self, events: Iterable[Event | Held], now_us: int) -> None:
        """Events of one poll, in their order; a Held carries its StatementStarted inside."""
        known: list[Session | Statement | StatementRun] = []
        for event in events:
            if isinstance(event, Held):
                self._on_held(event.settled)
                if event.event.quiet and event.settled.outcome is None:
                    continue  # it ran, and nobody asked what runs inside statements
                self._judging.remember(event)
                event = event.event
            if isinstance(event, Lost):
                self._builder.add_loss(event)
            else:
                known.extend(self._tracker.observe(event))
        self._record(known, now_us)

    def tick(self, now_us: int, logs_read_us: int | None = None) -> None:
        """Let what waited long enough for its other half go. ``logs_read_us``: as of when the
        servers' logs have been read, now if nothing is given."""
        self._on_tick()
        self._record(self._tracker.expire(now_us, logs_read_us), now_us)
        self.sessions = tuple(self._tracker.sessions())
        losses = self._tracker.losses()
        if self._unattributed:
            losses["unattributed"], self._unattributed = self._unattributed, 0
        for reason, count in losses.items():
            lost = Lost(now_us * 1000, "sessions", reason, count)
            self._on_lost(lost)
            self._builder.add_loss(lost)

    def finish(self, now_us: int) -> None:
        """The program ends: what has begun is recorded without waiting for its other half, or its
        end."""
        self.unanswered = self._tracker.unanswered()
        self._record(self._tracker.flush(), now_us)

    def refresh(self, now_us: int) -> None:
        """What sessions are enriched with has changed."""
        self._record(self._tracker.refresh(), now_us)

    def add_snapshot(self, snapshot: Snapshot) -> None:
        self._touches.learn(snapshot)
        self._builder.add_snapshot(snapshot)

    def add_rules_change(self, change: RulesChange) -> None:
        self._builder.add_rules_change(change)

    def add_approval(self, step: ApprovalStep) -> None:
        self._builder.add_approval(step)

    def add_action(self, action: Action, result: ActionResult, session: Session) -> None:
        """An operator's order is on the record like a rule's verdict."""
        ended = action.kind is ActionKind.TERMINATE
        done = Outcome.TERMINATED if ended else Outcome.CANCELLED
        verdict = Verdict(
            at_us=result.at_us,
            backend=action.backend,
            statement_id=0,
            rule_id="operator",
            title=f"ordered by {action.requested_by}",
            severity=Severity.INFORMATIONAL,
            action=RuleAction.TERMINATE if ended else RuleAction.CANCEL,
            mode=self._mode,
            outcome=done if result.outcome is ActionOutcome.DONE else Outcome.FAILED,
            reason=action.reason if result.outcome is ActionOutcome.DONE else result.message,
            digest="",
        )
        self.add_verdicts([(verdict, "")], session)

    def add_verdicts(self, told: Iterable[tuple[Verdict, str]], session: Session) -> None:
        """Of no statement; each with a redacted text."""
        for verdict, text in told:
            self._on_verdict(verdict)
            self._builder.add_verdict(verdict, session, text)

    def payloads(self) -> Sequence[Payload]:
        return self._builder.take()

    def mix(self, upto_bytes: int) -> None:
        """How much of what comes next may be collected without regard to its class."""
        self._builder.mix(upto_bytes)

    def _record(self, known: Sequence[Session | Statement | StatementRun], now_us: int) -> None:
        statements: list[Statement | StatementRun] = []
        for each in known:
            if isinstance(each, Session):
                self._on_session(each)
                self._builder.add_session(each, now_us)
            else:
                statements.append(each)
        if not statements:
            return
        texts = [statement.text for statement in statements]
        shapes = self._parser.shapes(texts, [_text_bytes(statement) for statement in statements])
        for statement, shape in zip(statements, shapes, strict=True):
            if not statement.session.user:
                self._unattributed += _executions(statement)
            if isinstance(statement, StatementRun):
                self._record_run(self._claimed(statement), shape)
            else:
                self._record_statement(self._claimed(statement), self._reread(statement, shape))

    def _reread(self, statement: Statement, shape: Shape) -> Shape:
        if statement.protocol is Protocol.STARTUP:
            return LOGIN
        if statement.protocol is not Protocol.FASTPATH and (
            not statement.parent_id or shape.status is not ParseStatus.INVALID
        ):
            return shape
        text, length = statement.text, statement.text_bytes
        return read(self._parser, text, length, statement.protocol, nested=True)

    def _record_run(self, run: StatementRun, shape: Shape) -> None:
        """What is the same for all is done once; where a rule matches, each has its own verdict."""
        if self._judging.is_matched(run, shape):
            for index in range(len(run.executions)):
                self._record_statement(run.statement(index), shape)
            return
        self._on_run(run, shape)
        shown = self._shown(shape, run.text)
        self._notice(shown, run.session, run.transaction)
        parameters = self._show_parameters(run.parameters, run.text, len(run.text), shape)
        urgent = self._urgency.of(run, shape)
        self._builder.add_run(run, shown, parameters, urgent=urgent)

    def _notice(self, shape: Shape, session: Session, transaction: str) -> None:
        for touched in self._touches.of(shape, session, transaction):
            self._on_change(touched)

    def _claimed(self, statement: Told) -> Told:
        """With who sent it, and its trace, as its comment says."""
        if self._claims is None:
            return statement
        clue, trace = self._claims.of(*_asked(statement))
        if clue is None and not trace:
            return statement
        session = self._claims.applied(statement.session, clue)
        if isinstance(statement, StatementRun):
            return statement._replace(session=session, trace_parent=trace)
        return replace(statement, session=session, trace_parent=trace)

    def _record_statement(self, statement: Statement, shape: Shape) -> None:
        self._on_statement(statement, shape)
        rule = self._judge(statement, shape)
        shown = without_strangers(self._shown(shape, statement.text), statement.sqlstate)
        if statement.sqlstate in SUCCEEDED:
            self._notice(shown, statement.session, statement.transaction)
        message = statement.error_message
        if message:
            session = statement.session
            beside = f"{shape.redacted_text} {session.user} {session.database}"
            message = self._redact_message(message, statement.sqlstate, beside)
        parameters = self._show_parameters(
            statement.parameters, statement.text, statement.text_bytes, shape
        )
        urgent = self._urgency.of(statement, shape, rule)
        self._builder.add(statement, shown, message, rule, parameters, urgent=urgent)

    def _judge(self, statement: Statement, shape: Shape) -> str:
        """The id of the rule that decided; its verdict is recorded."""
        judged = self._judging.judge(statement, shape)
        if judged.verdict is not None:
            self.add_verdicts([(judged.verdict, shape.redacted_text)], statement.session)
        if judged.request is not None:
            self._builder.add_approval(judged.request)
        return judged.rule_id


def _executions(statement: Statement | StatementRun) -> int:
    if isinstance(statement, StatementRun):
        return len(statement.executions)
    return 0 if statement.protocol is Protocol.STARTUP else statement.executions


def _asked(statement: Statement | StatementRun) -> Asked:
    """What the client asked for: a comment inside of it is the word of whoever wrote that."""
    inside = None if isinstance(statement, StatementRun) else statement.asked
    return Asked(statement.text, statement.number) if inside is None else inside


def _text_bytes(statement: Statement | StatementRun) -> int:
    return len(statement.text) if isinstance(statement, StatementRun) else statement.text_bytes


def enricher(
    identify: Callable[[Session], Session], superusers: Callable[[str], frozenset[str] | None]
) -> Enrich:
    """Fills what neither source knows: identity, and whether the login is a superuser."""

    def enrich(session: Session) -> Session:
        names = superusers(session.cluster)
        known = None if names is None else session.user in names
        return identify(replace(session, superuser=known))

    return enrich
