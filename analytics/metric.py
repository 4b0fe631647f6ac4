"""How surprising the next value of a metric is, given its own past; for many metrics at once.

A metric is a series of one value a step (a minute's p95, an hour's count). Three distances are
looked at: from what this time of day usually shows, from the long-run level, and of the last few
steps' mean from the long-run level. Each is ranked among all earlier distances of the same metric,
which needs no assumption about their distribution: the largest few are kept, and a new record
counts for more the further it lies beyond the old one. A single value takes a single place in that
ranking however absurd it is, so a spike cannot hide the next one by widening a variance.

After a surprise, only a greater one is said for a while; by then what stays has become usual.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import polars as pl

from analytics.findings import DAY_US

MOST_BITS = 40.0
RECORD_NEEDS = 20
"""Distances before a record means anything."""
ALIKE = 0.01
"""Distances that differ by less than this share are the same one, come again."""
LEVEL_NEEDS = 3
SHIFT_NEEDS = 50
SHIFT_WEIGHT = 0.9
LEVEL_WEIGHT = 0.3
"""Distance from the long-run level supports what the other two say; alone it says little."""
LARGEST_VALUE = 1e100
"""Beyond it squares are no numbers any more."""
ABSURD = 100.0
"""Times the largest distance known: no value moves a mean further."""
DISTANCES = ("season", "level", "shift")


@dataclass(frozen=True)
class MetricSettings:
    slots_per_day: int = 24
    season_days: float = 60.0
    """Values of a time of day over which its mean is taken (steps, not days, at one a slot)."""
    level_steps: float = 1000.0
    short_steps: float = 10.0
    largest: int = 64
    """Distances kept a metric and kind; below the smallest of them nothing is surprising."""
    record_weight: float = 3.0
    forget_a_step: float = 1e-5
    """How fast the largest distances shrink towards the smallest kept: old records age."""
    quiet_steps: int = 120


STATE: Mapping[str, Any] = {
    "steps": pl.Int64,
    "level": pl.Float64,
    "variance": pl.Float64,
    "short": pl.Float64,
    "season": pl.List(pl.Float64),
    "season_seen": pl.List(pl.Float64),
    **{f"{name}_largest": pl.List(pl.Float64) for name in DISTANCES},
    **{f"{name}_count": pl.Int64 for name in DISTANCES},
    "said": pl.Float64,
    "quiet": pl.Int64,
}
"""What is kept a metric, beside the columns that name it; null where a metric is new."""
SEEN = ("expected", "deviation", "surprise", "score")


@dataclass(frozen=True)
class Metric:
    """``step`` is pure: known metrics and one new value of each give the metrics as they are now.

    The caller keeps the rows, under keys of its own choice.
    """

    settings: MetricSettings = MetricSettings()

    def empty(self, keys: Mapping[str, Any]) -> pl.DataFrame:
        return pl.DataFrame(schema={**keys, **STATE})

    def step(self, rows: pl.DataFrame) -> pl.DataFrame:
        """``rows``: keys, ``at_us``, ``value`` and the columns of STATE, at most one row a metric.

        The same rows in the same order, with the state after this value, and: ``expected`` (same
        unit as the value), ``deviation`` (usual distance from the level), ``surprise`` (bits of
        base 10, 0 to MOST_BITS), and ``score``, which is the surprise where it is news, else 0.
        A value that is no finite number changes nothing and scores 0.
        """
        numbered = rows.with_row_index("place")
        usable = numbered.filter(_USABLE)
        if usable["steps"].has_nulls():
            usable = usable.with_columns(_new(self.settings.slots_per_day))
        after = usable
        for expressions in _judging(self.settings):
            after = after.with_columns(expressions)
        known = after.with_columns(value="given").select(*numbered.columns, *SEEN)
        if known.height < rows.height:
            rest = numbered.filter(~_USABLE).with_columns(surprise=0.0, score=0.0)
            known = pl.concat([known, rest], how="diagonal").sort("place")
        return known.drop("place")


_USABLE = pl.col("value").is_finite().fill_null(False)


@cache
def _judging(given: MetricSettings) -> tuple[list[pl.Expr], ...]:
    """What a step does, one after the other; made once, which costs more than a step does."""
    distances = [
        _measured(),
        [column for name in DISTANCES for column in _ranked(name)],
        [_bits(name, given).alias(f"{name}_bits") for name in DISTANCES],
    ]
    return (_begun(given), *distances, *_said(given), _learnt(given))


def _named(**columns: pl.Expr | str) -> list[pl.Expr]:
    return [
        (pl.col(each) if isinstance(each, str) else each).alias(name)
        for name, each in columns.items()
    ]


def _begun(given: MetricSettings) -> list[pl.Expr]:
    return _named(
        given="value",
        value=pl.col("value").clip(-LARGEST_VALUE, LARGEST_VALUE),
        slot=(pl.col("at_us") % DAY_US * given.slots_per_day // DAY_US).cast(pl.Int64),
        deviation=pl.col("variance").sqrt() + 1e-9 + 1e-6 * pl.col("level").abs(),
    )


def _measured() -> list[pl.Expr]:
    """The three distances; null where too little is known."""
    level, value = pl.col("level"), pl.col("value")
    usual = pl.col("season").list.get(pl.col("slot"), null_on_oob=True)
    far = {
        "season": (value - usual).abs(),
        "level": pl.when(pl.col("steps") >= LEVEL_NEEDS).then((value - level).abs()),
        "shift": pl.when(pl.col("steps") > SHIFT_NEEDS).then(
            (pl.col("short") - level).abs() / pl.col("deviation")
        ),
    }
    return _named(
        expected=pl.coalesce(usual, pl.when(pl.col("steps") > 0).then(level)),
        **{f"{name}_far": far[name] for name in DISTANCES},
    )


def _ranked(name: str) -> list[pl.Expr]:
    """How many of the kept distances are as large as this one, the largest and the least."""
    largest, far = pl.col(f"{name}_largest"), pl.col(f"{name}_far")
    return [
        (largest * (1 + ALIKE) - far)
        .list.eval(pl.element() >= 0)
        .list.sum()
        .alias(f"{name}_as_large"),
        largest.list.first().alias(f"{name}_record"),
        largest.list.last().alias(f"{name}_least"),
    ]


def _bits(name: str, given: MetricSettings) -> pl.Expr:
    """-log10 of the share of earlier distances that were as large, and more beyond all."""
    far, count = pl.col(f"{name}_far"), pl.col(f"{name}_count")
    as_large, record = pl.col(f"{name}_as_large"), pl.col(f"{name}_record")
    # What shrinks with time must not be counted as if it had been kept for ever.
    memory = pl.min_horizontal(count, pl.lit(int(1 / given.forget_a_step)))
    rank = ((memory + 1) / (as_large + 1)).log10()
    spread = (record - pl.col(f"{name}_least")).clip(ALIKE * record + 1e-12)
    beyond = 1 + ((far - record) / spread).clip(lower_bound=0.0)
    weight = given.record_weight * (count > RECORD_NEEDS)
    known = as_large < given.largest
    return ((rank + weight * beyond.log10().fill_null(0.0)) * known).fill_null(0.0)


def _said(given: MetricSettings) -> tuple[list[pl.Expr], list[pl.Expr]]:
    """For ``quiet_steps`` after a surprise only a greater one is news."""
    strongest = pl.max_horizontal("season_bits", pl.col("shift_bits") * SHIFT_WEIGHT)
    surprise = (strongest + LEVEL_WEIGHT * pl.col("level_bits")).clip(0.0, MOST_BITS)
    said = pl.when(pl.col("quiet") > 0).then("said").otherwise(0.0)
    news = pl.col("surprise") > said
    return [surprise.alias("surprise")], _named(
        score=pl.when(news).then("surprise").otherwise(0.0),
        said=pl.when(news).then("surprise").otherwise(said),
        quiet=pl.when(news)
        .then(given.quiet_steps)
        .otherwise((pl.col("quiet") - 1).clip(lower_bound=0)),
    )


def _learnt(given: MetricSettings) -> list[pl.Expr]:
    value, slot = pl.col("value"), pl.col("slot")
    steps = pl.col("steps") + 1
    rate = 1 / pl.min_horizontal(steps, pl.lit(given.level_steps))
    known = pl.when(pl.col("level_count") > RECORD_NEEDS).then("level_record")
    most = ABSURD * pl.when(known > 0).then(known).otherwise(LARGEST_VALUE)
    off = (value - pl.col("level")).clip(-most, most)
    value = pl.col("level") + off
    short_rate = 1 / pl.min_horizontal(steps, pl.lit(given.short_steps))
    seen = pl.col("season_seen").list.get(slot) + 1
    usual = pl.col("season").list.get(slot).fill_null(0.0)
    season_rate = 1 / pl.min_horizontal(seen, pl.lit(given.season_days))
    return _named(
        steps=steps,
        level=pl.col("level") + rate * off,
        variance=pl.col("variance") + rate * (off**2 * (1 - rate) - pl.col("variance")),
        short=pl.col("short") + short_rate * (value - pl.col("short")),
        season=_replaced("season", usual + season_rate * (value - usual)),
        season_seen=_replaced("season_seen", seen),
        **{f"{name}_largest": _kept(name, given) for name in DISTANCES},
        **{
            f"{name}_count": pl.col(f"{name}_count")
            + pl.col(f"{name}_far").is_not_null().cast(pl.Int64)
            for name in DISTANCES
        },
    )


def _kept(name: str, given: MetricSettings) -> pl.Expr:
    largest, far = pl.col(f"{name}_largest"), pl.col(f"{name}_far")
    forget = given.forget_a_step
    aged = largest * (1 - forget) + pl.col(f"{name}_least") * forget
    grown = pl.concat_list(pl.when(largest.list.len() > 0).then(aged).otherwise(largest), far)
    kept = grown.list.sort(descending=True).list.head(given.largest)
    return pl.when(far.is_not_null()).then(kept).otherwise(largest)


def _new(slots: int) -> list[pl.Expr]:
    """The columns of STATE with what a metric has before its first value in place of null."""
    unseen = pl.lit([None] * slots, dtype=pl.List(pl.Float64))
    never = pl.lit([0.0] * slots, dtype=pl.List(pl.Float64))
    none = pl.lit([], dtype=pl.List(pl.Float64))
    return [
        pl.col("season").fill_null(unseen),
        pl.col("season_seen").fill_null(never),
        pl.col("steps", *(f"{name}_count" for name in DISTANCES), "quiet").fill_null(0),
        pl.col("level", "variance", "short", "said").fill_null(0.0),
        pl.col([f"{name}_largest" for name in DISTANCES]).fill_null(none),
    ]


def _replaced(name: str, value: pl.Expr) -> pl.Expr:
    """The list with the element of this row's slot exchanged."""
    old, slot = pl.col(name), pl.col("slot")
    return pl.concat_list(old.list.head(slot), value, old.list.slice(slot + 1))
