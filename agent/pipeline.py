"""Events to durable batches: who, what, may it, and what happened. One thread owns this."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

from agent.catalog.touched import Touched, Touches
from agent.digests import Seal, unsealed
from agent.directory import Enrich
from agent.guard.hold import Settled
from agent.identity import Claims
from agent.judge import STOPPING
from agent.limiting import Limiting
from agent.outcomes import read_back
from agent.parameters import Show, show_nothing
from agent.sessions import SessionTracker
from agent.sessions.logins import LOGIN
from agent.sessions.unanswered import Recorded
from agent.shown import Shown, as_it_is
from agent.sql.reader import Parser, read
from agent.urgency import Urgency
from agent.wire.batch import BatchBuilder, Payload
from model.action import Action, ActionKind, ActionOutcome, ActionResult
from model.approval import ApprovalStep
from model.catalog import Snapshot
from model.event import Event, Lost, Protocol, StatementStarted
from model.rules_change import RulesChange
from model.session import Session
from model.statement import ParseStatus, Shape, Source, Statement, StatementRun
from model.verdict import Mode, Outcome, RuleAction, Severity, Verdict
from rules import Judge, Judgement, Match, View, decide

SETTLED_LIMIT = 10_000
SUCCEEDED = ("", "00000")


RequestOf = Callable[[Statement, Shape, str, Settled], ApprovalStep | None]


def no_request(*_: object) -> None:
    """Nobody can be asked."""


Told = TypeVar("Told", Statement, StatementRun)
_HoldKey: TypeAlias = tuple[int, int]
"""Pid and hold: the latter is a moment, so a pid that comes again makes no difference."""


@dataclass(frozen=True, slots=True)
class Held:
    """A statement that the guard has settled."""

    event: StatementStarted
    settled: Settled


class Pipeline:
    """``take`` what the sources saw, ``tick`` the time, ``payloads`` for the spool."""

    def __init__(
        self,
        *,
        tracker: SessionTracker,
        parser: Parser,
        judges: Callable[[int], Sequence[Judge]],
        mode: Mode,
        redact_message: Callable[[str, str], str],
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
        """``judges``: who may have been asked about a statement that started at these Unix
        microseconds, the likeliest first; there are several while rules are exchanged.
        ``on_change``: a statement may have changed the catalog, or what ``touches`` knows to be
        watched. ``claims`` reads who a
        statement's comment names. ``on_session``: what is known of a session has changed.
        ``request_of``: what a refused statement asks for. ``seal_digest``: what leaves the host in
        the place of a text's digest; ``shown``: in that of a text's Shape."""
        self._on_tick = on_tick
        self._request_of = request_of
        self._claims = claims
        self._on_session = on_session
        self._tracker = tracker
        self._parser = parser
        self._judges = judges
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
        self.sessions: tuple[Session, ...] = ()
        """Those that live, as of the last tick; for readers on other threads."""
        self.unanswered: Recorded = {}
        """What ``finish`` put on the record without its end."""
        self._held: OrderedDict[_HoldKey, Settled] = OrderedDict()
        self._limiting = Limiting(mode)

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
                self._remember(event)
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
        for reason, count in self._tracker.losses().items():
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

    def _remember(self, held: Held) -> None:
        self._held[held.event.backend.pid, held.event.hold_id] = held.settled
        while len(self._held) > SETTLED_LIMIT:
            self._held.popitem(last=False)

    def _settled(self, statement: Statement) -> Settled | None:
        if not statement.hold_id:
            return None
        return self._held.pop((statement.session.key.pid, statement.hold_id), None)

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
        if self._mode is not Mode.OFF and self._is_matched(run, shape):
            for index in range(len(run.executions)):
                self._record_statement(run.statement(index), shape)
            return
        self._on_run(run, shape)
        self._notice(shape, run.session, run.transaction)
        parameters = self._show_parameters(run.parameters, run.text, len(run.text), shape)
        urgent = self._urgency.of(run, shape)
        self._builder.add_run(run, self._shown(shape, run.text), parameters, urgent=urgent)

    def _is_matched(self, run: StatementRun, shape: Shape) -> bool:
        """By a rule or a limit. If not, it counts for limits to come."""
        text_bytes, at_us = len(run.text), run.executions[-1].started_at_us
        judge = self._judges(at_us)[0]
        judgement = judge.consider_plain(shape, run.session, text_bytes, at_us)
        if judgement.matches or judgement.limits:
            view = View(shape, run.session, text_bytes, at_us=at_us)
            if self._limiting.matches(judge, judgement, view):
                return True
        if judge.looks_back:
            judge.learn(shape, max(one.rows for one in run.executions))
        if judgement.limits:
            rows = sum(max(one.rows, 0) for one in run.executions)
            self._limiting.count(judge, judgement, run.session, rows, len(run.executions))
        return False

    def _notice(self, shape: Shape, session: Session, transaction: str) -> None:
        for touched in self._touches.of(shape, session, transaction):
            self._on_change(touched)

    def _claimed(self, statement: Told) -> Told:
        """With who sent it, and its trace, as its comment says."""
        if self._claims is None:
            return statement
        clue, trace = self._claims.of(statement.text, statement.number)
        if clue is None and not trace:
            return statement
        session = self._claims.applied(statement.session, clue)
        if isinstance(statement, StatementRun):
            return statement._replace(session=session, trace_parent=trace)
        return replace(statement, session=session, trace_parent=trace)

    def _record_statement(self, statement: Statement, shape: Shape) -> None:
        self._on_statement(statement, shape)
        rule = ""
        if self._mode is not Mode.OFF and statement.protocol is not Protocol.STARTUP:
            rule = self._judge_statement(statement, shape)
        if statement.sqlstate in SUCCEEDED:
            self._notice(shape, statement.session, statement.transaction)
        message = statement.error_message
        if message:
            message = self._redact_message(message, statement.sqlstate)
        parameters = self._show_parameters(
            statement.parameters, statement.text, statement.text_bytes, shape
        )
        shown = self._shown(shape, statement.text)
        urgent = self._urgency.of(statement, shape, rule)
        self._builder.add(statement, shown, message, rule, parameters, urgent=urgent)

    def _judge_statement(self, statement: Statement, shape: Shape) -> str:
        """The id of the rule that decided; its verdict is recorded with what really happened."""
        settled = self._settled(statement)
        if settled is None and shape.status is not ParseStatus.PARSED and _did_not_run(statement):
            return ""  # a typo is no finding, and what pgaudit abbreviates is no statement
        view = View(
            shape,
            statement.session,
            statement.text_bytes,
            statement.protocol,
            at_us=statement.started_at_us,
        )
        judge = self._judges(statement.started_at_us)[0]
        judgement = judge.consider(view)
        match = self._match(judge, judgement, view, settled)
        if statement.executions == 1:
            judge.learn(shape, statement.rows)
        if judgement.limits and not statement.parent_id and _has_run(settled):
            self._limiting.count(
                judge, judgement, statement.session, statement.rows, statement.executions
            )
        if match is None and settled is not None and settled.outcome is not None:
            self._refused_without_rule(statement, shape, settled)
            return settled.decision.rule_id
        if match is None or match.action is RuleAction.OBSERVE:
            return match.rule.id if match else ""
        self._limiting.note(match, statement.session, judge)
        verdict = _verdict(statement, shape, match, self._mode, settled)
        self._on_verdict(verdict)
        self._builder.add_verdict(verdict, statement.session, shape.redacted_text)
        if settled is not None:
            request = self._request_of(statement, shape, match.rule.id, settled)
            if request is not None:
                self._builder.add_approval(request)
        return match.rule.id

    def _match(
        self, judge: Judge, judgement: Judgement, view: View, settled: Settled | None
    ) -> Match | None:
        """What the guard was told, which has seen more than the text, and asked at that moment:
        time has passed since, and limits are used up or free again."""
        if settled is not None and settled.decision.judged and not settled.late:
            return settled.decision.match
        return decide(self._limiting.matches(judge, judgement, view))

    def _refused_without_rule(self, statement: Statement, shape: Shape, settled: Settled) -> None:
        """The judge was late and ``on_timeout`` is deny: on the record like a rule's verdict."""
        read = read_back(settled, statement, shape)
        verdict = Verdict(
            at_us=statement.started_at_us,
            backend=statement.session.key,
            statement_id=statement.id,
            rule_id=settled.decision.rule_id,
            title=settled.decision.title,
            severity=Severity.HIGH,
            action=RuleAction.DENY,
            mode=self._mode,
            outcome=read.outcome,
            reason="; ".join(filter(None, (settled.reason, read.reason))),
            digest=shape.digest,
            held_us=settled.held_us,
        )
        self._on_verdict(verdict)
        self._builder.add_verdict(verdict, statement.session, shape.redacted_text)


