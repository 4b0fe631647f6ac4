"""Bytes of a user and day, more than three deviations above the mean of up to 90 days before.

The rule that vendors ship for exfiltration; judged while the day goes on.
"""

from __future__ import annotations

import statistics
from collections import deque

import polars as pl

from bench.detection.baselines.baseline import Extremes, rows_of
from bench.detection.candidate import Candidate

DAYS = 90
LEAST_DAYS = 3
LEAST_Z = 3.0
LEAST_SHARE = 0.01
"""Of the mean: a steadier history than this would make every day remarkable."""


class BytesZ:
    def __init__(self) -> None:
        self._past: dict[str, deque[float]] = {}
        self._today: dict[str, tuple[int, float]] = {}
        self._extremes = Extremes()

    def observe(self, batch: pl.DataFrame) -> list[Candidate]:
        rows = rows_of(batch)
        found: list[Candidate] = []
        for part in rows.partition_by("day", maintain_order=True):
            found += self._day(int(part["day"][0]), part)
        return found

    def _day(self, day: int, rows: pl.DataFrame) -> list[Candidate]:
        usual = pl.DataFrame(
            [(who, *self._usual(who, day)) for who in rows["identity"].unique(maintain_order=True)],
            schema={
                "identity": pl.String,
                "base": pl.Float64,
                "mean": pl.Float64,
                "deviation": pl.Float64,
            },
            orient="row",
        )
        totals = rows.join(usual, on="identity", how="left", maintain_order="left").with_columns(
            total=pl.col("base")
            + pl.col("bytes_sent").fill_null(0).clip(0).cum_sum().over("identity")
        )
        for who, total in totals.group_by("identity").agg(pl.col("total").last()).iter_rows():
            self._today[who] = (day, total)
        scored = totals.with_columns(
            score=(pl.col("total") - pl.col("mean")) / pl.col("deviation"), cause=pl.lit("bytes")
        )
        return self._extremes.news(scored.filter(pl.col("score") > LEAST_Z))

    def _usual(self, who: str, day: int) -> tuple[float, float | None, float | None]:
        """Bytes of today so far, and mean and deviation of earlier days."""
        past = self._past.setdefault(who, deque(maxlen=DAYS))
        known, total = self._today.get(who, (day, 0.0))
        if known < day:
            past.append(total)
            past.extend(0.0 for _ in range(min(DAYS, day - known - 1)))
            total = 0.0
        if len(past) < LEAST_DAYS:
            return total, None, None
        mean = statistics.fmean(past)
        return total, mean, max(statistics.pstdev(past), LEAST_SHARE * mean, 1.0)
