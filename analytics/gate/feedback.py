"""What people say of findings, and how far that moves a threshold. Never for a whole detector."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from analytics.gate.history import Who
from analytics.gate.weights import bits_alone, heaviest

MARGIN_BITS = 0.5
LEAST_DISMISSED_BITS, MOST_DISMISSED_BITS = 1.0, 3.0
CONFIRMED_BITS = -1.0
BESIDE_DISMISSED_BITS, BESIDE_CONFIRMED_BITS = 0.5, -0.25
"""For other objects of the same detector and identity."""
MOST_BESIDE_BITS = 2.0
HIGHEST_BITS, LOWEST_BITS = 4.0, -2.0
"""A candidate more unusual by so much is raised whatever was dismissed before."""
MOST_RECORDS = 10_000


class Opinion(StrEnum):
    CONFIRMED = "confirmed"
    DISMISSED = "dismissed"


@dataclass(frozen=True)
class Feedback:
    """The last word of somebody on one finding."""

    finding_id: str
    opinion: Opinion
    detector: str
    who: Who
    object: str
    bits: float
    """Of the finding, when it was raised."""
    threshold: float
    at_us: int = 0
    by: str = ""
    because: str = ""


@dataclass(frozen=True)
class Opinions:
    records: Mapping[str, Feedback] = field(default_factory=dict)
    """By finding: a later word replaces an earlier one."""

    def with_(self, feedback: Feedback) -> Opinions:
        records = {id_: each for id_, each in self.records.items() if id_ != feedback.finding_id}
        records[feedback.finding_id] = feedback
        return replace(self, records=dict(list(records.items())[-MOST_RECORDS:]))

    def shift(self, detector: str, who: Who, cause: str) -> float:
        return shift(self.records.values(), detector, who, cause)

    def shifts(self) -> dict[tuple[str, Who, str], float]:
        """Of everything that somebody spoke about."""
        spoken = {(each.detector, each.who, each.object) for each in self.records.values()}
        return {key: self.shift(*key) for key in sorted(spoken)}


def shift(records: Iterable[Feedback], detector: str, who: Who, cause: str) -> float:
    """Bits that a candidate of ``detector`` about ``who`` and ``cause`` needs more than others.

    What was dismissed does not come back as it was; what was confirmed comes sooner.
    """
    same, beside = 0.0, 0.0
    for each in records:
        if each.detector != detector or each.who != who:
            continue
        dismissed = each.opinion is Opinion.DISMISSED
        if each.object != cause:
            beside += BESIDE_DISMISSED_BITS if dismissed else BESIDE_CONFIRMED_BITS
        elif dismissed:
            over = each.bits - bits_alone(each.threshold, heaviest(detector)) + MARGIN_BITS
            same = max(same, min(over, MOST_DISMISSED_BITS), LEAST_DISMISSED_BITS)
        else:
            same += CONFIRMED_BITS
    beside = min(max(beside, -MOST_BESIDE_BITS), MOST_BESIDE_BITS)
    return min(max(same + beside, LOWEST_BITS), HIGHEST_BITS)
