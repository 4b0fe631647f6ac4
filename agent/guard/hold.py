"""A held statement waits for a verdict, and never longer than the deadline.

``steps`` is the pure core: what a decision means. ``Hands`` is the only class that touches a
process. ``Guard`` puts the judge, the clock and the hands together.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Protocol

from agent.guard.backend import Standing, examine, inspect
from agent.guard.judge_thread import JudgeLateError, JudgeThreads
from agent.guard.redirect import RedirectError, denial, redirect
from agent.guard.server import Server, stat_fields
from model.event import StatementStarted
from model.session import BackendKey
from model.verdict import Outcome

DEADLINE_MS = 200
RELEASED = "the hold had been released before the verdict"
DIRECTORY_LIMIT = 10_000
"""Backends whose server is remembered; more than any PostgreSQL has connections."""


class DecisionKind(StrEnum):
    ALLOW = "allow"
    DENY = "deny"
    CANCEL = "cancel"
    TERMINATE = "terminate"


@dataclass(frozen=True, slots=True)
class Decision:
    """The judge's word. ``database`` and the rule appear in the client's error message."""

    kind: DecisionKind
    rule_id: str = ""
    title: str = ""
    database: str = ""


ALLOW = Decision(DecisionKind.ALLOW)
LATE = Decision(DecisionKind.DENY, "judge-late", "no verdict within the deadline")
Judge = Callable[[StatementStarted], Decision]


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


class Step(Enum):
    REDIRECT = "redirect"
    INTERRUPT = "interrupt"
    END = "end"


@dataclass(frozen=True, slots=True)
class Plan:
    steps: tuple[Step, ...]
    outcome: Outcome | None


PLANS = {
    DecisionKind.ALLOW: Plan((), None),
    DecisionKind.DENY: Plan((Step.REDIRECT,), Outcome.PREVENTED),
    DecisionKind.CANCEL: Plan((Step.INTERRUPT,), Outcome.CANCELLED),
    # The error first: a bare SIGTERM is only noticed at PostgreSQL's next check for interrupts.
    DecisionKind.TERMINATE: Plan((Step.REDIRECT, Step.END), Outcome.TERMINATED),
}
"""What each decision does to a held backend; it is continued after the last step in any case."""


class Hands(Protocol):
    """What can be done to one held backend. Every method raises OSError when it is gone."""

    def redirect(self, message: bytes) -> None: ...
    def interrupt(self) -> None: ...
    def end(self) -> None: ...
    def resume(self) -> None: ...


def carry_out(plan: Plan, hands: Hands, message: bytes) -> tuple[Outcome | None, str]:
    """Do the steps, then let the backend go, whatever happened on the way.

    A redirect that cannot be done becomes a cancel: SIGINT first, so that it is pending when
    SIGCONT lets the backend run and PostgreSQL's first check for interrupts finds it.
    """
    outcome, reason = plan.outcome, ""
    try:
        for step in plan.steps:
            if step is Step.REDIRECT:
                try:
                    hands.redirect(message)
                except RedirectError as error:
                    hands.interrupt()
                    if outcome is Outcome.PREVENTED:
                        outcome = Outcome.CANCELLED
                    reason = f"cancelled instead of refused: {error}"
            elif step is Step.INTERRUPT:
                hands.interrupt()
            else:
                hands.end()
    except OSError as error:
        outcome, reason = Outcome.FAILED, str(error)
    finally:
        try:
            hands.resume()
        except OSError as error:
            if outcome is not None:
                outcome, reason = Outcome.FAILED, f"the backend ended while held: {error}"
    return outcome, reason


class HeldProcess:
    """Hands on a real process, through a pidfd so that a reused pid is never touched."""

    def __init__(self, pid: int, pidfd: int, server: Server | None) -> None:
        self._pid = pid
        self._pidfd = pidfd
        self._server = server

    def redirect(self, message: bytes) -> None:
        if self._server is None:
            raise RedirectError("its server is unknown")
        redirect(self._pid, self._server, message)

    def interrupt(self) -> None:
        signal.pidfd_send_signal(self._pidfd, signal.SIGINT)

    def end(self) -> None:
        signal.pidfd_send_signal(self._pidfd, signal.SIGTERM)

    def resume(self) -> None:
        signal.pidfd_send_signal(self._pidfd, signal.SIGCONT)


def stopped(pid: int) -> bool:
    """Stopped and not traced (state ``T``; a debugger's is ``t``)."""
    try:
        return stat_fields(pid)[0] == "T"
    except OSError:
        return False


class Guard:
    """Settles one held statement after another, on the thread that reads the probes.

    ``known`` is asked first, on this thread: an answer from memory, which must not wait. Handing a
    question to the judge's thread and back costs more than most answers.

    ``is_held`` tells whether the backend is still in this very hold; see ``EbpfSource.is_held``.

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
        known: Callable[[StatementStarted], Decision | None] = lambda _: None,
        is_held: Callable[[StatementStarted], bool] = lambda _: True,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._judges = JudgeThreads(judge)
        self._servers = servers
        self._deadline_ns = deadline_ms * 1_000_000
        self._late_decision = ALLOW if on_timeout is OnTimeout.ALLOW else LATE
        self._contact = contact
        self._known_answer = known
        self._is_held = is_held
        self._clock_ns = clock_ns
        self._known: dict[BackendKey, Server] = {}
        self._lock = threading.Lock()

    def settle(self, event: StatementStarted) -> Settled:
        """Judge ``event``, whose backend is stopped, and let the backend go on accordingly.

        Returns within the deadline and the time of a redirect. Never raises for what a process or
        a judge does; outcomes say it.
        """
        with self._lock:
            return self._settle(event)

    def forget(self, backend: BackendKey) -> None:
        self._known.pop(backend, None)

    def close(self) -> None:
        self._judges.close()

    def _settle(self, event: StatementStarted) -> Settled:
        decision, late, reason = self._decide(event)
        try:
            pidfd = os.pidfd_open(event.backend.pid)
        except OSError as error:
            outcome = None if decision.kind is DecisionKind.ALLOW else Outcome.TOO_LATE
            return Settled(decision, outcome, self._age_us(event), late, str(error))
        try:
            outcome, trouble = self._act(event, decision, late, pidfd)
        finally:
            os.close(pidfd)
        return Settled(decision, outcome, self._age_us(event), late, trouble or reason)

    def _act(
        self, event: StatementStarted, decision: Decision, late: bool, pidfd: int
    ) -> tuple[Outcome | None, str]:
        plan = PLANS[decision.kind]
        server, standing, trouble = self._look(event.backend)
        if standing is Standing.GONE:
            return (Outcome.TOO_LATE if plan.steps else None), trouble
        hands = HeldProcess(event.backend.pid, pidfd, server)
        if standing in (Standing.NOT_CLIENT, Standing.STRANGER):
            # The probe filters the former out, and a server that was just found may not be known
            # yet. Nobody else would release them: let go, and say that nothing was enforced.
            carry_out(PLANS[DecisionKind.ALLOW], hands, b"")
            return (Outcome.FAILED if plan.steps else None), trouble
        if not self._is_held(event) or (late and not stopped(event.backend.pid)):
            # Somebody was faster, the watchdog or a person: the statement runs, and whatever is
            # done now would hit the next one, let it go unjudged or refuse it in its place.
            return (Outcome.TOO_LATE if plan.steps else None), RELEASED
        message = denial(decision.database, decision.rule_id, decision.title, self._contact)
        outcome, reason = carry_out(plan, hands, message)
        return outcome, reason or trouble

    def _look(self, key: BackendKey) -> tuple[Server | None, Standing, str]:
        known = self._known.get(key)
        backend = inspect(key, known) if known else examine(key, self._servers)
        if known is None and backend.server is not None and backend.standing is Standing.CLIENT:
            if len(self._known) >= DIRECTORY_LIMIT:
                self._known.clear()
            self._known[key] = backend.server
        return backend.server, backend.standing, backend.reason

    def _decide(self, event: StatementStarted) -> tuple[Decision, bool, str]:
        left_ns = self._deadline_ns - (self._clock_ns() - event.at_ns)
        if left_ns <= 0:
            return self._late_decision, True, "the hold was seen after its deadline"
        known = self._known_answer(event)
        if known is not None:
            return known, False, ""
        try:
            return self._judges.ask(event, left_ns / 1e9), False, ""
        except JudgeLateError as error:
            return self._late_decision, True, str(error)

    def _age_us(self, event: StatementStarted) -> int:
        return max(0, self._clock_ns() - event.at_ns) // 1000
