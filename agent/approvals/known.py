"""What an agent knows of one grant, and why it would not let a statement pass. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from agent.probes.layout import Part
from model.approval import Grant, Moment
from model.session import BackendKey


@dataclass(frozen=True, slots=True)
class Request:
    """A statement that asks whether it may pass, as it was held in a message of a client."""

    backend: BackendKey
    at_us: int
    """When the message came, 0 where that is unknown; then each statement is a use."""
    part: int = Part.NONE


@dataclass(frozen=True, slots=True)
class Known:
    grant: Grant
    used: int = 0
    last: Request | None = None
    """What the last use was for."""
    void: str = ""
    """Why it holds no longer."""
    fingerprint: str = ""
    """Of what it is about, in the catalog; empty where that cannot be asked."""

    def continues(self, request: Request) -> bool:
        """It is a part of the execution that was counted last. A message executes once what the
        client asks for; what a function executes is executed anew each time, but for the query of
        a command, which is held right behind it."""
        last = self.last
        if last is None or not request.at_us:
            return False
        if (last.backend, last.at_us) != (request.backend, request.at_us):
            return False
        if request.part == Part.CLIENTS:
            return last.part == Part.CLIENTS
        return request.part == Part.COMMANDS and last.part == Part.NONE

    def continued(self, request: Request) -> Known:
        """A command has one query: the next one is of another execution."""
        return replace(self, last=request)

    @property
    def is_used_up(self) -> bool:
        return self.used >= self.grant.uses

    def refusal(self, now: Moment, *, counted: bool = False) -> str:
        """Why it lets nothing pass; empty when it does. ``counted``: what asks is a part of an
        execution that has been counted."""
        if self.void:
            return self.void
        if self.is_used_up and not counted:
            return "used up"
        if self.grant.term.boot_id != now.boot_id:
            # The wall clock alone is left, and that can be set back: the collector has to say.
            return "the host has started anew, and the collector has not confirmed it"
        return "" if self.grant.term.left_us(now) else "expired"
