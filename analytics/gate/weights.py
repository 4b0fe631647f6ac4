"""What a sort of candidate counts for in a case, beside how seldom it is.

Bits say how seldom something is, and many things that are seldom are harmless: people travel,
change their tools and stay late, a job drops last month's table. Few have a reason to look at who
may do what, to reach for the server's files or to try many logins, however often that is seen.
"""

from __future__ import annotations

from analytics.gate.sorts import detector_of

ORDINARY_BITS = 1.0
"""What has no more is no evidence; a weight counts from here."""
CIRCUMSTANCE, DEED, PREPARATION = 0.5, 1.0, 1.5
WEIGHTS = {
    "origin: address": CIRCUMSTANCE,
    "origin: program": CIRCUMSTANCE,
    "activity_time": CIRCUMSTANCE,
    "volume: dump": CIRCUMSTANCE,
    "slow_drip: dump": CIRCUMSTANCE,
    "edge_burst: dump": CIRCUMSTANCE,
    "first_act: object": CIRCUMSTANCE,
    "first_act: refused": CIRCUMSTANCE,  # a wrong door, at which nothing was taken
    "first_act: housekeeping": CIRCUMSTANCE,
    "first_act: look": PREPARATION,
    "first_act: reach": PREPARATION,
    "origin": PREPARATION,  # an address that fails on many logins
    "origin: spray": PREPARATION,
    "origin: stranger": PREPARATION,
}
"""Of sorts that are no plain deed. Three steps and no finer ones: known attacks are too few to tell
0.9 from 1 (docs/decisions/0091)."""


def weight(sort: str) -> float:
    return WEIGHTS.get(sort, DEED)


def heaviest(detector: str) -> float:
    """Weight of the sort of this detector that counts for most.

    >>> heaviest("first_act"), heaviest("activity_time"), heaviest("volume")
    (1.5, 0.5, 1.0)
    """
    sorts = [sort for sort in WEIGHTS if detector_of(sort) == detector]
    return max(map(weight, (detector, *sorts)))


def bits_alone(evidence: float, of_weight: float) -> float:
    """Bits at which one candidate has so much evidence without any other.

    >>> bits_alone(2.5, PREPARATION), bits_alone(2.5, CIRCUMSTANCE)
    (2.0, 4.0)
    >>> bits_alone(0.8, CIRCUMSTANCE)
    0.8
    """
    return min(evidence, ORDINARY_BITS) + max(0.0, evidence - ORDINARY_BITS) / of_weight
