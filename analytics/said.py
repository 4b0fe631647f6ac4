"""Who has said what today: one cause a day, again only at a new extreme."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from analytics.candidates import NEW_EXTREME

NEVER_EVICTED = 2**62
"""As time of the last use."""


def due(rows: pl.DataFrame, least: float) -> pl.DataFrame:
    """Rows (``score``, ``late``, ``said`` so far today, 0 for nothing) that may be said."""
    score, before = pl.col("score"), pl.col("said")
    new = (before == 0) | (score >= before + NEW_EXTREME)
    return rows.filter((score >= least) & new & ~pl.col("late"))


def told(rows: pl.DataFrame, cause: Sequence[str]) -> list[dict[str, Any]]:
    """Rows (in order) that are said: the first of a cause, then each new extreme."""
    said: dict[tuple[Any, ...], float] = {}
    chosen = []
    for row in rows.iter_rows(named=True):
        key = tuple(row[name] for name in cause)
        last = said.get(key, row["said"])
        if last == 0 or row["score"] >= last + NEW_EXTREME:
            said[key] = row["score"]
            chosen.append(row)
    return chosen


def scores(told_rows: Iterable[dict[str, Any]], cause: Sequence[str]) -> pl.DataFrame:
    """CAUSE and ``news``: the highest score that each has said."""
    news = {tuple(row[name] for name in cause): row["score"] for row in told_rows}
    schema = {**dict.fromkeys(cause, pl.String), "news": pl.Float64}
    return pl.DataFrame([(*key, value) for key, value in news.items()], schema, orient="row")


def with_said(rows: pl.DataFrame, news: pl.DataFrame) -> pl.DataFrame:
    """State rows with ``said`` as of now; ``news`` as from ``scores``, columns named as theirs."""
    if news.is_empty():
        return rows
    on = [name for name in news.columns if name != "news"]
    joined = rows.join(news, on=on, how="left", maintain_order="left")
    return joined.with_columns(said=pl.coalesce("news", "said")).drop("news")
