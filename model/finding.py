"""What analytics and rules want a person to know."""

from dataclasses import dataclass, field
from enum import StrEnum

from model.verdict import Severity


class FindingKind(StrEnum):
    DRIFT = "drift"
    ANOMALY = "anomaly"
    GUARD = "guard"


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence that a person understands, and the query that shows its evidence."""

    id: str
    """Deterministic: the same cause on the same day gives the same id, so replays do not repeat."""
    kind: FindingKind
    detector: str
    """``first_seen``, ``volume``, ``drift.settings``, ``guard.<rule id>`` ..."""
    severity: Severity
    title: str
    sentence: str
    at_us: int
    agent: str = ""
    cluster: str = ""
    database: str = ""
    user: str = ""
    identity: str = ""
    object: str = ""
    """What it is about: a relation, setting, role."""
    score: float = 0.0
    evidence_sql: str = ""
    """A query over the documented views, to paste into ``pgwarden sql``."""
    statement_id: int = 0
    resolved_at_us: int = 0
    """Set when the cause is gone: a drift was reverted."""
    details: tuple[tuple[str, str], ...] = field(default=())
