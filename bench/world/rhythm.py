"""How work spreads over the hours of a day and the days of a week."""

from __future__ import annotations

from functools import cache

import polars as pl

from bench.world.calendar import MINUTE_US, Calendar
from bench.world.dice import dice, stream, uniform

HOURS = {
    # Customers: lunch and evening, on weekends later.
    "shop": (2, 1, 1, 1, 1, 2, 4, 7, 10, 12, 13, 14, 15, 13, 12, 12, 13, 15, 18, 21, 22, 18, 11, 5),
    "shop_free": (
        3, 2, 1, 1, 1, 1, 2, 4, 8, 12, 16, 18, 18, 17, 17, 17, 17, 17, 18, 20, 20, 16, 10, 6,
    ),
    "office": (
        0.2, 0.1, 0.1, 0.1, 0.1, 0.3, 2, 8, 18, 20, 19, 17,
        12, 16, 19, 18, 15, 9, 4, 2, 1, 0.7, 0.5, 0.3,
    ),
    "flat": (1,) * 24,
    "night": (8, 20, 24, 20, 12, 6, 3) + (1,) * 15 + (2, 4),
}  # fmt: skip
FREE_SHARE = {"shop": 1.1, "office": 0.12, "flat": 1.0, "night": 0.9}
"""Of a working day's events, on a free day."""
HOLIDAY_SHARE = {"shop": 1.35, "office": 0.08, "flat": 1.0, "night": 0.9}
MINUTES = 1440


@cache
def minutes(profile: str) -> pl.Series:
    """Cumulative share of a day's work at the end of each minute; hours run into each other."""
    hours = HOURS[profile]
    weights = []
    for minute in range(MINUTES):
        hour, rest = divmod(minute, 60)
        weights.append(hours[hour] * (1 - rest / 60) + hours[(hour + 1) % 24] * rest / 60)
    total = sum(weights)
    return pl.Series([w / total for w in weights], dtype=pl.Float64).cum_sum()


def share(calendar: Calendar, profile: str, day: int) -> float:
    """Of a working day's events; a day has its luck, the same for all with this profile."""
    luck = dice(calendar.seed, "luck", profile, day).lognormvariate(0, 0.05)
    if calendar.holiday(day):
        return HOLIDAY_SHARE[profile] * luck
    return (FREE_SHARE[profile] if calendar.weekend(day) else 1.0) * luck


def times(calendar: Calendar, profile: str, day: int, count: int, *purpose: object) -> pl.Series:
    """So many moments of a day, not sorted."""
    busy = f"{profile}_free" if calendar.free(day) and f"{profile}_free" in HOURS else profile
    draws = pl.select(n=pl.int_range(count, dtype=pl.UInt64)).select(
        u=uniform(pl.col("n"), stream(calendar.seed, "minute", day, *purpose)),
        v=uniform(pl.col("n"), stream(calendar.seed, "within", day, *purpose)),
    )
    minute = minutes(busy).search_sorted(draws["u"], side="right").clip(0, MINUTES - 1)
    within = (draws["v"] * MINUTE_US).cast(pl.Int64)
    return minute.cast(pl.Int64) * MINUTE_US + within + calendar.at(day)
