"""Between the judge and the grants: a refusal gets its request's name, or a grant undoes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import structlog

from agent.approvals.calls import Passed, Running
from agent.approvals.desk import Desk
from agent.approvals.known import Request
from agent.approvals.requests import approvable, may_be_overruled
from agent.guard.decision import Decision, DecisionKind
from model.approval import bound_to
from model.event import StatementStarted
from rules import Match, View

log = structlog.get_logger(__name__)


class Approvals:
    def __init__(self, agent: str, desk: Desk) -> None:
        self._agent = agent
        self._desk = desk
        self._running = Running()

    def named(
        self, event: StatementStarted, view: View, matches: Sequence[Match], decision: Decision
    ) -> Decision | None:
        """The refusal with its request; None where a grant may speak, which takes a while."""
        if passed := self._part_of(event, view, matches):
            return _by_grant(decision, passed.code, passed.grant)
        if not approvable(view, event.text, matches):
            return decision
        bound = bound_to(self._agent, view.session, event.text)
        if self._desk.asked(bound.code):
            return None
        self._desk.remember(bound)
        return replace(decision, request=bound.code)

    def answer(
        self, event: StatementStarted, view: View, matches: Sequence[Match], decision: Decision
    ) -> Decision:
        """Lets the statement pass where a grant does, and that has been counted."""
        if passed := self._part_of(event, view, matches):
            return _by_grant(decision, passed.code, passed.grant)
        if not approvable(view, event.text, matches):
            return decision
        bound = bound_to(self._agent, view.session, event.text)
        self._desk.remember(bound)
        request = Request(event.backend, event.requested_at_us, event.part)
        try:
            grant = self._desk.use(bound, request, view.session, decision.rule_id)
        except Exception as error:  # noqa: BLE001 - a judge that fails may let everything pass
            log.error("approval.failed", error=type(error).__name__)
            grant = ""
        if not grant:
            return replace(decision, request=bound.code)
        self._running.let_pass(Passed(request, grant, bound.code, view.shape, event.text))
        return _by_grant(decision, bound.code, grant)

    def _part_of(
        self, event: StatementStarted, view: View, matches: Sequence[Match]
    ) -> Passed | None:
        """The statement that a grant let pass, and still would, and that makes this call."""
        passed = self._running.of(event, view.shape)
        if passed is None or not may_be_overruled(matches):
            return None
        return passed if self._desk.holds(passed.grant) else None


def _by_grant(decision: Decision, code: str, grant: str) -> Decision:
    return replace(decision, kind=DecisionKind.ALLOW, request=code, approval=grant, lasting=False)
