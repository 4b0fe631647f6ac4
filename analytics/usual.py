"""What is usual at an hour of the week: logarithms of totals, with mean and spread.

The hour of the week of an identity is filled up from its hour of the day, that from all its hours,
those from its group, and the group from a prior. What is known is frozen at the start of a day and
fades with the days. A total counts as no more than ``WINSOR`` spreads above the mean.
"""

from __future__ import annotations

import polars as pl

from analytics import extremes
from analytics.extremes import KEY

WEIGHT = 4.0
"""So many windows of the level above are mixed into each level."""
WINSOR = 3.0
PRIOR_MEAN, PRIOR_SPREAD, LEAST_SPREAD = 4.0, 2.0, 0.35
HOURS_OF_WEEK, HOURS_OF_DAY = 168, 24
LEVELS = ("week", "day", "all", "group")
SUMS = ("n", "sum", "sq", "n_today", "sum_today", "sq_today")
MONDAY_HOURS = 96
"""The epoch was a Thursday: the hours since then to the first Monday."""


def hour_of_week(at_us: pl.Expr) -> pl.Expr:
    return (at_us // 3_600_000_000 - MONDAY_HOURS) % HOURS_OF_WEEK


def keys(windows: pl.DataFrame) -> list[pl.DataFrame]:
    """For each level the keys of ``windows`` (KEY without item, ``group``, ``metric``, ``hour``,
    ``today``), in the same order."""
    hour = pl.col("hour")
    items = (
        pl.concat_str("metric", pl.lit(" week "), hour),
        pl.concat_str("metric", pl.lit(" day "), hour % HOURS_OF_DAY),
        pl.concat_str("metric", pl.lit(" all")),
        pl.concat_str("metric", pl.lit(" all")),
    )
    return [
        windows.select(
            "agent", "cluster", "database",
            pl.col("group" if level == "group" else "owner").alias("owner"),
            item.alias("item"), "today",
        )
        for level, item in zip(LEVELS, items, strict=True)
    ]  # fmt: skip


def expected(state: pl.DataFrame, windows: pl.DataFrame) -> pl.DataFrame:
    """``windows`` with ``usual`` and ``usual_spread`` of the logarithm, and ``most`` so far."""
    stacked = pl.concat(keys(windows))
    rolled = extremes.rolled(_with_most(extremes.known(state, stacked)))
    count = windows.height
    mean = pl.repeat(PRIOR_MEAN, count, eager=True)
    second = mean**2 + PRIOR_SPREAD**2
    for number in reversed(range(len(LEVELS))):
        level = rolled[number * count : (number + 1) * count]
        weight = level["n"] + WEIGHT
        mean = (level["sum"] + WEIGHT * mean) / weight
        second = (level["sq"] + WEIGHT * second) / weight
    overall = rolled[2 * count : 3 * count]
    spread = (second - mean**2).clip(lower_bound=LEAST_SPREAD**2).sqrt()
    return windows.with_columns(
        mean.alias("usual"), spread.alias("usual_spread"), overall["mean"].alias("most")
    )


def learned(state: pl.DataFrame, closed: pl.DataFrame) -> pl.DataFrame:
    """The state's rows after ``closed`` windows (with ``usual`` and ``log_total``) count too."""
    limit = pl.col("usual") + WINSOR * pl.col("usual_spread")
    worth = closed.select(
        worth=pl.min_horizontal("log_total", limit), total="log_total", seen="seen_us"
    )
    stacked = pl.concat(level.hstack(worth) for level in keys(closed))
    more = stacked.group_by(KEY, maintain_order=True).agg(
        pl.col("today").max(),
        pl.col("seen").max(),
        more=pl.len().cast(pl.Float64),
        sums=pl.col("worth").sum(),
        squares=(pl.col("worth") ** 2).sum(),
        highest=pl.col("total").max(),
    )
    rolled = _with_most(extremes.known(state, more))
    return extremes.rolled(rolled).select(
        *KEY,
        "day",
        "n",
        "sum",
        "sq",
        "mean",
        n_today=pl.col("n_today") + pl.col("more"),
        sum_today=pl.col("sum_today") + pl.col("sums"),
        sq_today=pl.col("sq_today") + pl.col("squares"),
        spread=pl.max_horizontal("spread", "highest"),
        last_us=pl.max_horizontal("last_us", "seen"),
    )


def _with_most(rows: pl.DataFrame) -> pl.DataFrame:
    """``mean`` of such a row is the highest total before its day, ``spread`` the one of the day."""
    new = pl.col("today") > pl.col("day")
    return rows.with_columns(
        mean=pl.when(new).then(pl.max_horizontal("mean", "spread")).otherwise("mean"),
        spread=pl.when(new).then(0.0).otherwise("spread"),
    )
