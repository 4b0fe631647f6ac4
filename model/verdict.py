"""What the rules say of a statement, and what really happened."""

from dataclasses import dataclass
from enum import StrEnum

from model.session import BackendKey


class Severity(StrEnum):
    INFORMATIONAL = "informational"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class RuleAction(StrEnum):
    """In ascending order of force: the strongest matching rule decides."""

    OBSERVE = "observe"
    ALERT = "alert"
    DENY = "deny"
    CANCEL = "cancel"
    TERMINATE = "terminate"


class Mode(StrEnum):
    OFF = "off"
    OBSERVE = "observe"
    ENFORCE = "enforce"


class Outcome(StrEnum):
    """How a verdict ended, read back from the statement's result (docs/guard.md)."""

    PREVENTED = "prevented"
    """The statement did not execute."""
    CANCELLED = "cancelled"
    """Cancelled before commit: it may have begun, and nothing of it was committed."""
    TERMINATED = "terminated"
    """Prevented or cancelled, and the session with it."""
    TOO_LATE = "too_late"
    """It ran although a rule forbids it, or nobody can rule out that it did."""
    OBSERVED = "observed"
    """It would have been stopped; the mode did not allow it, or the server itself refused it."""
    FAILED = "failed"
    """The guard acted, and how the statement ended was not seen."""
    APPROVED = "approved"
    """Refused by the rule, and let pass by a grant for just this statement."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One rule's word on one statement."""

    at_us: int
    backend: BackendKey
    statement_id: int
    rule_id: str
    title: str
    severity: Severity
    action: RuleAction
    mode: Mode
    outcome: Outcome
    reason: str
    digest: str
    held_us: int = 0
