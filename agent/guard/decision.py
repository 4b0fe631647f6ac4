"""The judge's word on one held statement."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from rules import Match


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
    request: str = ""
    """Names the request for approval; empty where nobody can grant one."""
    recognised: str = ""
    """What the statement was taken for; the client reads it."""
    lasting: bool = True
    """False: this holds once, so the kernel must not let the same text pass by itself."""
    match: Match | None = None
    """The rule that decided, also where it lets the statement pass."""
    judged: bool = False
    """Rules were asked, with all that is known while it is held: ``match`` is their word."""
    approval: str = ""
    """Id of the grant by which a statement passes that rules refuse."""


ALLOW = Decision(DecisionKind.ALLOW)
UNJUDGED = Decision(DecisionKind.ALLOW, lasting=False)
"""Held for another reason than to be judged."""
LATE = Decision(DecisionKind.DENY, "judge-late", "no verdict within the deadline")
