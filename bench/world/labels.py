"""What is true of a world: its campaigns, and the loud things that are none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Campaign:
    kind: str
    speed: str
    """``fast`` or ``slow``."""
    identities: tuple[str, ...]
    """As findings name them; the one who does it first."""
    places: tuple[tuple[str, str, str], ...]
    """(agent, cluster, database) of every statement."""
    from_us: int
    to_us: int
    """Time of the last statement."""
    statement_ids: frozenset[int]
    """Ids are unique in the whole world."""
    story: str

    @property
    def agent(self) -> str:
        return self.places[0][0]

    @property
    def cluster(self) -> str:
        return self.places[0][1]

    @property
    def databases(self) -> tuple[str, ...]:
        return tuple(sorted({place[2] for place in self.places}))

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "speed": self.speed,
            "identities": list(self.identities),
            "places": [list(place) for place in self.places],
            "from_us": self.from_us,
            "to_us": self.to_us,
            "story": self.story,
            "statement_ids": sorted(self.statement_ids),
        }


@dataclass(frozen=True)
class Distractor:
    """A loud thing in ordinary life."""

    kind: str
    identities: tuple[str, ...]
    from_us: int
    to_us: int
    reason: str

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "identities": list(self.identities),
            "from_us": self.from_us,
            "to_us": self.to_us,
            "reason": self.reason,
        }
