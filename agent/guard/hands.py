"""The hands on one held backend, and what steps do to it: the only place that touches a process."""

from __future__ import annotations

import select
import signal
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from agent.guard.redirect import RedirectError, Refusal, redirect
from agent.guard.server import Server, stat_fields
from model.verdict import Outcome


class Step(Enum):
    REDIRECT = "redirect"
    INTERRUPT = "interrupt"
    END = "end"


@dataclass(frozen=True, slots=True)
class Plan:
    steps: tuple[Step, ...]
    outcome: Outcome | None


class Hands(Protocol):
    """What can be done to one held backend. Every method raises OSError when it is gone."""

    def redirect(self, refusal: Refusal) -> None: ...
    def interrupt(self) -> None: ...
    def end(self) -> None: ...
    def resume(self) -> None: ...


def carry_out(plan: Plan, hands: Hands, refusal: Refusal) -> tuple[Outcome | None, str]:
    """Do the steps, then let the backend go, whatever happened on the way.

    A redirect that cannot be done becomes a cancel: SIGINT first, so that it is pending when
    SIGCONT lets the backend run and PostgreSQL's first check for interrupts finds it.
    """
    outcome, reason = plan.outcome, ""
    try:
        for step in plan.steps:
            if step is Step.REDIRECT:
                try:
                    hands.redirect(refusal)
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

    def redirect(self, refusal: Refusal) -> None:
        if self._server is None:
            raise RedirectError("its server is unknown")
        redirect(self._pid, self._server, refusal, self.require_alive)

    def require_alive(self) -> None:
        """Raises ProcessLookupError once it has ended. Until then its pid is nobody else's."""
        if select.select([self._pidfd], [], [], 0)[0]:
            raise ProcessLookupError(f"process {self._pid} ended while held")

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
