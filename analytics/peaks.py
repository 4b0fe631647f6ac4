"""The largest figure of each day of an owner, and how unusual today's is against earlier days'.

Count, sum and sum of squares of daily maxima, old days fading, give mean and spread of a Gumbel
distribution, the law of maxima: its tail is the chance of a day like this one, whatever the figure
is. Few days are filled up from the owner's group and a prior. What is known is frozen at the start
of a day, and days on which nothing could be measured do not count. A maximum counts as no more
than WINSOR spreads above the mean, so what lasts becomes usual, but slowly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import polars as pl

from analytics import keyed

OWNER = ("agent", "cluster", "database", "owner")
VALUES: dict[str, pl.DataType | type[pl.DataType]] = {
    "day": pl.Int64,
    "odd": pl.Int64,
    "days": pl.Float64,
    "sum": pl.Float64,
    "squares": pl.Float64,
    "more_days": pl.Float64,
    "more_sum": pl.Float64,
    "more_squares": pl.Float64,
    "peak": pl.Float64,
    "said": pl.Float64,
    "mean": pl.Float64,
    "spread": pl.Float64,
    "first_us": pl.Int64,
    "last_us": pl.Int64,
}
"""``days``, ``sum``, ``squares``: before ``day``; ``more_...``: of a group, what its members ended
with today, which counts from tomorrow on; ``odd``: of an agent's clock (analytics.days)."""
HALF_LIFE_DAYS = 30.0
LONGEST_GAP = 60
WEIGHT = 3.0
"""So many days of the level above are mixed into each level."""
WINSOR = 3.0
EULER = 0.5772156649015329
SCALE = math.sqrt(6) / math.pi
MOST_BITS = 40.0


@dataclass(frozen=True)
class Prior:
    """Of daily maxima, where nothing is known."""

    mean: float
    spread: float
    least_spread: float


def opened(
    state: pl.DataFrame, rows: pl.DataFrame, prior: Prior
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Each owner among ``rows`` with the state's values, and the groups that this changed.

    ``rows``: OWNER, ``group``, ``day``, ``at_us``, ``seen_us``. The owners have ``was`` (the day
    that the state knew, null if none), ``group``, and today's expectations; zeros where nothing
    was known.
    """
    owners = rows.group_by(OWNER, maintain_order=True).agg(
        pl.col("group").first(), today=pl.col("day").first(),
        met_us=pl.col("at_us").first(), seen_us=pl.col("seen_us").max(),
    )  # fmt: skip
    own = keyed.get(state, owners).with_columns(
        was="day", last_us=pl.max_horizontal("last_us", "seen_us")
    )
    turned = (pl.col("day") != pl.col("today")).fill_null(value=True)
    old = own.filter(turned)
    if old.is_empty():
        return own, old.clear()
    groups = _groups(state, old)
    fresh = _turned(old, groups, prior)
    return pl.concat([own.filter(~turned), fresh.select(own.columns)]), _grown(groups, old)


def bits() -> pl.Expr:
    """-log10 of the chance that a day's largest ``figure`` is so large; 0 to MOST_BITS."""
    scale = pl.col("spread") * SCALE
    z = ((pl.col("figure") - pl.col("mean")) / scale + EULER).clip(-3.0, 100.0)
    near = -(1 - (-(-z).exp()).exp()).log(10)
    tail = pl.when(z > 12).then(z / math.log(10)).otherwise(near).clip(0.0, MOST_BITS)
    return tail.fill_nan(0.0).fill_null(0.0)


def _worth() -> pl.Expr:
    return pl.min_horizontal("peak", pl.col("mean") + WINSOR * pl.col("spread"))


def _counted() -> pl.Expr:
    return (pl.col("peak") > 0).fill_null(value=False)


def _groups(state: pl.DataFrame, old: pl.DataFrame) -> pl.DataFrame:
    """The groups of those whose day ended, as of today."""
    keys = old.group_by("agent", "cluster", "database", owner="group", maintain_order=True).agg(
        pl.col("today").first(), pl.col("met_us").first(), opened_us=pl.col("met_us").max()
    )
    known = keyed.get(state, keys)
    names = ("days", "sum", "squares")
    values = [*names, *(f"more_{name}" for name in names)]
    turned = (pl.col("day") != pl.col("today")).fill_null(value=True)
    return (
        known.with_columns(pl.col(values).fill_null(0.0))
        .with_columns(
            *(
                pl.when(turned).then(pl.col(name) + pl.col(f"more_{name}")).otherwise(name)
                .alias(name)
                for name in names
            ),
            *(
                pl.when(turned).then(0.0).otherwise(f"more_{name}").alias(f"more_{name}")
                for name in names
            ),
        )
        .with_columns(
            day="today",
            first_us=pl.coalesce("first_us", "met_us"),
            last_us=pl.max_horizontal("last_us", "opened_us"),
        )
    )  # fmt: skip


def _grown(groups: pl.DataFrame, old: pl.DataFrame) -> pl.DataFrame:
    ended = (
        old.filter(_counted())
        .with_columns(worth=_worth())
        .group_by("agent", "cluster", "database", owner="group")
        .agg(
            one=pl.len().cast(pl.Float64),
            worth=pl.col("worth").sum(),
            square=(pl.col("worth") ** 2).sum(),
        )
    )
    joined = groups.join(ended, on=list(OWNER), how="left", maintain_order="left")
    return joined.with_columns(
        more_days=pl.col("more_days") + pl.col("one").fill_null(0.0),
        more_sum=pl.col("more_sum") + pl.col("worth").fill_null(0.0),
        more_squares=pl.col("more_squares") + pl.col("square").fill_null(0.0),
    )


def _turned(old: pl.DataFrame, groups: pl.DataFrame, prior: Prior) -> pl.DataFrame:
    above = groups.select(
        "agent", "cluster", "database", group="owner",
        g_days="days", g_sum="sum", g_squares="squares",
    )  # fmt: skip
    rows = old.join(
        above, on=["agent", "cluster", "database", "group"], how="left", maintain_order="left"
    )
    gap = (pl.col("today") - pl.col("was")).abs().clip(0, LONGEST_GAP).fill_null(0)
    fade = pl.lit(0.5).pow(gap / HALF_LIFE_DAYS)
    counted, worth = _counted(), _worth().fill_null(0.0)
    second = prior.spread**2 + prior.mean**2
    rows = rows.with_columns(
        days=(pl.col("days").fill_null(0.0) + counted.cast(pl.Float64)) * fade,
        sum=(pl.col("sum").fill_null(0.0) + pl.when(counted).then(worth).otherwise(0.0)) * fade,
        squares=(pl.col("squares").fill_null(0.0) + pl.when(counted).then(worth**2).otherwise(0.0))
        * fade,
        g_mean=(pl.col("g_sum") + WEIGHT * prior.mean) / (pl.col("g_days") + WEIGHT),
        g_second=(pl.col("g_squares") + WEIGHT * second) / (pl.col("g_days") + WEIGHT),
    )
    weight = pl.col("days") + WEIGHT
    rows = rows.with_columns(
        mean=(pl.col("sum") + WEIGHT * pl.col("g_mean")) / weight,
        second=(pl.col("squares") + WEIGHT * pl.col("g_second")) / weight,
    )
    return rows.with_columns(
        spread=((pl.col("second") - pl.col("mean") ** 2).clip(lower_bound=0) * (1 + 1 / weight))
        .sqrt()
        .clip(lower_bound=prior.least_spread),
        day="today",
        peak=pl.lit(0.0),
        said=pl.lit(0.0),
        first_us=pl.coalesce("first_us", "met_us"),
    )
