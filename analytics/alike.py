"""Rows that differ in nothing but their time, number and amounts are alike: most come many times.

What a detector looks at (who, which relations, which shape ...) is the same for all that are alike,
so it looks at one of them, with how many there are. Only what depends on each single row, such as
the statement that carries a total over its limit, is looked at row by row, and only where a look
at the whole said that there is something (``Dated.rows``).
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import polars as pl

from analytics import agent_days, days
from analytics.frames import ALIKE, prepare

AMOUNTS = ("rows_taken", "bytes_taken")
MOST_ROWS = 1e12
"""Of one statement. Absurd amounts are none, and sums must not overflow."""
TICK = "tick"


class _Latest(threading.local):
    """The batch that was reduced last: many detectors ask for the same."""

    prepared: weakref.ReferenceType[pl.DataFrame] | None = None
    reduced: pl.DataFrame = pl.DataFrame()


_latest = _Latest()


def reduced(batch: pl.DataFrame) -> pl.DataFrame:
    """One row for all that are alike, in the order of their first rows, whose columns it has.

    With ``times`` (how many), ``low_us`` and ``seen_us`` (earliest and latest time), the sums of
    AMOUNTS and ``most_rows`` of one of them.
    """
    rows = prepare(batch)
    if _latest.prepared is None or _latest.prepared() is not rows:
        _latest.reduced = _counted(rows, rows.select(ALIKE, "row", "at_us", *TAKEN), ())
        _latest.prepared = weakref.ref(rows, _forget)
    return _latest.reduced


def _forget(gone: weakref.ReferenceType[pl.DataFrame]) -> None:
    if _latest.prepared is gone:
        _latest.prepared, _latest.reduced = None, pl.DataFrame()


def _amount(name: str) -> pl.Expr:
    return pl.col(name).fill_null(0).clip(lower_bound=0).cast(pl.Float64)


TAKEN = [
    _amount("rows").clip(upper_bound=MOST_ROWS).alias("rows_taken"),
    _amount("bytes_sent").alias("bytes_taken"),
]
ONE = [
    *TAKEN,
    TAKEN[0].alias("most_rows"),
    pl.lit(1, pl.UInt32).alias("times"),
    pl.col("at_us").alias("seen_us"),
]
"""What single rows (``Dated.rows``) lack of those in ``reduced``; made of OF_ONE."""
OF_ONE = ("at_us", "rows", "bytes_sent")
_SUMS = [
    pl.col("row").first(),
    pl.len().alias("times"),
    pl.col("at_us").min().alias("low_us"),
    pl.col("at_us").max().alias("seen_us"),
    pl.col("rows_taken").max().alias("most_rows"),
    pl.col(AMOUNTS).sum(),
]


def _counted(rows: pl.DataFrame, narrow: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    counted = narrow.group_by(ALIKE, *by, maintain_order=True).agg(_SUMS)
    return rows[counted["row"]].hstack(counted.drop(ALIKE, "row"))


@dataclass(frozen=True)
class Dated:
    """What a detector looks at of a batch, with the day that each row counts for.

    ``alike``: as from ``reduced``, with ``day``, ``late``, ``segment`` and, where a span was named,
    ``tick``: which one it is since 1970 by the agent's clock (analytics.days). Rows of
    other days, lateness or ticks are not alike.
    """

    alike: pl.DataFrame
    clocks: pl.DataFrame | None
    """Rows of the state, or (``by_agent``) the agents' clocks if any changed."""
    _rows: pl.DataFrame
    """Prepared."""
    _timed: pl.DataFrame | None = None
    """Single rows, where those alike are not all of one day and tick."""

    def parts(self) -> Iterator[pl.DataFrame]:
        """Parts in which each agent has one ``day``; mostly the whole."""
        yield from days.segments(self.alike)

    def single(self, some: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
        """``row``, ``columns`` and ``late`` of every single row of ``some`` of ``alike``, with all
        that ``some`` has besides. In order of arrival."""
        when = [name for name in _WHEN if name in some.columns]
        if self._timed is None:
            narrow, on = self._rows.select(ALIKE, "row", *columns), [ALIKE]
            some = some.drop(name for name in when if name not in ("late", "day"))
        else:
            on = [ALIKE, *when]
            narrow = self._timed.select("row", *on)
            if columns:
                narrow = narrow.hstack(self._rows.select(columns)[narrow["row"]])
        return narrow.join(some, on=on, how="inner", maintain_order="left")

    def prepared(self, rows: pl.Series, columns: Sequence[str]) -> pl.DataFrame:
        """``columns`` of rows of these numbers."""
        return self._rows.select(columns)[rows]

    def rows(self, some: pl.DataFrame, columns: Sequence[str] = ()) -> pl.DataFrame:
        """Every single row of those in ``some`` of ``alike``, with these columns or (none named)
        all that was prepared. Of a burst they are many: what nobody reads of them is dear."""
        prepared = self._rows.select(columns) if columns else self._rows
        when = [name for name in _WHEN if name in some.columns]
        told = [name for name in _WHEN if name in self.alike.columns]
        if self._timed is None:
            chosen = self._rows.select(ALIKE, "row").join(
                some, on=ALIKE, how="semi", maintain_order="left"
            )
            kinds = self.alike.schema
            same = (pl.lit(self.alike[name][0], kinds[name]).alias(name) for name in told)
            return prepared[chosen["row"]].with_columns(same)
        chosen = self._timed.join(some, on=[ALIKE, *when], how="semi", maintain_order="left")
        return prepared[chosen["row"]].hstack(chosen.select(told))


_WHEN = ("day", "late", "segment", TICK)


def dated(
    batch: pl.DataFrame,
    wanted: pl.Expr,
    state: pl.DataFrame,
    day_us: int,
    span_us: int = 0,
    by_tick: pl.Expr | None = None,
) -> Dated:
    """Rows of ``batch`` that are ``wanted``: a condition that those alike all meet or none does.

    ``state`` has the clocks (``days.dated``). Where ``by_tick``, a condition of that sort too, is
    not met, the tick has no meaning, nor are single rows to be had.
    """
    rows, alike = prepare(batch), reduced(batch).filter(wanted)
    if alike.is_empty():
        return Dated(alike, None, rows)
    ticks = (pl.col("now_us") // span_us) if span_us else None
    clocks = days.of_one_day(_spans(alike), state, day_us)
    if clocks is None:
        timed, clocks = days.dated(_narrow(rows, wanted), state, day_us)
        return _by_row(rows, timed, clocks, ticks)
    today = clocks["day"][0]
    spans = clocks.select(pl.col("first_us", "last_us") // span_us) if span_us else None
    clocks = clocks.drop("first_us")
    if spans is None:
        return Dated(_of(alike, today, None), clocks, rows)
    first, last = int(spans["first_us"].min()), int(spans["last_us"].max())  # type: ignore[arg-type]
    if first == last:
        return Dated(_of(alike, today, last), clocks, rows)
    timed, clocks = days.dated(_narrow(rows, wanted), state, day_us)
    if by_tick is None:
        return _by_row(rows, timed, clocks, ticks)
    others = _of(alike.filter(~by_tick), today, last)
    some = alike.filter(by_tick)[ALIKE].implode()
    told = _by_row(rows, timed.filter(pl.col(ALIKE).is_in(some)), clocks, ticks)
    both = pl.concat([others, told.alike.select(others.columns)])
    return replace(told, alike=both.sort("row"))


def dated_by_agent(
    batch: pl.DataFrame, wanted: pl.Expr, state: pl.DataFrame, day_us: int, ticks_a_day: int = 0
) -> Dated:
    """As ``dated``, with clocks as of ``agent_days.dated``, ticks by each row's own time."""
    rows, alike = prepare(batch), reduced(batch).filter(wanted)
    if alike.is_empty():
        return Dated(alike, None, rows)
    spans = _spans(alike)
    clocks = agent_days.clocks(state, spans["agent"])
    day = agent_days.of_all(spans, clocks, day_us)
    low, high = spans["low_us"].min(), spans["high_us"].max()
    tick, last = (int(at) * ticks_a_day // day_us for at in (low, high))  # type: ignore[arg-type]
    if day is None or tick != last:
        timed, changed = agent_days.dated(_narrow(rows, wanted), clocks, day_us)
        ticks = (pl.col("at_us") * ticks_a_day // day_us) if ticks_a_day else None
        return _by_row(rows, timed, changed, ticks)
    return Dated(_of(alike, day, tick if ticks_a_day else None), None, rows)


def _narrow(rows: pl.DataFrame, wanted: pl.Expr) -> pl.DataFrame:
    narrow = rows.select(ALIKE, "row", "agent", "at_us", *TAKEN)
    return narrow.filter(rows.select(wanted).to_series())


def _by_row(
    rows: pl.DataFrame, timed: pl.DataFrame, clocks: pl.DataFrame | None, tick: pl.Expr | None
) -> Dated:
    if tick is not None:
        timed = timed.with_columns(tick.alias(TICK))
    when = [name for name in _WHEN if name in timed.columns]
    # What is the same for all rows tells none apart.
    spans = {name: (timed[name].min(), timed[name].max()) for name in when}
    same = {name: low for name, (low, high) in spans.items() if low == high}
    alike = _counted(rows, timed, [name for name in when if name not in same])
    constants = [pl.lit(value, timed.schema[name]).alias(name) for name, value in same.items()]
    return Dated(alike.with_columns(constants), clocks, rows, timed)


def _spans(alike: pl.DataFrame) -> pl.DataFrame:
    """Of each agent ``first_us`` (of its first row), ``low_us`` and ``high_us``."""
    return alike.group_by("agent", maintain_order=True).agg(
        pl.col("at_us").first().alias("first_us"),
        pl.col("low_us").min(),
        pl.col("seen_us").max().alias("high_us"),
    )


def _of(alike: pl.DataFrame, day: int, tick: int | None) -> pl.DataFrame:
    return alike.with_columns(
        day=pl.lit(day, pl.Int64),
        late=pl.lit(value=False),
        segment=pl.lit(0, pl.UInt32),
        **({} if tick is None else {TICK: pl.lit(tick, pl.Int64)}),
    )
