"""Events to durable batches: who, what, may it, and what happened. One thread owns this."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

from agent.guard.hold import Settled
from agent.identity import Claims
from agent.judge import STOPPING, Enrich, Parser
from agent.parameters import Show, show_nothing
from agent.sessions import SessionTracker
from agent.sessions.limits import DEFAULT_LIMITS
from agent.wire import BatchBuilder, Payload
from model.action import Action, ActionKind, ActionOutcome, ActionResult
from model.catalog import Snapshot
from model.event import Event, Lost, StatementStarted
from model.session import BackendKey, Session
from model.statement import ParseStatus, Shape, Source, Statement, StatementRun
from model.verdict import Mode, Outcome, RuleAction, Severity, Verdict
from rules import Judge, Match, View, decide

CHANGING = frozenset(
    ("alter", "create", "drop", "grant", "revoke", "reassign", "import", "truncate", "do", "call")
)
"""Operations after which the catalog may be another one."""
CHANGING_FUNCTIONS = frozenset(("pg_reload_conf", "pg_catalog.pg_reload_conf", "set_config"))
SETTLED_LIMIT = 10_000
BEFORE_EXECUTION = ("0A", "22", "25", "26", "34", "3D", "3F", "42")
"""Classes of SQLSTATE with which PostgreSQL's own parser, analysis or transaction state refuses."""
REFUSED_BY_SERVER = "the server itself refused it"


Told = TypeVar("Told", Statement, StatementRun)
_HoldKey: TypeAlias = tuple[BackendKey, bytes, int]


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
        judge: Callable[[], Judge],
        mode: Mode,
        redact_message: Callable[[str, str], str],
        on_change: Callable[[], None],
        on_verdict: Callable[[Verdict], None],
        on_statement: Callable[[Statement, Shape], None],
        on_run: Callable[[StatementRun, Shape], None],
        on_held: Callable[[Settled], None],
        on_lost: Callable[[Lost], None],
        send_full_text: bool = False,
        claims: Claims | None = None,
        on_session: Callable[[Session], None] = lambda session: None,
        show_parameters: Show = show_nothing,
    ) -> None:
        """``on_change``: a statement may have changed the catalog. ``claims`` reads who a
        statement's comment names. ``on_session``: what is known of a session has changed."""
        self._claims = claims
        self._on_session = on_session
        self._tracker = tracker
        self._parser = parser
        self._judge = judge
        self._mode = mode
        self._redact_message = redact_message
        self._on_change = on_change
        self._on_verdict = on_verdict
        self._on_statement = on_statement
        self._on_run = on_run
        self._on_held = on_held
        self._on_lost = on_lost
        self._send_full_text = send_full_text
        self._show_parameters = show_parameters
        self._builder = BatchBuilder()
        self.sessions: tuple[Session, ...] = ()
        """Those that live, as of the last tick; for readers on other threads."""
        self._held: OrderedDict[_HoldKey, deque[Settled]] = OrderedDict()

    @property
    def rows(self) -> int:
        return self._builder.rows

    def take(self, events: Iterable[Event | Held], now_us: int) -> None:
        """Events of one poll, in their order; a Held carries its StatementStarted inside."""
        known: list[Session | Statement | StatementRun] = []
        for event in events:
            if isinstance(event, Held):
                self._remember(event)
                self._on_held(event.settled)
                event = event.event
            if isinstance(event, Lost):
                self._builder.add_loss(event)
            else:
                known.extend(self._tracker.observe(event))
        self._record(known, now_us)

    def tick(self, now_us: int) -> None:
        """Let what waited long enough for its other half go."""
        self._record(self._tracker.expire(now_us), now_us)
        self.sessions = tuple(self._tracker.sessions())
        for reason, count in self._tracker.losses().items():
            lost = Lost(now_us * 1000, "sessions", reason, count)
            self._on_lost(lost)
            self._builder.add_loss(lost)

    def finish(self, now_us: int) -> None:
        """The program ends: what has ended is recorded without waiting for its other half."""
        self._record(self._tracker.flush(), now_us)

    def refresh(self, now_us: int) -> None:
        """What sessions are enriched with has changed."""
        self._record(self._tracker.refresh(), now_us)

    def add_snapshot(self, snapshot: Snapshot) -> None:
        self._builder.add_snapshot(snapshot)

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
        self._on_verdict(verdict)
        self._builder.add_verdict(verdict, session, "")

    def payloads(self) -> Sequence[Payload]:
        return self._builder.take()

    def _remember(self, held: Held) -> None:
        key = _hold_key(held.event.backend, held.event.text, held.event.text_bytes)
        self._held.setdefault(key, deque()).append(held.settled)
        while len(self._held) > SETTLED_LIMIT:
            self._held.popitem(last=False)

    def _settled(self, statement: Statement) -> Settled | None:
        key = _hold_key(statement.session.key, statement.text, statement.text_bytes)
        waiting = self._held.get(key)
        if not waiting:
            return None
        settled = waiting.popleft()
        if not waiting:
            del self._held[key]
        return settled

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
                self._record_statement(self._claimed(statement), shape)

    def _record_run(self, run: StatementRun, shape: Shape) -> None:
        """What is the same for all is done once; where a rule matches, each has its own verdict."""
        if self._mode is not Mode.OFF and self._held_or_matched(run, shape):
            for index in range(len(run.executions)):
                self._record_statement(run.statement(index), shape)
            return
        self._on_run(run, shape)
        if shape.operation in CHANGING or CHANGING_FUNCTIONS.intersection(shape.functions):
            self._on_change()
        parameters = self._show_parameters(run.parameters, run.text, len(run.text), shape)
        self._builder.add_run(run, self._shown(shape, run.text), parameters)

    def _held_or_matched(self, run: StatementRun, shape: Shape) -> bool:
        view = View(shape, run.session, len(run.text))
        return bool(self._judge().judge(view)) or (
            bool(self._held) and _hold_key(run.session.key, run.text, len(run.text)) in self._held
        )

    def _shown(self, shape: Shape, text: bytes) -> Shape:
        if not self._send_full_text:
            return shape
        return replace(shape, redacted_text=text.decode("utf-8", "backslashreplace"))

    def _claimed(self, statement: Told) -> Told:
        """With who sent it, and its trace, as its comment says."""
        if self._claims is None:
            return statement
        clue, trace = self._claims.of(statement.text)
        if clue is None and not trace:
            return statement
        session = self._claims.applied(statement.session, clue)
        if isinstance(statement, StatementRun):
            return statement._replace(session=session, trace_parent=trace)
        return replace(statement, session=session, trace_parent=trace)

    def _record_statement(self, statement: Statement, shape: Shape) -> None:
        self._on_statement(statement, shape)
        rule = ""
        if self._mode is not Mode.OFF:
            rule = self._judge_statement(statement, shape)
        if shape.operation in CHANGING or CHANGING_FUNCTIONS.intersection(shape.functions):
            self._on_change()
        message = statement.error_message
        if message:
            message = self._redact_message(message, statement.sqlstate)
        parameters = self._show_parameters(
            statement.parameters, statement.text, statement.text_bytes, shape
        )
        shown = self._shown(shape, statement.text)
        self._builder.add(statement, shown, message, rule, parameters)

    def _judge_statement(self, statement: Statement, shape: Shape) -> str:
        """The id of the rule that decided; its verdict is recorded with what really happened."""
        settled = self._settled(statement)
        if settled is None and shape.status is not ParseStatus.PARSED and _did_not_run(statement):
            return ""  # a typo is no finding, and what pgaudit abbreviates is no statement
        view = View(shape, statement.session, statement.text_bytes, statement.protocol)
        match = decide(self._judge().judge(view))
        if match is None and settled is not None and settled.outcome is not None:
            self._refused_without_rule(statement, shape, settled)
            return settled.decision.rule_id
        if match is None or match.action is RuleAction.OBSERVE:
            return match.rule.id if match else ""
        verdict = _verdict(statement, shape, match, self._mode, settled)
        self._on_verdict(verdict)
        self._builder.add_verdict(verdict, statement.session, shape.redacted_text)
        return match.rule.id

    def _refused_without_rule(self, statement: Statement, shape: Shape, settled: Settled) -> None:
        """The judge was late and ``on_timeout`` is deny: on the record like a rule's verdict."""
        verdict = Verdict(
            at_us=statement.started_at_us,
            backend=statement.session.key,
            statement_id=statement.id,
            rule_id=settled.decision.rule_id,
            title=settled.decision.title,
            severity=Severity.HIGH,
            action=RuleAction.DENY,
            mode=self._mode,
            outcome=settled.outcome or Outcome.FAILED,
            reason=settled.reason,
            digest=shape.digest,
            held_us=settled.held_us,
        )
        self._on_verdict(verdict)
        self._builder.add_verdict(verdict, statement.session, shape.redacted_text)


