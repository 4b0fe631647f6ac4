"""The day of each row (``analytics.days``), at little cost where a whole batch is of today."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from analytics import days, keyed


def clocks(state: pl.DataFrame, agents: pl.Series) -> pl.DataFrame:
    """``agent``, ``day``, ``odd`` of those that ``state`` knows: their rows are of nobody else."""
    nobody = {name: pl.lit("") for name in keyed.key_columns(state) if name != "agent"}
    keys = agents.alias("agent").to_frame().with_columns(**nobody)
    known = keyed.get(state, keys, ["day", "odd"]).filter(pl.col("day").is_not_null())
    return known.select("agent", "day", "odd")


def dated(
    rows: pl.DataFrame, clocks: pl.DataFrame, day_us: int
) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """Rows with ``day``, ``late`` and ``segment``, and the clocks if any changed.

    ``clocks``: ``agent``, ``day``, ``odd``, as the state knows them.
    """
    ends = rows.group_by("agent").agg(
        pl.col("at_us").min().alias("low_us"), pl.col("at_us").max().alias("high_us")
    )
    day = of_all(ends, clocks, day_us)
    if day is not None:
        today = rows.with_columns(
            day=pl.lit(day, pl.Int64), late=pl.lit(value=False), segment=pl.lit(0, pl.UInt32)
        )
        return today, None
    timed, after = days.with_days(rows, clocks, day_us)
    changed = not after.join(clocks, on=after.columns, how="anti").is_empty()
    numbered = timed.with_columns(segment=pl.col("day").rle_id().over("agent"))
    return numbered, after if changed else None


def parts(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Rows in which each agent has one day, in order of arrival."""
    return days.segments(rows)


def of_all(spans: pl.DataFrame, clocks: pl.DataFrame, day_us: int) -> int | None:
    """The day of every row and of their agents' clocks, if it is one and the same.

    ``spans``: ``agent``, ``low_us`` and ``high_us``. Agents that are silent do not count.
    """
    first, last = (int(each) // day_us for each in (spans["low_us"].min(), spans["high_us"].max()))  # type: ignore[arg-type]
    if first != last:
        return None
    theirs = clocks.filter(pl.col("agent").is_in(spans["agent"].implode()))
    same = (theirs["day"] == first).all() and (theirs["odd"] == 0).all()
    return first if same and theirs.height == spans.height else None
