"""Days of a small office: who works with what, in statements of whole days."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from analytics.detector import Detector
from model.finding import Finding
from tests.analytics.streams import START_US, batches, frame, statement

MIDNIGHT = -(START_US // 1_000_000 % 86_400)
"""Second of the stream at which its first day began."""
PEOPLE = {
    "alice": (["shop.orders", "shop.customers", "dw.facts"], ["id", "total", "placed_at"]),
    "bob": (["shop.orders", "dw.facts"], ["id", "total"]),
    "carol": (["shop.customers", "shop.orders"], ["id", "name", "city"]),
    "dave": (["hr.people", "hr.salaries"], ["id", "name", "ssn", "amount"]),
}


def at(day: int, hour: float) -> float:
    return MIDNIGHT + day * 86_400 + hour * 3600


def by(name: str, day: int, hour: float, **words: Any) -> dict[str, Any]:
    known = {"user_name": name, "identity_name": name, "identity_kind": "human"}
    return statement(at(day, hour), **known | {"operation": "select"} | words)


def office_days(first: int, last: int, seed: int = 5) -> Iterator[dict[str, Any]]:
    """Four people, forty statements a day each, from nine to five; rows in order of time."""
    for day in range(first, last):
        dice = random.Random(seed * 1000 + day)
        today = []
        for name, (relations, columns) in PEOPLE.items():
            for _ in range(40):
                relation = dice.choice(relations)
                used = sorted(dice.sample(columns, 2))
                today.append(
                    by(
                        name,
                        day,
                        9 + 8 * dice.random(),
                        reads=[relation],
                        columns_used=used,
                        fingerprint=f"{relation}:{used}",
                        rows=int(dice.lognormvariate(3, 1)),
                    )
                )
        yield from sorted(today, key=lambda row: row["started_at"])


def found(detector: Detector, *parts: Any) -> list[Finding]:
    """Of the rows of all parts together, in order of time."""
    rows = sorted((row for part in parts for row in part), key=lambda row: row["started_at"])
    state, news = detector.empty_state(), []
    for part in batches(frame(rows), 500):
        state, more = detector.observe(state, part)
        news += more
    return news


def highest(findings: list[Finding], who: str, day: int) -> float:
    """Score of what is said most loudly of somebody on a day; 0 for nothing."""
    since = START_US + at(day, 0) * 1e6
    scores = [f.score for f in findings if f.identity == who and 0 <= f.at_us - since < 86_400e6]
    return max(scores, default=0.0)