def _verdict(
    statement: Statement, shape: Shape, match: Match, mode: Mode, settled: Settled | None
) -> Verdict:
    outcome = _outcome(match, mode, settled)
    reason = match.reason
    if outcome is Outcome.TOO_LATE and settled is None and _never_ran(statement):
        outcome, reason = Outcome.OBSERVED, f"{reason} ({REFUSED_BY_SERVER})"
    if settled is not None and settled.reason:
        reason = f"{reason} ({settled.reason})"
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
        reason=reason,
        digest=shape.digest,
        held_us=settled.held_us if settled else 0,
    )


def _text_bytes(statement: Statement | StatementRun) -> int:
    return len(statement.text) if isinstance(statement, StatementRun) else statement.text_bytes


def _hold_key(backend: BackendKey, text: bytes, text_bytes: int) -> _HoldKey:
    """A prefix and the full length: the tracker may have cut the text to spare memory, and
    thousands of whole texts are more than we keep."""
    return backend, text[: DEFAULT_LIMITS.short_text_bytes], text_bytes


def _never_ran(statement: Statement) -> bool:
    """It failed where nothing is held yet: there was nothing to stop, so nobody was too late."""
    return statement.sqlstate.startswith(BEFORE_EXECUTION)


def _did_not_run(statement: Statement) -> bool:
    return statement.source is Source.PGAUDIT or statement.sqlstate not in ("", "00000")


def _outcome(match: Match, mode: Mode, settled: Settled | None) -> Outcome:
    if mode is not Mode.ENFORCE or match.action not in STOPPING:
        return Outcome.OBSERVED
    if settled is None or settled.outcome is None:
        return Outcome.TOO_LATE
    return settled.outcome


def enricher(
    identify: Callable[[Session], Session], superusers: Callable[[str], frozenset[str] | None]
) -> Enrich:
    """Fills what neither source knows: identity, and whether the login is a superuser."""

    def enrich(session: Session) -> Session:
        names = superusers(session.cluster)
        known = None if names is None else session.user in names
        return identify(replace(session, superuser=known))

    return enrich
