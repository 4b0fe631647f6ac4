"""Candidates as detectors emit them, and random ordinary days of a fleet."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import replace

from analytics.findings import DAY_US, finding_id
from analytics.gate import Gate, GateSettings, Raised
from model.finding import Finding, FindingKind
from model.verdict import Severity

START_US = 20_000 * DAY_US
MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
IDENTITIES = 40

Draw = Callable[[random.Random], float]
DETECTORS: dict[str, tuple[float, Draw]] = {
    # Candidates for each identity and day, and how wrong its scores are.
    "latency": (0.2, lambda dice: 1 + dice.expovariate(math.log(10))),
    "volume": (0.2, lambda dice: 1 + dice.expovariate(math.log(10)) / 2),
    "first_seen": (0.3, lambda dice: 1 + 3 * dice.expovariate(math.log(10))),
    "error_burst": (0.05, lambda dice: math.exp(dice.gauss(0.5, 0.8))),
    "origin": (0.1, lambda dice: dice.paretovariate(1.5)),
    "activity_time": (0.1, lambda dice: 2 + dice.random()),
}


def candidate(
    score: float,
    at_us: int = START_US,
    detector: str = "volume",
    identity: str = "alice",
    cause: str = "rows",
    **words: object,
) -> Finding:
    made = Finding(
        id=finding_id(at_us, detector, identity, cause),
        kind=FindingKind.ANOMALY,
        detector=detector,
        severity=Severity.MEDIUM,
        title="",
        sentence=f"{identity} did something",
        at_us=at_us,
        agent="host-a",
        cluster="5432",
        database="shop",
        identity=identity,
        object=cause,
        score=score,
    )
    return replace(made, **words)  # type: ignore[arg-type]


def ordinary(days: int, seed: int = 1, identities: int = IDENTITIES) -> list[Finding]:
    """In order of time."""
    dice = random.Random(seed)
    found = [
        candidate(draw(dice), START_US + day * DAY_US + dice.randrange(DAY_US), name, f"u{n}")
        for day in range(days)
        for name, (rate, draw) in DETECTORS.items()
        for n in range(identities)
        if dice.random() < rate
    ]
    return sorted(found, key=lambda finding: finding.at_us)


def fed(
    gate: Gate, candidates: list[Finding], size: int = 10, identities: int = IDENTITIES
) -> tuple[Gate, list[Raised]]:
    told: list[Raised] = []
    for part in parts(candidates, size):
        gate, raised = gate.step(part, identities, max(each.at_us for each in part))
        told += raised
    return gate, told


def parts(candidates: list[Finding], size: int) -> Iterator[list[Finding]]:
    for at in range(0, len(candidates), size):
        yield candidates[at : at + size]


def learnt(days: int = 14, settings: GateSettings | None = None) -> Gate:
    gate, _ = fed(Gate(settings or GateSettings()), ordinary(days))
    return gate
