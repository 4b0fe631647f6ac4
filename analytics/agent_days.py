"""The day of each row (``analytics.days``), at little cost where a whole batch is of today."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from analytics import days


def dated(
    rows: pl.DataFrame, clocks: pl.DataFrame, day_us: int
) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """Rows with ``day``, ``late`` and ``segment``, and the clocks if any changed.

    ``clocks``: ``agent``, ``day``, ``odd``, as the state knows them.
    """
    day = of_all(rows, clocks, day_us)
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


def of_all(rows: pl.DataFrame, clocks: pl.DataFrame, day_us: int) -> int | None:
    """The day of every row and of every agent's clock, if it is one and the same."""
    first, last = (int(each) // day_us for each in (rows["at_us"].min(), rows["at_us"].max()))  # type: ignore[arg-type]
    if first != last or clocks.is_empty():
        return None
    same = (clocks["day"] == first).all() and (clocks["odd"] == 0).all()
    return first if same and rows["agent"].is_in(clocks["agent"].to_list()).all() else None
