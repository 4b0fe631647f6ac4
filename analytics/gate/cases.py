"""A case: what several detectors say of one identity within some hours, weighed together."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from analytics.findings import DAY_US
from analytics.gate.history import Who
from analytics.gate.settings import GateSettings, kin
from analytics.gate.sorts import ARRIVAL, detector_of

MOST_CAUSES = 200


class Part(NamedTuple):
    """The best candidate of a sort."""

    bits: float
    at_us: int
    statement_id: int = 0
    sure: float = 0.0
    """Bits that count for an agreement, which may end a session: none of somebody who did not even
    log in, and none that people's feedback added."""


class Said(NamedTuple):
    """A cause that somebody was told of."""

    bits: float
    at_us: int


@dataclass(frozen=True)
class Case:
    id: str
    opened_us: int
    last_us: int
    parts: Mapping[str, Part] = field(default_factory=dict)
    said: Mapping[tuple[str, str], Said] = field(default_factory=dict)
    """By detector and object, of the last day."""
    causes: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """Bits by detector and object of what is in it."""
    raised_us: int = 0
    raised_bits: float = 0.0
    finding_id: str = ""
    """Of what was raised last."""

    @property
    def raised(self) -> bool:
        return self.raised_us > 0

    def decayed(self, at_us: int, settings: GateSettings) -> dict[str, float]:
        """Bits by sort; an old candidate weighs less."""
        half_us = settings.half_life_seconds * 1e6
        return {
            sort: part.bits * 0.5 ** (max(0, at_us - part.at_us) / half_us)
            for sort, part in self.parts.items()
            if at_us - part.at_us <= DAY_US
        }

    def agreeing(self, sort: str, at_us: int, settings: GateSettings) -> tuple[str, ...]:
        """Sorts of other detectors that were sure of it within the last minutes, and see another
        side."""
        since = at_us - settings.agree_seconds * 1e6
        arrived = ARRIVAL in self.parts
        mine = kin(sort, arrived=arrived)
        return tuple(
            other
            for other, part in self.parts.items()
            if detector_of(other) != detector_of(sort)
            and kin(other, arrived=arrived) != mine
            and part.at_us >= since
            and part.sure >= settings.agree_bits
        )

    def is_news(self, cause: tuple[str, str], bits: float, settings: GateSettings) -> bool:
        """False for what was told within the day, unless it became much more."""
        said = self.said.get(cause)
        return said is None or bits >= said.bits + settings.new_extreme_bits

    def taken(
        self,
        sort: str,
        cause: tuple[str, str],
        bits: float,
        at_us: int,
        statement_id: int,
        settings: GateSettings,
        *,
        sure: float,
    ) -> Case:
        """With one more candidate. The part of a sort is its best."""
        before = self.parts.get(sort)
        now = self.decayed(at_us, settings).get(sort, 0.0)
        parts = dict(self.parts)
        if before is None or bits >= now:
            parts[sort] = Part(bits, at_us, statement_id, sure)
        causes = {**self.causes, cause: max(bits, self.causes.get(cause, 0.0))}
        kept = dict(list(causes.items())[-MOST_CAUSES:])
        return replace(self, parts=parts, causes=kept, last_us=max(self.last_us, at_us))

    def told(self, finding_id: str, bits: float, at_us: int) -> Case:
        news = {cause: Said(most, at_us) for cause, most in self.causes.items()}
        said = dict(list((dict(self.said) | news).items())[-MOST_CAUSES:])
        return replace(self, said=said, raised_us=at_us, raised_bits=bits, finding_id=finding_id)


def current(known: Case | None, who: Who, at_us: int, settings: GateSettings) -> Case:
    """The case that a candidate at ``at_us`` belongs to: one that was raised is over after a while,
    and what was told is no news for the rest of the day."""
    if known is None:
        return _opened(who, at_us, {})
    if known.raised and at_us - known.raised_us > settings.fold_seconds * 1e6:
        said = {cause: each for cause, each in known.said.items() if at_us - each.at_us < DAY_US}
        return _opened(who, at_us, said)
    if not known.raised and at_us - known.last_us > DAY_US:
        return _opened(who, at_us, {})
    return known


def _opened(who: Who, at_us: int, said: Mapping[tuple[str, str], Said]) -> Case:
    id_ = hashlib.sha256("\0".join((*who, str(at_us))).encode("utf-8", "surrogateescape"))
    return Case(id_.hexdigest()[:12], at_us, at_us, said=said)
