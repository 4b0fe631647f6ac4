"""What the gate may be told, and which detectors look at the same thing."""

from __future__ import annotations

from dataclasses import dataclass

from analytics.gate.sorts import ARRIVAL, detector_of

BY_RULE = frozenset(("application_change", "audit_coverage"))
"""Detectors whose findings are no guesses: they pass, each once, up to a number a day."""

FAMILIES = {
    "first_act": "acts",
    "first_act: write": "novelty",
    "first_act: database": "novelty",
    "first_seen": "novelty",
    "new_shape": "novelty",
    "role_profile": "novelty",
    "edge_burst": "novelty",
    "workload_mix": "novelty",
    "volume": "volume",
    "slow_drip": "volume",
    "harvest": "volume",
    "repetition": "novelty",
    "error_burst": "errors",
    "origin": "origin",
    "activity_time": "time",
    "latency": "latency",
}
"""Detectors of one family see the same side of a statement: they do not agree, they repeat. Two
sorts of acts are no more than what the detectors of novelty see as well."""

FOLLOWS_AN_ARRIVAL = frozenset(("novelty", "acts", "volume", "origin", "time"))
"""On a server where somebody never was all of this is new: it repeats that they came."""

FOLLOWS_A_RELEASE = frozenset(
    ("first_seen", "new_shape", "role_profile", "edge_burst", "workload_mix", "latency")
)
"""What a release of a program explains. It explains neither volume nor errors nor an address, nor
acts as DDL, a look at the catalog or another database."""
RELEASED = "service"
"""The kind of identity that has releases. An AI agent is new every day, and its own doing."""

TROUBLE = frozenset(("08", "40", "53", "55", "57", "58"))
"""Classes of SQLSTATE that tell of the server or of other sessions, not of who has the error."""

PERFORMANCE = frozenset(("latency",))
"""Who waits does nothing: their findings stand in the list, and are no evidence against anybody."""


def family(sort: str) -> str:
    detector = detector_of(sort)
    return FAMILIES.get(sort) or FAMILIES.get(detector, detector)


def kin(sort: str, *, arrived: bool) -> str:
    """What repeats what: the family, or the arrival that made all of it new."""
    of = family(sort)
    return ARRIVAL if arrived and of in FOLLOWS_AN_ARRIVAL else of


@dataclass(frozen=True)
class GateSettings:
    alerts_per_day_per_100_identities: float = 5.0
    history_days: int = 30
    least_bits: float = 1.9
    """However large the budget: what an identity does once in 100 days is no alert."""
    least_over_claimed: float = 1.2
    most_over_claimed: float = 1.5
    """The threshold is never less (after a week) and never more than these above -log10 of
    the budget's rate."""
    fold_seconds: float = 4 * 3600
    """A case that was raised takes in what follows, so long."""
    new_extreme_bits: float = 1.5
    half_life_seconds: float = 6 * 3600
    """After so long an earlier candidate of a case weighs half."""
    repeat_share: float = 0.1
    """Of what a further detector adds to a case, so much where one of the same family said more:
    they see the same."""
    claim_margin: float = 1.0
    """History may show that a detector claims too much. That it claims too little by more than this
    shows only that it seldom speaks."""
    release_bits: float = 2.0
    """What a release explains is never worth more, of a service: there is one every few weeks."""
    trouble_bits: float = 1.5
    """Nor are errors of a server in trouble (deadlocks, timeouts, no more connections)."""
    arrival_bits: float = 1.8
    """Nor that somebody who is known came to another server: work moves people, every few days."""
    claimed_bits: float = 1.5
    """Nor is a wrong password: a host with an old one, or a typing error. Who tries many logins, or
    gets in after all, is told by ``origin``."""
    release_shapes: int = 3
    """Fewer new shapes are told as a change, and are no release that mutes."""
    agree_seconds: float = 600
    agree_bits: float = 3.0
    agree_history_days: int = 7
    """With less history no agreement is called one: it could end a session."""
    deployment_seconds: float = 2 * 3600
    by_rule_per_day: int = 20
    max_peaks: int = 10_000
    """Of each detector; days beyond are forgotten, the oldest first."""
    max_cases: int = 50_000

    @property
    def rate(self) -> float:
        """Alerts for each identity and day."""
        return max(self.alerts_per_day_per_100_identities, 1e-3) / 100
