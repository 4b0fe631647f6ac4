"""Role profiles by naive Bayes: a statement that fits another role better than its own.

Kamra, Terzi and Bertino, "Detecting anomalous access patterns in relational databases", 2008: the
command, its relations and their columns are taken to be independent given the role. The score is by
how much the most probable role explains the statement better than the role that sent it (natural
logarithm). Roles are logins. What a day teaches is used from the next day on.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import cache

import polars as pl

from bench.detection.baselines.baseline import Extremes, rows_of
from bench.detection.candidate import Candidate
from bench.detection.scoring import DAY_US

Shape = tuple[str, tuple[str, ...], tuple[str, ...]]
"""Command, relations, columns."""
LEARN_DAYS = 3
SMOOTHING = 0.1
MOST_COLUMNS = 30


class RoleBayes:
    def __init__(self) -> None:
        self._counts: dict[str, Counter[tuple[str, str]]] = {}
        self._statements: Counter[str] = Counter()
        self._fresh: list[tuple[str, Shape, int]] = []
        self._day = self._first_day = -1
        self._terms: set[tuple[str, str]] = set()
        self._extremes = Extremes()
        self._odds = cache(self._fits)

    def observe(self, batch: pl.DataFrame) -> list[Candidate]:
        shapes = (
            rows_of(batch)
            .filter(pl.col("operation") != "login")
            .with_columns(relations=pl.col("reads").list.concat("writes").list.sort())
            .group_by(
                "identity", "day", "user_name", "operation", "relations", "columns_used",
                maintain_order=True,
            )
            .agg(pl.col("at_us").min(), count=pl.len())
        )  # fmt: skip
        scored = []
        for who, day, role, verb, relations, columns, at_us, count in shapes.iter_rows():
            self._turn(day)
            shape = (verb, tuple(relations or ()), tuple((columns or ())[:MOST_COLUMNS]))
            self._fresh.append((role, shape, count))
            if day - self._first_day >= LEARN_DAYS and role in self._statements:
                best, odds = self._odds(shape)
                score = odds[best] - odds[role]
                scored.append((who, at_us // DAY_US, at_us, score, f"fits {best}"))
        frame = pl.DataFrame(
            scored, schema=["identity", "day", "at_us", "score", "cause"], orient="row"
        )
        return self._extremes.news(frame.filter(pl.col("score") > 0)) if scored else []

    def _turn(self, day: int) -> None:
        """Learns what the last day brought."""
        if day <= self._day:
            return
        self._first_day = day if self._first_day < 0 else self._first_day
        self._day = day
        for role, shape, count in self._fresh:
            counts = self._counts.setdefault(role, Counter())
            self._statements[role] += count
            for term in _terms(shape):
                counts[term] += count
                self._terms.add(term)
        self._fresh.clear()
        self._odds = cache(self._fits)

    def _fits(self, shape: Shape) -> tuple[str, dict[str, float]]:
        terms = _terms(shape)
        everybody = sum(self._statements.values())
        odds = {}
        for role, known in self._statements.items():
            counts = self._counts[role]
            below = known + SMOOTHING * len(self._terms)
            odds[role] = math.log(known / everybody) + sum(
                math.log((counts[term] + SMOOTHING) / below) for term in terms
            )
        return max(odds, key=lambda role: odds[role]), odds


def _terms(shape: Shape) -> list[tuple[str, str]]:
    verb, relations, columns = shape
    return [
        ("verb", verb),
        *(("relation", name) for name in relations),
        *(("column", name) for name in columns),
    ]
