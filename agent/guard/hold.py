"""A held statement waits for a verdict, and never longer than the deadline.

``PLANS`` says what a decision means, agent/guard/hands.py does it. ``Guard`` puts the judge, the
clock and the hands together.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum

from agent.guard.aside import Aside
from agent.guard.backend import Standing, examine, inspect
from agent.guard.decision import ALLOW, LATE, UNJUDGED, Decision, DecisionKind
from agent.guard.evasion import forbid_evasion
from agent.guard.hands import HeldProcess, Plan, Step, carry_out, stopped
from agent.guard.judge_thread import JudgeLateError, JudgeThreads
from agent.guard.redirect import Refusal, denial
from agent.guard.server import Server
from agent.probes.layout import Evasion
from model.event import StatementStarted
from model.session import BackendKey
from model.verdict import Outcome

DEADLINE_MS = 200
RELEASED = "the hold had been released before the verdict"
NOT_CALLED = "what JIT puts into its expressions and parallel workers run is not held"
SPARED = "its session was not ended: more than guard.actions_per_minute"
NOTHING = Refusal(b"")
DIRECTORY_LIMIT = 10_000
"""Backends whose server is remembered; more than any PostgreSQL has connections."""


Judge = Callable[[StatementStarted], Decision]
AtOnce = Callable[[StatementStarted, Callable[[], None], float], Decision | None]
"""Is handed the statement, what may be done meanwhile, and the seconds that are left."""


class OnTimeout(StrEnum):
    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Settled:
    """What happened to one hold."""

    decision: Decision
    outcome: Outcome | None
    """None: the statement went on untouched."""
    held_us: int
    """From the probe to the moment the backend was free to go on."""
    late: bool = False
    """The judge missed the deadline, and the decision is the configured one."""
    reason: str = ""
    """Why the outcome is not the one that the decision asked for; empty when it is."""


PLANS = {
    DecisionKind.ALLOW: Plan((), None),
    DecisionKind.DENY: Plan((Step.REDIRECT,), Outcome.PREVENTED),
    DecisionKind.CANCEL: Plan((Step.INTERRUPT,), Outcome.CANCELLED),
    # The error first: a bare SIGTERM is only noticed at PostgreSQL's next check for interrupts.
    DecisionKind.TERMINATE: Plan((Step.REDIRECT, Step.END), Outcome.TERMINATED),
}
"""What each decision does to a held backend; it is continued after the last step in any case."""


@dataclass(frozen=True, slots=True)
class _Seen:
    pidfd: int | None
    """None: the process has ended. Whoever has it closes it."""
    server: Server | None
    standing: Standing
    trouble: str


@dataclass(frozen=True, slots=True)
class _Waiting:
    event: StatementStarted
    backend: _Seen
    unread: Decision | None = None
    """What can be said of it unread, once somebody has looked."""
    glanced: bool = False
    """And that does not stop it."""


class Guard:
    """Settles one held statement after another, on the thread that reads the probes.

    ``patient`` judges what ``takes_long``, beside the others: ``begin`` returns before that, and
    ``finished`` brings it. ``on_answer`` is called, by another thread, when it has something.

    ``unread`` tells what rules say of such a statement as of one that cannot be parsed. Where that
    stops it, a quarter of the deadline before the end, nobody waits for more: a text must not pass
    because it is large. Asked only where what is late would pass, by a thread of its own and at
    once; by this one where that has not answered by then.

    ``at_once`` is asked first, on this thread: it must not wait for long, for handing a question to
    the judge's thread and back costs as much as most answers. What it is given it may do meanwhile.
    ``afterwards`` is called when the backend has been let go.

    ``is_held`` tells whether the backend is still in this very hold; see ``EbpfSource.is_held``.

    ``may_end`` is asked before a session is ended, and counts: where it says no, the statement is
    refused all the same.

    ``clock_ns`` must be the clock of ``StatementStarted.at_ns``: a hold's age counts from the
    probe, so holds that queued behind a hanging judge are released at once.
    """

    def __init__(
        self,
        judge: Judge,
        servers: Callable[[], Iterable[Server]],
        *,
        deadline_ms: int = DEADLINE_MS,
        on_timeout: OnTimeout = OnTimeout.ALLOW,
        contact: str = "",
        at_once: AtOnce = lambda *_: None,
        afterwards: Callable[[], None] = lambda: None,
        is_held: Callable[[StatementStarted], bool] = lambda _: True,
        patient: Judge | None = None,
        unread: Judge = lambda _: ALLOW,
        takes_long: Callable[[StatementStarted], bool] = lambda _: False,
        on_answer: Callable[[], None] = lambda: None,
        may_end: Callable[[], bool] = lambda: True,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._judges = JudgeThreads(judge)
        self._servers = servers
        self._deadline_ns = deadline_ms * 1_000_000
        self._glance_ns = self._deadline_ns // 4 if on_timeout is OnTimeout.ALLOW else 0
        self._unread = unread
        self._late_decision = ALLOW if on_timeout is OnTimeout.ALLOW else LATE
        self._contact = contact
        self._at_once = at_once
        self._afterwards = afterwards
        self._is_held = is_held
        self._may_end = may_end
        self._clock_ns = clock_ns
        self._known: dict[BackendKey, Server] = {}
        self._lock = threading.Lock()
        self._aside = Aside(patient, on_answer) if patient is not None else None
        self._glances = Aside(unread) if patient is not None and self._glance_ns else None
        self._takes_long = takes_long
        self._waiting: dict[BackendKey, _Waiting] = {}

    def begin(self, event: StatementStarted) -> Settled | None:
        """As ``settle``; None where that takes long: then ``finished`` tells, in time. To be asked
        with this backend before, so that no hold of it is left waiting behind this one."""
        left_seconds = self._left_seconds(event)
        alone = event.evades == Evasion.ALONE  # nothing is judged of it
        if self._aside is None or alone or left_seconds <= 0 or not self._takes_long(event):
            return self.settle(event)
        # The handle now: a process number may be another's later.
        self._waiting[event.backend] = _Waiting(event, self._see(event.backend))
        if self._glances is not None:
            self._glances.ask(event, left_seconds)
        self._aside.ask(event, left_seconds)
        return None

    def finished(self, gone_on: BackendKey | None = None) -> list[tuple[StatementStarted, Settled]]:
        """What was begun and is settled now: answered, out of time, or its backend has ``gone_on``
        without us: it is held again, or has ended. Never waits."""
        if self._aside is None or not self._waiting:
            return []
        done = []
        self._take_glances()
        for answered in self._aside.answers():
            waiting = self._waiting.get(answered.question.backend)
            if waiting is None or waiting.event is not answered.question:
                continue  # it was late, and is settled
            if isinstance(answered.answer, Exception):
                unread = self._glance(waiting)
                reason = "" if unread else f"the judge failed: {answered.answer!r}"
                decision = unread or self._late_decision
                done.append(self._finish(waiting, decision, unread is None, reason))
            else:
                done.append(self._finish(waiting, answered.answer, False, ""))
        for waiting in list(self._waiting.values()):
            gone = waiting.event.backend == gone_on
            if gone or self._left_seconds(waiting.event) <= 0:
                # Late or not: whom nobody has let go yet need not pass.
                unread = None if gone else self._glance(waiting)
                reason = "" if unread else "no verdict within the deadline"
                done.append(self._finish(waiting, unread or self._late_decision, True, reason))
            elif self._until_glance(waiting) <= 0 and (unread := self._glance(waiting)):
                done.append(self._finish(waiting, unread, False, ""))
        return done

    def _until_glance(self, waiting: _Waiting) -> float:
        """Seconds until it is looked at without being parsed, or is late where it has been."""
        left_seconds = self._left_seconds(waiting.event)
        return left_seconds if waiting.glanced else left_seconds - self._glance_ns / 1e9

    def _glance(self, waiting: _Waiting) -> Decision | None:
        """What stops it unread."""
        if waiting.glanced or not self._glance_ns:
            return None
        self._waiting[waiting.event.backend] = replace(waiting, glanced=True)
        decision = waiting.unread
        if decision is None:
            with suppress(Exception):  # then it is late, as without
                decision = self._unread(waiting.event)
        return None if decision is None or decision.kind is DecisionKind.ALLOW else decision

    def _take_glances(self) -> None:
        for answered in self._glances.answers() if self._glances is not None else ():
            waiting = self._waiting.get(answered.question.backend)
            if waiting is None or waiting.event is not answered.question:
                continue
            if isinstance(answered.answer, Decision):
                self._waiting[waiting.event.backend] = replace(waiting, unread=answered.answer)

    @property
    def oldest_ns(self) -> int:
        """Age of the oldest hold that was begun and is not settled; 0 without one."""
        now_ns = self._clock_ns()
        return max((now_ns - each.event.at_ns for each in self._waiting.values()), default=0)

    @property
    def patience_seconds(self) -> float:
        """When ``finished`` is to be called at the latest."""
        left = (self._until_glance(each) for each in self._waiting.values())
        return max(0.0, min(left, default=float("inf")))

    def settle(self, event: StatementStarted) -> Settled:
        """Judge ``event``, whose backend is stopped, and let the backend go on accordingly.

        Returns within the deadline and the time of a redirect. Never raises for what a process or
        a judge does; outcomes say it.
        """
        with self._lock:
            settled = self._settle(event)
            with suppress(Exception):  # what was put off is only lost
                self._afterwards()
            return settled

    def forget(self, backend: BackendKey) -> None:
        self._known.pop(backend, None)

    def close(self) -> None:
        self._judges.close()
        for aside in (self._aside, self._glances):
            if aside is not None:
                aside.close()

    def _settle(self, event: StatementStarted) -> Settled:
        seen: list[_Seen] = []

        def look() -> None:
            if not seen:
                seen.append(self._see(event.backend))

        # The look takes a fifth of the time of an answer: it is done while others work on that.
        decision, late, reason = self._decide(event, look)
        look()
        [backend] = seen
        return self._end(event, backend, decision, late, reason)

    def _finish(
        self, waiting: _Waiting, decision: Decision, late: bool, reason: str
    ) -> tuple[StatementStarted, Settled]:
        event = waiting.event
        del self._waiting[event.backend]
        with self._lock:
            return event, self._end(event, waiting.backend, decision, late, reason)

    def _end(
        self, event: StatementStarted, backend: _Seen, decision: Decision, late: bool, reason: str
    ) -> Settled:
        if backend.pidfd is None:
            outcome = None if decision.kind is DecisionKind.ALLOW else Outcome.TOO_LATE
            return Settled(decision, outcome, self._age_us(event), late, backend.trouble)
        try:
            outcome, trouble = self._act(event, decision, late, backend, backend.pidfd)
            held_us = self._age_us(event)
        finally:
            os.close(backend.pidfd)
        return Settled(decision, outcome, held_us, late, trouble or reason)

    def _see(self, key: BackendKey) -> _Seen:
        """First the handle, then the look: what was looked at is what the handle refers to."""
        try:
            pidfd = os.pidfd_open(key.pid)
        except OSError as error:
            return _Seen(None, None, Standing.GONE, str(error))
        return _Seen(pidfd, *self._look(key))

    def _act(
        self,
        event: StatementStarted,
        decision: Decision,
        late: bool,
        seen: _Seen,
        pidfd: int,
    ) -> tuple[Outcome | None, str]:
        plan = PLANS[decision.kind]
        server, standing, trouble = seen.server, seen.standing, seen.trouble
        if plan.steps or event.evades:
            # These go by the pid, which may have become another's while the judge thought.
            server, standing, trouble = self._look(event.backend)
        if standing is Standing.GONE:
            return (Outcome.TOO_LATE if plan.steps else None), trouble
        over = late and self._left_seconds(event) <= 0
        # Before the deadline nobody else lets it go, and its signal may still be on the way.
        if not self._is_held(event) or (over and not stopped(event.backend.pid)):
            # Somebody was faster, the watchdog or a person: the statement runs, and whatever is
            # done now would hit the next one, let it go unjudged or refuse it in its place.
            return (Outcome.TOO_LATE if plan.steps else None), RELEASED
        hands = HeldProcess(event.backend.pid, pidfd, server)
        if standing in (Standing.NOT_CLIENT, Standing.STRANGER):
            # The probe filters the former out, and a server that was just found may not be known
            # yet. Nobody else would release them: let go, and say that nothing was enforced.
            carry_out(PLANS[DecisionKind.ALLOW], hands, NOTHING)
            return (Outcome.FAILED if plan.steps else None), trouble
        if event.evades and not plan.steps:
            trouble = self._forbid_evasion(event, server, hands) or trouble
        if Step.END in plan.steps and not self._may_end():
            plan, trouble = PLANS[DecisionKind.DENY], SPARED
        refusal = denial(
            decision.database,
            decision.rule_id,
            decision.title,
            self._contact,
            decision.request,
            decision.recognised,
        )
        outcome, reason = carry_out(plan, hands, refusal)
        return outcome, "; ".join(filter(None, (reason, trouble)))

    def _forbid_evasion(
        self, event: StatementStarted, server: Server | None, hands: HeldProcess
    ) -> str:
        if server is None:
            return NOT_CALLED
        try:
            forbid_evasion(event.backend.pid, server.version, event.planned, hands.require_alive)
        except (OSError, KeyError) as error:
            return f"{NOT_CALLED}: {error}"
        return ""

    def _look(self, key: BackendKey) -> tuple[Server | None, Standing, str]:
        known = self._known.get(key)
        if known:
            backend = inspect(key, known, commands=True)
        else:
            backend = examine(key, self._servers, commands=True)
        if known is None and backend.server is not None and backend.standing is Standing.CLIENT:
            if len(self._known) >= DIRECTORY_LIMIT:
                self._known.clear()
            self._known[key] = backend.server
        return backend.server, backend.standing, backend.reason

    def _decide(
        self, event: StatementStarted, meanwhile: Callable[[], None]
    ) -> tuple[Decision, bool, str]:
        if (left_seconds := self._left_seconds(event)) <= 0:
            return self._late_decision, True, "the hold was seen after its deadline"
        if event.evades == Evasion.ALONE:
            return UNJUDGED, False, ""
        with suppress(Exception):  # it fails on the other thread too, and is late then
            answer = self._at_once(event, meanwhile, left_seconds)
            if answer is not None:
                return answer, False, ""
        if (left_seconds := self._left_seconds(event)) <= 0:
            return self._late_decision, True, "no verdict at once, and no time is left"
        try:
            return self._judges.ask(event, left_seconds, meanwhile), False, ""
        except JudgeLateError as error:
            return self._late_decision, True, str(error)

    def _left_seconds(self, event: StatementStarted) -> float:
        return (self._deadline_ns - (self._clock_ns() - event.at_ns)) / 1e9

    def _age_us(self, event: StatementStarted) -> int:
        return max(0, self._clock_ns() - event.at_ns) // 1000
