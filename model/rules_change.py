"""The rules of an agent became others, or others were refused."""

from dataclasses import dataclass
from enum import StrEnum


class ChangeOutcome(StrEnum):
    IN_FORCE = "in_force"
    REFUSED = "refused"
    """What was to come into force cannot be used: what was in force stays."""


class ChangeSource(StrEnum):
    START = "start"
    FILES = "files"
    SIGNAL = "signal"
    CENTRAL = "central"


@dataclass(frozen=True, slots=True)
class RulesChange:
    """``at_us``: every statement that started later was judged by these rules."""

    at_us: int
    outcome: ChangeOutcome
    source: ChangeSource
    digest: str
    previous: str
    """Digest of what was in force before; empty at a start."""
    rules: int
    """How many are in force now."""
    version: int = 0
    """Of the central bundle; 0 where there is none."""
    problem: str = ""
    """Why it was refused."""
