"""How unusual is the most extreme moment of someone's day, against the extremes of earlier days?

A detector has a figure for each moment (larger is stranger). Its maximum of each day of a subject
is kept as count, sum and sum of squares, old days fading. A Gumbel distribution, the law of maxima,
with this mean and spread gives the chance of a day like this one or stranger: that is calibrated
by construction, whatever the figure itself is. Few days are filled up from the subject's group,
its database, its agent and at last a prior, and what is known is frozen at the start of a day.

A day's maximum counts as no more than ``WINSOR`` spreads above the mean, and one that was told of
as remarkable as one spread, so an attack does not become usual by lasting.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import polars as pl

from analytics import keyed

KEY = ("agent", "cluster", "database", "owner", "item")
VALUES: dict[str, pl.DataType | type[pl.DataType]] = {
    "day": pl.Int64,
    "n": pl.Float64,
    "sum": pl.Float64,
    "sq": pl.Float64,
    "n_today": pl.Float64,
    "sum_today": pl.Float64,
    "sq_today": pl.Float64,
    "peak": pl.Float64,
    "said": pl.Float64,
    "mean": pl.Float64,
    "spread": pl.Float64,
    "last_us": pl.Int64,
}
"""``n``, ``sum``, ``sq``: before ``day``, faded to it; ``mean`` and ``spread``: expected of it."""
TODAY = ("n_today", "sum_today", "sq_today")
FADE = 0.5 ** (1 / 30)
"""A day counts half after 30 days."""
LONGEST_GAP = 60
WEIGHT = 3.0
"""So many days of the level above are mixed into each level."""
OWN_WEIGHT = 1.5
"""And into a subject: how its peers differ from it would otherwise count as its own spread."""
WINSOR = 3.0
REMARKABLE, WINSOR_IF_REMARKABLE = 2.0, 1.0
MOST_BITS = 40.0
EULER = 0.5772156649015329
SCALE = math.sqrt(6) / math.pi


@dataclass(frozen=True)
class Prior:
    """Of daily maxima, where nothing is known."""

    mean: float
    spread: float
    least_spread: float

    def columns(self) -> dict[str, pl.Expr]:
        return {
            "prior_mean": pl.lit(self.mean),
            "prior_spread": pl.lit(self.spread),
            "least_spread": pl.lit(self.least_spread),
        }


def fade(day: str = "today") -> pl.Expr:
    """Of what was known at ``day`` of the row, by the day in column ``today``."""
    return pl.lit(FADE).pow((pl.col(day) - pl.col("day")).clip(0, LONGEST_GAP).fill_null(0))


def fade_by(days: str) -> pl.Expr:
    return pl.lit(FADE).pow(pl.col(days).clip(0, LONGEST_GAP))


def known(state: pl.DataFrame, keys: pl.DataFrame) -> pl.DataFrame:
    """``keys`` (KEY, ``today``) with the state's values, 0 where unknown (``day`` null there)."""
    rows = keyed.get(state, keys)
    if not rows["day"].has_nulls():
        return rows
    zero = [name for name in keyed.value_columns(state) if name != "day"]
    return rows.with_columns(pl.col(zero).fill_null(0))


def rolled(rows: pl.DataFrame) -> pl.DataFrame:
    """Carried over to ``today``: what was today's becomes history, which fades."""
    if (rows["today"] > rows["day"]).any():
        return rows.with_columns(_ROLLED)
    return rows.with_columns(_LATER_DAY) if rows["day"].has_nulls() else rows


def _rolled() -> list[pl.Expr]:
    """Made once: building so many expressions costs more than they do."""
    new = pl.col("today") > pl.col("day")
    names = ("n", "sum", "sq")
    carried = [
        pl.when(new)
        .then((pl.col(name) + pl.col(f"{name}_today")) * fade())
        .otherwise(pl.col(name))
        .alias(name)
        for name in names
    ]
    emptied = [
        pl.when(new).then(0.0).otherwise(pl.col(f"{name}_today")).alias(f"{name}_today")
        for name in names
    ]
    silent = [
        pl.when(new).then(0.0).otherwise(pl.col(name)).alias(name) for name in ("peak", "said")
    ]
    return [*carried, *emptied, *silent, _LATER_DAY]


_LATER_DAY = pl.max_horizontal("day", "today").alias("day")
_ROLLED = _rolled()


def levels(state: pl.DataFrame, keys: Sequence[pl.DataFrame]) -> list[pl.DataFrame]:
    """``keys`` (KEY and ``today``), each with its values of today: a look-up has a price."""
    found = rolled(known(state, pl.concat(keys)))
    ends = accumulate(each.height for each in keys)
    return [found[end - each.height : end] for each, end in zip(keys, ends, strict=True)]


