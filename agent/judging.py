"""What the rules say of statements that have ended: each verdict tells what really happened."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from agent.guard.hold import Settled
from agent.judge import STOPPING
from agent.limiting import Limiting, rows_of
from agent.outcomes import read_back
from model.approval import ApprovalStep
from model.event import Protocol, StatementStarted
from model.statement import ParseStatus, Shape, Source, Statement, StatementRun
from model.verdict import Mode, Outcome, RuleAction, Severity, Verdict
from rules import Judge, Judgement, Match, View, decide

SETTLED_LIMIT = 10_000

Judges: TypeAlias = Callable[[int], Sequence[Judge]]
"""Who may have been asked about a statement that started at these Unix microseconds, the likeliest
first; there are several while rules are exchanged."""
RequestOf: TypeAlias = Callable[[Statement, Shape, str, Settled], ApprovalStep | None]
"""What a statement that the named rule refused asks for."""
_HoldKey: TypeAlias = tuple[int, int]
"""Pid and hold: the latter is a moment, so a pid that comes again makes no difference."""


@dataclass(frozen=True, slots=True)
class Held:
    """A statement that the guard has settled."""

    event: StatementStarted
    settled: Settled


class Judged(NamedTuple):
    rule_id: str = ""
    """Of the rule that decided."""
    verdict: Verdict | None = None
    request: ApprovalStep | None = None


NOTHING = Judged()


def no_request(*_: object) -> None:
    """Nobody can be asked."""


class Judging:
    """For the thread that records."""

    def __init__(self, judges: Judges, mode: Mode, request_of: RequestOf = no_request) -> None:
        self._judges = judges
        self._mode = mode
        self._request_of = request_of
        self._held: OrderedDict[_HoldKey, Settled] = OrderedDict()
        self._limiting = Limiting(mode)

    def remember(self, held: Held) -> None:
        """Until the statement has ended."""
        self._held[held.event.backend.pid, held.event.hold_id] = held.settled
        while len(self._held) > SETTLED_LIMIT:
            self._held.popitem(last=False)

    def is_matched(self, run: StatementRun, shape: Shape) -> bool:
        """By a rule or a limit: then each of them has its own verdict. If not, the run counts for
        limits to come."""
        if self._mode is Mode.OFF:
            return False
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
            rows = sum(rows_of(one.rows, one.bytes_sent) for one in run.executions)
            self._limiting.count(judge, judgement, run.session, rows, len(run.executions))
        return False

    def judge(self, statement: Statement, shape: Shape) -> Judged:
        if self._mode is Mode.OFF or statement.protocol is Protocol.STARTUP:
            return NOTHING
        settled = self._settled(statement)
        if settled is None and shape.status is not ParseStatus.PARSED and _did_not_run(statement):
            return NOTHING  # a typo is no finding, and what pgaudit abbreviates is no statement
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
            rows = rows_of(statement.rows, statement.bytes_sent)
            self._limiting.count(judge, judgement, statement.session, rows, statement.executions)
        if match is None and settled is not None and settled.outcome is not None:
            verdict = self._refused_without_rule(statement, shape, settled)
            return Judged(settled.decision.rule_id, verdict)
        if match is None or match.action is RuleAction.OBSERVE:
            return Judged(match.rule.id) if match else NOTHING
        self._limiting.note(match, statement.session, judge)
        request = self._request_of(statement, shape, match.rule.id, settled) if settled else None
        return Judged(match.rule.id, self._verdict(statement, shape, match, settled), request)

    def _settled(self, statement: Statement) -> Settled | None:
        if not statement.hold_id:
            return None
        return self._held.pop((statement.session.key.pid, statement.hold_id), None)

    def _match(
        self, judge: Judge, judgement: Judgement, view: View, settled: Settled | None
    ) -> Match | None:
        """What the guard was told, which has seen more than the text, and asked at that moment:
        time has passed since, and limits are used up or free again."""
        if settled is not None and settled.decision.judged and not settled.late:
            return settled.decision.match
        return decide(self._limiting.matches(judge, judgement, view))

    def _refused_without_rule(
        self, statement: Statement, shape: Shape, settled: Settled
    ) -> Verdict:
        """The judge was late and ``on_timeout`` is deny: on the record like a rule's verdict."""
        read = read_back(settled, statement, shape)
        return Verdict(
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

    def _verdict(
        self, statement: Statement, shape: Shape, match: Match, settled: Settled | None
    ) -> Verdict:
        outcome, remarks = Outcome.OBSERVED, [settled.reason if settled else ""]
        acted = settled is not None and settled.outcome is not None
        if settled is not None and settled.decision.approval and not acted:
            outcome = Outcome.APPROVED
            remarks.append(f"approved: request {settled.decision.request}")
        elif acted or (self._mode is Mode.ENFORCE and match.action in STOPPING):
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
            mode=self._mode,
            outcome=outcome,
            reason=f"{match.reason} ({remark})" if remark else match.reason,
            digest=shape.digest,
            held_us=settled.held_us if settled else 0,
        )


def _has_run(settled: Settled | None) -> bool:
    return settled is None or settled.outcome in (None, Outcome.TOO_LATE, Outcome.FAILED)


def _did_not_run(statement: Statement) -> bool:
    return statement.source is Source.PGAUDIT or statement.sqlstate not in ("", "00000")
