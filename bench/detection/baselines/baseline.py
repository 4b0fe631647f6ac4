"""What every baseline is, and what they share."""

from __future__ import annotations

from typing import Protocol

import polars as pl

from bench.detection.candidate import Candidate
from bench.detection.scoring import DAY_US

FINE = 4.0
"""Within a day an identity's candidate comes again when its score has grown by a quarter."""


class Baseline(Protocol):
    def observe(self, batch: pl.DataFrame) -> list[Candidate]:
        """What is unusual in the next batch, in order of time."""


def rows_of(batch: pl.DataFrame) -> pl.DataFrame:
    """With ``identity`` as findings name it, ``at_us`` and ``day``; in order of time."""
    return (
        batch.with_columns(
            identity=pl.when(pl.col("identity_name").fill_null("") == "")
            .then("user_name")
            .otherwise("identity_name"),
            at_us=pl.col("started_at").dt.epoch("us"),
        )
        .with_columns(day=pl.col("at_us") // DAY_US)
        .sort("at_us", maintain_order=True)
    )


class Extremes:
    """Keeps what an identity has not reached before on that day."""

    def __init__(self) -> None:
        self._reached: dict[tuple[str, int], float] = {}

    def news(self, scored: pl.DataFrame) -> list[Candidate]:
        """``scored``: identity, day, at_us, score, cause."""
        first = (
            scored.with_columns(grade=(pl.col("score") * FINE).floor())
            .sort("at_us", maintain_order=True)
            .unique(["identity", "day", "grade"], keep="first", maintain_order=True)
        )
        found = []
        for row in first.select("identity", "day", "at_us", "score", "cause", "grade").iter_rows():
            identity, day, at_us, score, cause, grade = row
            if grade > self._reached.get((identity, day), -1.0):
                self._reached[identity, day] = grade
                found.append(Candidate(identity, at_us, score, cause))
        return found


class Points:
    """A score that grows over the day, as risk points of an identity do."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, int], float] = {}

    def add(self, identity: str, at_us: int, points: float, cause: str) -> Candidate:
        key = (identity, at_us // DAY_US)
        self._sums[key] = self._sums.get(key, 0.0) + points
        return Candidate(identity, at_us, self._sums[key], cause)
