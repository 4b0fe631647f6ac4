"""Orders, in the imperative, that the collector or an operator gives to an agent."""

from dataclasses import dataclass
from enum import StrEnum

from model.session import BackendKey


class ActionKind(StrEnum):
    CANCEL = "cancel"
    TERMINATE = "terminate"


@dataclass(frozen=True, slots=True)
class Action:
    id: str
    kind: ActionKind
    backend: BackendKey
    cluster: str
    reason: str
    requested_by: str


class ActionOutcome(StrEnum):
    DONE = "done"
    GONE = "gone"
    """The session had ended, or its pid belongs to another process by now."""
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ActionResult:
    action_id: str
    outcome: ActionOutcome
    message: str
    at_us: int