def _verdict(
    statement: Statement, shape: Shape, match: Match, mode: Mode, settled: Settled | None
) -> Verdict:
    outcome, remarks = Outcome.OBSERVED, [settled.reason if settled else ""]
    acted = settled is not None and settled.outcome is not None
    if settled is not None and settled.decision.approval and not acted:
        outcome = Outcome.APPROVED
        remarks.append(f"approved: request {settled.decision.request}")
    elif acted or (mode is Mode.ENFORCE and match.action in STOPPING):
        read = read_back(settled, statement, shape)
        outcome = read.outcome
        remarks.append(read.reason)
    remark = "; ".join(filter(None, remarks))
    return Verdict(
        at_us=statement.started_at_us,
        backend=statement.session.key,
        statement_id=statement.id,
        rule_id=match.rule.id,
        title=match.rule.title,
        severity=match.rule.severity,
        action=match.action,
        mode=mode,
        outcome=outcome,
        reason=f"{match.reason} ({remark})" if remark else match.reason,
        digest=shape.digest,
        held_us=settled.held_us if settled else 0,
    )


def _has_run(settled: Settled | None) -> bool:
    return settled is None or settled.outcome in (None, Outcome.TOO_LATE, Outcome.FAILED)


def _text_bytes(statement: Statement | StatementRun) -> int:
    return len(statement.text) if isinstance(statement, StatementRun) else statement.text_bytes


def _did_not_run(statement: Statement) -> bool:
    return statement.source is Source.PGAUDIT or statement.sqlstate not in ("", "00000")


def enricher(
    identify: Callable[[Session], Session], superusers: Callable[[str], frozenset[str] | None]
) -> Enrich:
    """Fills what neither source knows: identity, and whether the login is a superuser."""

    def enrich(session: Session) -> Session:
        names = superusers(session.cluster)
        known = None if names is None else session.user in names
        return identify(replace(session, superuser=known))

    return enrich
