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
    PREVENTED = "prevented"
    """The statement did not execute."""
    CANCELLED = "cancelled"
    TERMINATED = "terminated"
    TOO_LATE = "too_late"
    OBSERVED = "observed"
    """It would have been stopped; the mode did not allow it."""
    FAILED = "failed"


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
