"""What a method says, before and after its threshold."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that a method finds unusual, however little."""

    identity: str
    at_us: int
    score: float
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Alert:
    """What a person would be woken for."""

    identity: str
    at_us: int
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """A batch as it arrived."""

    at_us: int
    """Time of its last event."""
    identities: int
    """Active on this day so far."""
    events: int
