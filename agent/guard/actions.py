"""Orders to end what a session does: cancel or terminate, and never the wrong process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from agent.guard.backend import Backend, Standing, examine
from agent.guard.server import Server
from model.action import Action, ActionKind, ActionOutcome, ActionResult

ACTIONS_PER_MINUTE = 10

SIGNALS = {ActionKind.CANCEL: signal.SIGINT, ActionKind.TERMINATE: signal.SIGTERM}

OUTCOMES = {
    Standing.GONE: ActionOutcome.GONE,
    Standing.NOT_CLIENT: ActionOutcome.REFUSED,
    Standing.STRANGER: ActionOutcome.REFUSED,
    # Without a look into its memory nobody can tell a session from a walsender or a reused pid.
    Standing.UNREADABLE: ActionOutcome.REFUSED,
}


@dataclass(slots=True)
class Allowance:
    """A token bucket: ``per_minute`` at once, refilled evenly."""

    per_minute: int
    clock: Callable[[], float]
    """Seconds, never backwards."""
    _tokens: float = field(init=False)
    _filled_at: float = field(init=False)

    def __post_init__(self) -> None:
        self._tokens = float(self.per_minute)
        self._filled_at = self.clock()

    def take(self) -> bool:
        now = self.clock()
        refill = (now - self._filled_at) * self.per_minute / 60
        self._tokens = min(float(self.per_minute), self._tokens + refill)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Actions:
    """Carries out Actions on client backends of the guarded servers."""

    def __init__(
        self,
        servers: Callable[[], Iterable[Server]],
        *,
        per_minute: int = ACTIONS_PER_MINUTE,
        clock: Callable[[], float] = time.monotonic,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._servers = servers
        self._allowance = Allowance(per_minute, clock)
        self._per_minute = per_minute
        self._now_us = now_us

    def enforce(self, action: Action) -> ActionResult:
        """Signal the backend of ``action`` if it is still that session. Never raises for what
        the process does meanwhile; the result says it."""
        outcome, message = self._enforce(action)
        return ActionResult(action.id, outcome, message, self._now_us())

    def _enforce(self, action: Action) -> tuple[ActionOutcome, str]:
        try:
            # First the handle, then the checks: what was checked is what the handle refers to.
            pidfd = os.pidfd_open(action.backend.pid)
        except ProcessLookupError:
            return ActionOutcome.GONE, "the session has ended"
        except (OSError, ValueError) as error:
            return ActionOutcome.REFUSED, f"no handle on process {action.backend.pid}: {error}"
        try:
            backend = examine(action.backend, self._servers)
            if backend.standing is not Standing.CLIENT:
                return OUTCOMES[backend.standing], backend.reason
            if not self._allowance.take():
                return ActionOutcome.REFUSED, f"more than {self._per_minute} actions a minute"
            return self._signal(pidfd, action, backend)
        finally:
            os.close(pidfd)

    def _signal(self, pidfd: int, action: Action, backend: Backend) -> tuple[ActionOutcome, str]:
        try:
            signal.pidfd_send_signal(pidfd, SIGNALS[action.kind])
        except ProcessLookupError:
            return ActionOutcome.GONE, "the session has ended"
        except OSError as error:
            return ActionOutcome.FAILED, f"{action.kind.value}: {error}"
        return ActionOutcome.DONE, ""
