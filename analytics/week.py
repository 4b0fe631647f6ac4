"""The 168 hours of a week, circularly smoothed: how usual is activity in each of them?

Hour 0 is Monday 00h UTC. An hour of activity counts mostly for its own hour of the week, somewhat
for the hours next to it and a little for the same hour of the other days: work at 10h on four
weekdays says something of the fifth, and who works till 18h works till 19h at times.
"""

from __future__ import annotations

import polars as pl

HOURS = 168
OF_DAY = 24
OWN, NEXT, SECOND, OTHER_DAY = 0.40, 0.12, 0.03, 0.05
"""They sum to one over all hours that an hour of activity counts for."""
WEEK = pl.Array(pl.Float32, HOURS)
DAY = pl.Array(pl.Float32, OF_DAY)
FIRST_MONDAY = 3
"""Day 0 (1970-01-01) was a Thursday."""
NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def _kernel() -> pl.DataFrame:
    near = {0: OWN, 1: NEXT, -1: NEXT, 2: SECOND, -2: SECOND}
    rows = [
        (hour, (hour + shift) % HOURS, weight)
        for hour in range(HOURS)
        for shift, weight in {**near, **{24 * day: OTHER_DAY for day in range(1, 7)}}.items()
    ]
    return pl.DataFrame(
        rows, {"hour": pl.Int64, "at": pl.Int64, "weight": pl.Float64}, orient="row"
    )


KERNEL = _kernel()


def hour_of_week(day: pl.Expr, hour: pl.Expr) -> pl.Expr:
    """``day`` since 1970, ``hour`` 0 to 23."""
    return (day + FIRST_MONDAY) % 7 * OF_DAY + hour


def said(hour: int) -> str:
    """
    >>> said(0), said(147)
    ('Monday 00h', 'Sunday 03h')
    """
    return f"{NAMES[hour // OF_DAY]} {hour % OF_DAY:02d}h"


def folded(rows: pl.DataFrame) -> pl.Series:
    """``usual`` (a week, or null) times ``keep``, plus the hours of ``today`` of ``day``, smoothed.

    One week for each row, in order.
    """
    numbered = rows.with_row_index("n")
    old = (
        numbered.filter(pl.col("usual").is_not_null())
        .select("n", "keep", "usual")
        .explode("usual")
        .select("n", at=_position(HOURS), value=pl.col("usual") * pl.col("keep"))
    )
    hours = (
        numbered.filter(pl.col("today").is_not_null())
        .select("n", "day", "today")
        .explode("today")
        .with_columns(hour=hour_of_week(pl.col("day"), _position(OF_DAY)))
        .filter(pl.col("today") > 0)
        .join(KERNEL, on="hour")
        .select("n", "at", value=pl.col("today") * pl.col("weight"))
    )
    grid = numbered.select("n").join(
        KERNEL.select("at").unique().with_columns(value=pl.lit(0.0)), how="cross"
    )
    values = pl.concat(part.cast({"value": pl.Float64}) for part in (old, hours, grid))
    return (
        values.group_by("n", "at")
        .agg(pl.col("value").sum())
        .sort("n", "at")
        .group_by("n", maintain_order=True)
        .agg("value")["value"]
        .cast(pl.List(pl.Float32))
        .list.to_array(HOURS)
        .alias("usual")
    )


def tails(rows: pl.DataFrame) -> tuple[pl.Series, pl.Series, pl.Series]:
    """For each hour the chance of activity, the bits of a day as unusual, and the peers' chance.

    Rows have ``usual`` and ``weeks`` (of exposure), and ``usual_above`` and ``weeks_above`` of the
    peers, which fill up what is not known. The bits: -log10 of the expected number of active hours
    in a day that are as unlikely as this one or more; less, down to nothing, of an hour in which
    there is activity in more than half of all weeks.
    """
    own = rows.with_row_index("n").explode("usual", "usual_above").with_columns(at=_position(HOURS))
    peers = (pl.col("usual_above") + PRIOR_WEEKS * PRIOR_RATE) / (
        pl.col("weeks_above") + PRIOR_WEEKS
    )
    rate = (pl.col("usual") + PEER_WEEKS * peers) / (pl.col("weeks") + PEER_WEEKS)
    rates = own.select("n", "at", peers=peers, rate=rate.clip(1e-9, 1.0))
    ranked = rates.sort("n", "rate").with_columns(below=pl.col("rate").cum_sum().over("n"))
    # Hours of one rate are one another's "as unlikely": all of them count for each.
    tail = ranked.with_columns(tail=pl.col("below").max().over("n", "rate"))
    seldom = (2 - 2 * pl.col("rate")).clip(upper_bound=1.0)
    whole = tail.sort("n", "at").group_by("n", maintain_order=True).agg(
        pl.col("rate").cast(pl.Float32),
        bits=(-(pl.col("tail") / 7).clip(upper_bound=1.0).log10() * seldom).cast(pl.Float32),
        peers=pl.col("peers").cast(pl.Float32),
    )  # fmt: skip
    rate_of, bits_of, peers_of = (whole[name].list.to_array(HOURS) for name in whole.columns[1:])
    return rate_of, bits_of, peers_of


PEER_WEEKS = 1.0
"""What the peers do weighs as much as so many weeks of one's own."""
PRIOR_WEEKS, PRIOR_RATE = 8.0, 0.02
"""Of the peers themselves, before anything is known of them."""


def _position(length: int) -> pl.Expr:
    """Within rows that an explode made, ``length`` of each."""
    return pl.int_range(pl.len(), dtype=pl.Int64) % length
