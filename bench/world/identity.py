"""Somebody or something that talks to the databases, and its habits."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.world.relations import Place, Relation


@dataclass(frozen=True)
class Identity:
    """``name`` is unique in a world."""

    name: str
    role: str
    """service, analyst, dba, etl, ai_agent, support, bi or partner."""
    kind: str
    """As in column identity_kind."""
    user_name: str
    application_name: str
    home: Place
    relations: tuple[Relation, ...]
    """What it works with, most used first."""
    addresses: tuple[str, ...]
    first_day: int = 0
    per_day: float = 0.0
    """Statements on a working day."""
    start_hour: float = 9.0
    usual_most_rows: float = 20.0
    """About the most rows that one of its statements gives in a month."""
    traits: dict[str, float] = field(default_factory=dict, hash=False)
    unrecognised: bool = False
    """A guest under somebody's login: no identity rule knows who it is."""

    @property
    def identity_name(self) -> str:
        """Column identity_name: services and jobs go by their login."""
        known = self.kind in ("human", "ai_agent") and not self.unrecognised
        return self.name if known else ""

    @property
    def called(self) -> str:
        """As findings call it."""
        return self.identity_name or self.user_name
