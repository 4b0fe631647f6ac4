"""What an agent knows of one grant, and why it would not let a statement pass. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from model.approval import Grant, Moment
from model.session import BackendKey

_CHANGES = re.compile(rb"\b(?:alter|drop|create|rename)\b", re.IGNORECASE)
_ESCAPED_NAME = re.compile(rb"\bu&\"", re.IGNORECASE)
"""A name written in escapes may be any name."""


@dataclass(frozen=True, slots=True)
class Request:
    """One message of one client: several statements may come in it, and are one use."""

    backend: BackendKey
    at_us: int
    """0 where the moment of the message is unknown; then each statement is a use."""


@dataclass(frozen=True, slots=True)
class Known:
    grant: Grant
    used: int = 0
    last: Request | None = None
    """The message that the last use was for."""
    void: str = ""
    """Why it holds no longer."""
    fingerprint: str = ""
    """Of what it is about, in the catalog; empty where that cannot be asked."""

    def continues(self, request: Request) -> bool:
        """A later statement of a message whose first one was let pass."""
        return bool(request.at_us) and self.last == request

    def refusal(self, now: Moment) -> str:
        """Why it lets nothing pass; empty when it does."""
        if self.void:
            return self.void
        if self.used >= self.grant.uses:
            return "used up"
        if self.grant.term.boot_id != now.boot_id:
            # The wall clock alone is left, and that can be set back: the collector has to say.
            return "the host has started anew, and the collector has not confirmed it"
        return "" if self.grant.term.left_us(now) else "expired"


def may_change(text: bytes, grant: Grant) -> bool:
    """Whether a statement that ran may have changed what the grant is about, as its words go.

    A name counts wherever it stands, and each part of it: DROP SCHEMA takes a table along.
    """
    if not _CHANGES.search(text):
        return False
    if _ESCAPED_NAME.search(text):
        return True
    lower = text.lower()
    names = {part for name in (*grant.relations, *grant.functions) for part in name.split(".")}
    return any(name.lower().encode("utf-8", "surrogateescape") in lower for name in names if name)
