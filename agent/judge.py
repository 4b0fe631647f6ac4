"""From a statement about to run to the rules' word on it: who sends it, what it is, who says no."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple, Protocol

from agent.directory import Directory
from agent.guard.decision import ALLOW, Decision, DecisionKind
from agent.guard.startup import as_statements
from agent.identity import Claims
from agent.planned import NotKnownError, Planned, Touched, goes_beyond, is_resolved, overlaid
from agent.sql.answers import part_at, without_tree
from agent.sql.reader import Parser, read, read_soon, recall
from model.event import Asked, StatementStarted
from model.event import Protocol as Wire
from model.session import Session
from model.statement import ParseStatus, Shape
from model.verdict import RuleAction
from rules import Judge, Match, View, decide, parts_of
from rules.usage import holder

ESTIMATES = "statement.estimated_rows"
"""What it says of the same text changes with the data, so nothing may be kept where a rule asks."""
PARSER_PATIENCE_SECONDS = 0.02
MAX_AT_ONCE_BYTES = 16 << 10
"""Looking at a longer text takes a thread that may be late."""
MAX_AT_ONCE_STATEMENTS = 100
"""Rules are asked about each statement of a string, which takes up to 0.2 ms."""
LARGE = 100
"""With more names than this in it, rules may take a while over a statement."""


PLANNED = frozenset(("select", "insert", "update", "delete", "merge"))
"""Commands that have a plan."""


class UnnamedError(Exception):
    """What a statement touches has no names, and without them it may not pass."""


class Approvals(Protocol):
    """What may undo a refusal, or says under which name to ask for that."""

    def named(
        self, event: StatementStarted, view: View, matches: Sequence[Match], decision: Decision
    ) -> Decision | None:
        """Without waiting; None: ask ``answer``."""
        ...

    def answer(
        self, event: StatementStarted, view: View, matches: Sequence[Match], decision: Decision
    ) -> Decision: ...


class GuardJudge:
    """Answers the guard's question about one held statement."""

    def __init__(
        self,
        directory: Directory,
        parser: Parser,
        judge: Callable[[], Judge],
        claims: Claims | None = None,
        planned: Planned | None = None,
        approvals: Approvals | None = None,
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        *,
        strict: bool = False,
    ) -> None:
        """``judge`` is asked each time: rules may be exchanged while we run. ``claims`` reads who
        a statement's comment names; None: comments name nobody. ``planned`` tells what a statement
        really touches; None: what its text names. ``approvals`` may let pass what rules refuse;
        None: nobody can be asked. ``strict``: a statement that touches relations whose names could
        not be read in time has no answer: the judge is late."""
        self._strict = strict
        self._planned = planned
        self._approvals = approvals
        self._clock_us = clock_us
        self._directory = directory
        self._claims = claims
        self._parser = parser
        self._judge = judge

    def __call__(self, event: StatementStarted) -> Decision:
        session = self._session(event)
        if session.startup and (refusal := self._started(session, wait=True)) is not None:
            return refusal  # before the text is read, which may take too long
        shape = read(
            self._parser, event.text, event.text_bytes, event.protocol, nested=event.nested
        )
        touched = self._touched(event, session, wait=True)
        asked = self._question(event, self._judge(), session, shape, touched)
        matches, by_text = self._matches(asked)
        decision = self._decision(asked, matches, by_text)
        unsure = touched is not None and not touched.answered
        if self._strict and unsure and decision.kind is DecisionKind.ALLOW:
            raise UnnamedError("the server did not say in time what its relations are")
        if self._approvals is not None and decision.kind is not DecisionKind.ALLOW:
            decision = self._approvals.answer(event, asked.planned, matches, decision)
        return self._passing(asked, decision)

    def unread(self, event: StatementStarted) -> Decision:
        """As of a text that cannot be parsed, with what its plan touches; never waits."""
        shape = without_tree(event.text, ParseStatus.FAILED)
        session = self._session(event)
        touched = None
        with suppress(NotKnownError):
            if session.startup and (refusal := self._started(session, wait=False)) is not None:
                return refusal
            touched = self._touched(event, session, wait=False)
        asked = self._question(event, self._judge(), session, shape, touched)
        return self._decision(asked, *self._matches(asked))

    def at_once(
        self,
        event: StatementStarted,
        meanwhile: Callable[[], None] = lambda: None,
        left_seconds: float = PARSER_PATIENCE_SECONDS,
    ) -> Decision | None:
        """The same, if nobody must be waited for but the parser, and for that not long. What else
        is needed is looked up while it works, and so is ``meanwhile`` done.

        None: it takes a thread that may wait.
        """
        if takes_long(event):
            return None
        judge, session = self._judge(), self._session(event)
        if session.startup:
            try:
                refusal = self._started(session, wait=False)
            except NotKnownError:
                return None
            if refusal is not None:
                return refusal
        plans: list[Touched | None] = []

        def look() -> None:
            meanwhile()
            plans.append(self._touched(event, session, wait=False))

        try:
            if judge.looks_back:
                shape = recall(
                    self._parser, event.text, event.text_bytes, event.protocol, nested=event.nested
                )
            else:
                patience = min(left_seconds, PARSER_PATIENCE_SECONDS)
                shape = read_soon(self._parser, event, look, patience)
            if shape is None or _is_large(shape):
                return None
            touched = plans[0] if plans else self._touched(event, session, wait=False)
        except NotKnownError:
            return None
        asked = self._question(event, judge, session, shape, touched)
        matches, by_text = self._matches(asked)
        decision = self._decision(asked, matches, by_text)
        if self._approvals is None or decision.kind is DecisionKind.ALLOW:
            return self._passing(asked, decision)
        named = self._approvals.named(event, asked.planned, matches, decision)
        return named and self._passing(asked, named)

    def _passing(self, asked: Question, decision: Decision) -> Decision:
        """What makes others be judged anew when it passes must be seen each time."""
        if decision.kind is not DecisionKind.ALLOW or self._planned is None:
            return decision
        shape = asked.view.shape
        if "alter" not in shape.verbs and shape.status is ParseStatus.PARSED:
            return decision
        passes = self._planned.passes(asked.event, asked.view.session)
        return replace(decision, lasting=False) if passes else decision

    def foresee(self, text: bytes) -> None:
        """A statement with this text is held, and its event is on its way."""
        if _is_long(text) or self._judge().looks_back:
            return
        if self._parser.known(text, len(text)) is None:
            self._parser.ask_ahead(text)

    def keep(self) -> None:
        """What need not be done while a backend waits."""
        self._parser.keep()

    def _session(self, event: StatementStarted) -> Session:
        session = self._directory.session(event.backend)
        if self._claims is None:
            return session
        if event.inside:  # its own comment is that of whoever wrote the function
            asked = event.asked or Asked(b"")
            return self._claims.session(session, *asked)
        return self._claims.session(session, event.text, event.number)

    def _started(self, session: Session, *, wait: bool) -> Decision | None:
        """What was set when the session started is judged as if SET had set it, and refused with
        each statement. Raises NotKnownError where the parser must be waited for."""
        for text in as_statements(session.startup):
            refusal = self._refusal_of(text, session, wait=wait)
            if refusal is not None:
                return refusal
        return None

    def _refusal_of(self, text: bytes, session: Session, *, wait: bool) -> Decision | None:
        if wait:
            shape: Shape | None = read(self._parser, text, len(text), Wire.QUERY, nested=False)
        else:
            shape = recall(self._parser, text, len(text), Wire.QUERY, nested=False)
        if shape is None:
            raise NotKnownError
        view = View(shape, session, len(text), Wire.QUERY, at_us=self._clock_us())
        match = decide(self._judge().judge(view))
        kind = STOPPING.get(match.action) if match else None
        if match is None or kind is None:
            return None
        reason = f"set when the session started: {match.reason}"
        return Decision(
            kind,
            match.rule.id,
            reason,
            session.database,
            recognised=shape.summary,
            lasting=False,
            match=replace(match, reason=reason),
            judged=True,
        )

    def _question(
        self,
        event: StatementStarted,
        judge: Judge,
        session: Session,
        shape: Shape,
        touched: Touched | None,
    ) -> Question:
        at_us = self._clock_us()
        view = View(shape, session, event.text_bytes, event.protocol, at_us=at_us)
        part = None
        if shape.parts and self._planned is not None:
            part = part_at(shape, event.text, self._planned.place(event, session))
        looks = looks_at(view, touched, part)
        return Question(event, judge, view, with_plan(view, touched), touched, looks, part)

    def _matches(self, asked: Question) -> tuple[Sequence[Match], Sequence[Match]]:
        """By plan and text, and by text alone."""
        matches = [match for look in asked.looks for match in asked.judge.judge(look)]
        alone = asked.touched is None and asked.part is None
        return matches, matches if alone else asked.judge.judge(asked.view)

    def _touched(self, event: StatementStarted, session: Session, *, wait: bool) -> Touched | None:
        if self._planned is None:
            return None
        return self._planned.touched(event, session, wait=wait)

    def _decision(
        self, asked: Question, matches: Sequence[Match], by_text: Sequence[Match]
    ) -> Decision:
        match, plain = decide(matches), decide(by_text)
        # What the record, which has the text alone, would judge differently must be held each time,
        # for the record to know what was said here.
        by_plan = _word(match) != _word(plain) or self._depends_on_part(asked, match)
        lasting = not by_plan and self._is_lasting(asked)
        kind = STOPPING.get(match.action) if match else None
        if match is None or kind is None:
            if lasting and match is None:
                return ALLOWED
            return Decision(DecisionKind.ALLOW, lasting=lasting, match=match, judged=True)
        return Decision(
            kind,
            match.rule.id,
            match.reason,
            asked.view.session.database,
            recognised=asked.planned.shape.summary,
            lasting=lasting,
            match=match,
            judged=True,
        )

    def _depends_on_part(self, asked: Question, match: Match | None) -> bool:
        """Whether another statement of the same string might have another answer with such a plan:
        to the kernel they have one text."""
        if asked.part is None or asked.touched is None:
            return False
        looks = looks_at(asked.view, asked.touched, None)
        others = [match for look in looks for match in asked.judge.judge(look)]
        return _word(decide(others)) != _word(match)

    def _is_lasting(self, asked: Question) -> bool:
        """Not where a comment names somebody whose limits the class of the session knows nothing
        about, and not where the answer may be another one with the same text and relations."""
        if asked.touched is not None and (
            not asked.touched.lasting
            or ESTIMATES in asked.judge.rules.fields
            or goes_beyond(asked.view.shape, asked.touched)
        ):
            return False
        if not asked.judge.rules.limits:
            return True
        session = self._directory.session(asked.event.backend)
        return session is asked.view.session or all(
            holder(session, limit.per) == holder(asked.view.session, limit.per)
            for look in asked.looks
            for limit in asked.judge.consider(look).limits
        )