def baselines(state: pl.DataFrame, subjects: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Subjects with their values for ``today``, and the rows above them that this changed.

    ``subjects``: KEY, ``group`` (owner of the level above), ``today``, ``since_us`` and ``seen_us``
    (first and latest time of its rows) and the columns of ``Prior.columns``, each key once. Only
    those whose day has changed cost more than a look-up.
    """
    own = known(state, subjects).with_columns(last_us=pl.max_horizontal("last_us", "seen_us"))
    current, old = by_day(own)
    if old.is_empty():
        return own, state.select(*KEY, *_SUMS).clear()
    fresh, parents = _new_day(state, old)
    return pl.concat([current, fresh.select(own.columns)]), parents


def by_day(own: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows that were met ``today`` before, and those that were not."""
    met = own["today"] <= own["day"]
    if met.has_nulls():
        met = met.fill_null(value=False)
    return (own, own.clear()) if met.all() else (own.filter(met), own.filter(~met))


_SUMS = ("day", "n", "sum", "sq", "n_today", "sum_today", "sq_today", "last_us")


def bits(figure: pl.Expr, mean: pl.Expr, spread: pl.Expr) -> pl.Expr:
    """-log10 of the chance that a day's maximum reaches ``figure``; 0 to MOST_BITS."""
    scale = spread * SCALE
    z = ((figure - mean) / scale + EULER).clip(-3.0, 100.0)
    exact = -(1 - (-(-z).exp()).exp()).log(10)
    return pl.when(z > 12).then(z / math.log(10)).otherwise(exact).clip(0.0, MOST_BITS)


def above(rows: pl.DataFrame) -> list[pl.DataFrame]:
    """Keys of the levels above each row: its group, its database and all of its agent."""
    return [rows.select(level) for level in _ABOVE]


def _above() -> list[list[pl.Expr]]:
    changes = (
        {"owner": pl.col("group")},
        {"owner": pl.lit("*")},
        {"cluster": pl.lit(""), "database": pl.lit(""), "owner": pl.lit("**")},
    )
    return [
        [change.get(name, pl.col(name)).alias(name) for name in (*KEY, "today")]
        for change in changes
    ]


_ABOVE = _above()


def _new_day(state: pl.DataFrame, old: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    parents = levels(state, above(old))
    mean = old["prior_mean"]
    second = old["prior_spread"] ** 2 + mean**2
    for level in reversed(parents):
        weight = level["n"] + WEIGHT
        mean = (level["sum"] + WEIGHT * mean) / weight
        second = (level["sq"] + WEIGHT * second) / weight
    started = pl.col("day").is_not_null()
    margin = pl.when(pl.col("said") >= REMARKABLE).then(WINSOR_IF_REMARKABLE).otherwise(WINSOR)
    limit = pl.col("mean") + margin * pl.col("spread")
    worth = pl.when(started).then(pl.min_horizontal("peak", limit)).otherwise(0.0)
    one = started.cast(pl.Float64)
    merged = old.with_columns(worth=worth, one=one).with_columns(
        n=(pl.col("n") + pl.col("one")) * fade(),
        sum=(pl.col("sum") + pl.col("worth")) * fade(),
        sq=(pl.col("sq") + pl.col("worth") ** 2) * fade(),
    )
    days = pl.col("n") + OWN_WEIGHT
    fresh = merged.with_columns(
        mean=(pl.col("sum") + OWN_WEIGHT * mean) / days,
        second=(pl.col("sq") + OWN_WEIGHT * second) / days,
    ).with_columns(
        spread=((pl.col("second") - pl.col("mean") ** 2).clip(lower_bound=0) * (1 + 1 / days))
        .sqrt()
        .clip(lower_bound=pl.col("least_spread")),
        day=pl.col("today"),
        peak=pl.lit(0.0),
        said=pl.lit(0.0),
        n_today=pl.lit(0.0),
    )
    ended = merged.select(
        "since_us",
        n_today="one",
        sum_today="worth",
        sq_today=pl.col("worth") ** 2,
        stale=pl.col("one") > 0,
    )
    return fresh, pl.concat(pushed(level, ended).select(*KEY, *_SUMS) for level in parents)


def pushed(parents: pl.DataFrame, children: pl.DataFrame) -> pl.DataFrame:
    """Rows above with the ended day of rows below, in the same order, added to their today.

    ``children``: ``n_today``, ``sum_today``, ``sq_today``, ``since_us`` and whether ``stale``.
    """
    if not children["stale"].any():
        return parents.clear()
    added = {name: pl.col(f"{name}_ended").sum() for name in TODAY}
    return (
        parents.hstack(children.rename({name: f"{name}_ended" for name in TODAY}))
        .filter("stale")
        .group_by(KEY, maintain_order=True)
        .agg(
            pl.col("day", "n", "sum", "sq").first(),
            *((pl.col(name).first() + more).alias(name) for name, more in added.items()),
            last_us=pl.max_horizontal(pl.col("last_us").first(), pl.col("since_us").max()),
        )
    )