def takes_long(event: StatementStarted) -> bool:
    """Others must not wait for this one."""
    return _is_long(event.text)


def _is_long(text: bytes) -> bool:
    return len(text) > MAX_AT_ONCE_BYTES or text.count(b";") > MAX_AT_ONCE_STATEMENTS


class Question(NamedTuple):
    """One held statement, as its text and its plan show it."""

    event: StatementStarted
    judge: Judge
    view: View
    planned: View
    touched: Touched | None
    looks: tuple[View, ...]
    """What rules are asked about."""
    part: int | None
    """Which of the statements of its string is about to run; None: it is the only one, or nobody
    can say."""


def looks_at(view: View, touched: Touched | None, part: int | None) -> tuple[View, ...]:
    """``view``, or each statement of its string. Where it is known which ``part`` of them is about
    to run, the plan is that one's alone. Those before it have run. Those after it are judged by
    their text already, so that nothing of a string runs that is refused later; but what their names
    mean is asked when their own plans are there."""
    if not view.shape.parts:
        return (with_plan(view, touched),)
    if part is None:
        return tuple(with_plan(each, touched) for each in parts_of(view))
    now, *later = view.shape.parts[part:]
    return (
        with_plan(view._replace(shape=now), touched),
        *(view._replace(shape=each, resolved=_is_planned(each)) for each in later),
    )


def _is_planned(shape: Shape) -> bool:
    """It will be asked about again, with the names that its plan has."""
    return shape.operation in PLANNED


def with_plan(view: View, touched: Touched | None) -> View:
    """``view`` as the plan shows it."""
    if touched is None:
        return view
    return view._replace(
        shape=overlaid(view.shape, touched),
        estimated_rows=touched.rows,
        resolved=is_resolved(view.shape, touched),
        partly=not touched.complete,
    )


def _is_large(shape: Shape) -> bool:
    return (
        len(shape.columns) + len(shape.reads) + len(shape.writes) + len(shape.objects)
        + len(shape.functions) + len(shape.settings) + len(shape.roles) > LARGE
    )  # fmt: skip


def _word(match: Match | None) -> tuple[str, str] | None:
    return (match.rule.id, match.reason) if match else None


ALLOWED = replace(ALLOW, judged=True)
STOPPING = {
    RuleAction.DENY: DecisionKind.DENY,
    RuleAction.CANCEL: DecisionKind.CANCEL,
    RuleAction.TERMINATE: DecisionKind.TERMINATE,
}
