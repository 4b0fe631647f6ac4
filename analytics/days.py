"""Which day a row counts for: the day of its agent, which neither late nor absurd times move.

What is usual is frozen at the start of a day, so it matters neither how the stream was cut into
batches nor in which order identities came. The day of an agent is that of its latest row. A row
of a day that is over counts for the current one, and raises nothing if it is over by more than
``LATENESS_US``. A time more than a day ahead, or more than a day behind, is believed only when
``BELIEVED_ROWS`` in succession tell so: until then the rows count today and raise nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import polars as pl

from analytics import extremes, keyed

LATENESS_US = 3_600_000_000
BELIEVED_ROWS = 50
CLOCK_SCHEMA = {"agent": pl.String, "day": pl.Int64, "odd": pl.Int64}
"""``odd``: rows in succession whose day is not believed yet."""


CLOCK = "clock"
CLOCK_KEY = [
    pl.col("agent"),
    *(pl.lit("").alias(name) for name in ("cluster", "database", "owner")),
    pl.lit(CLOCK).alias("item"),
]
CLOCK_ROW = {
    **dict.fromkeys(extremes.KEY, pl.String), "day": pl.Int64, "n": pl.Float64, "last_us": pl.Int64
}  # fmt: skip


def dated(
    rows: pl.DataFrame, state: pl.DataFrame, day_us: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Adds ``day``, ``late``, ``segment`` and ``now_us``; also the state's rows of the clocks.

    ``now_us`` is the agent's latest time so far within the day: slightly late rows belong there.
    """
    agents = rows.select("agent").unique(maintain_order=True)
    keys = agents.select(CLOCK_KEY)
    stored = keyed.get(state, keys, ["day", "n", "last_us"])
    times = rows["at_us"]
    low, high = (int(each) // day_us for each in (times.min(), times.max()))  # type: ignore[arg-type]
    if low == high and all(day is None or low - day in (0, 1) for day in stored["day"]):
        return _of_one_day(rows, stored, low)
    return _of_many_clocks(rows, keys, stored, day_us)


def of_one_day(spans: pl.DataFrame, state: pl.DataFrame, day_us: int) -> pl.DataFrame | None:
    """The state's rows of the clocks after rows that are all of today; None where some are not.

    ``spans``: ``agent``, ``first_us`` (of its first row), ``low_us`` and ``high_us``. The rows have
    also ``first_us``: the agent's time at its first row (``now_us`` of ``dated``).
    """
    low, high = (int(each) // day_us for each in (spans["low_us"].min(), spans["high_us"].max()))  # type: ignore[arg-type]
    if low != high:
        return None
    keys = spans.select(*CLOCK_KEY, "first_us", "high_us")
    stored = keyed.get(state, keys, ["day", "last_us"])
    if any(day is not None and low - day not in (0, 1) for day in stored["day"]):
        return None
    return stored.select(
        *extremes.KEY,
        day=pl.lit(low, pl.Int64),
        n=pl.lit(0.0),
        last_us=pl.max_horizontal("high_us", "last_us"),
        first_us=pl.max_horizontal("first_us", "last_us"),
    )


def _of_one_day(
    rows: pl.DataFrame, stored: pl.DataFrame, day: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    today = {
        "day": pl.lit(day, pl.Int64), "late": pl.lit(value=False), "segment": pl.lit(0, pl.UInt32)
    }  # fmt: skip
    latest = pl.col("at_us").cum_max()
    if stored.height == 1:
        agent, since = stored["agent"][0], stored["last_us"][0]
        timed = rows.with_columns(
            now_us=pl.max_horizontal(latest, pl.lit(since, pl.Int64)), **today
        )
        clock = (agent, "", "", "", CLOCK, day, 0.0, timed["now_us"][-1])
        return timed, pl.DataFrame([clock], CLOCK_ROW, orient="row")
    timed = (
        rows.join(
            stored.select("agent", stored_us="last_us"),
            on="agent", how="left", maintain_order="left",
        )
        .with_columns(now_us=pl.max_horizontal(latest.over("agent"), "stored_us"), **today)
        .drop("stored_us")
    )  # fmt: skip
    ends = timed.group_by("agent").agg(last_us=pl.col("now_us").last())
    clocks = stored.drop("last_us").join(ends, on="agent", how="left")
    return timed, clocks.select(
        *extremes.KEY, day=pl.lit(day, pl.Int64), n=pl.lit(0.0), last_us="last_us"
    )


def _of_many_clocks(
    rows: pl.DataFrame, keys: pl.DataFrame, stored: pl.DataFrame, day_us: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    clocks = stored.filter(pl.col("day").is_not_null()).select(
        "agent", "day", odd=pl.col("n").cast(pl.Int64)
    )
    with_day, after = with_days(rows, clocks, day_us)
    numbered = with_day.with_columns(segment=pl.col("day").rle_id().over("agent"))
    told = stored.select("agent", stored_us=pl.col("last_us"))
    prompt = pl.when(~pl.col("late")).then("at_us")
    earlier = pl.when(
        (pl.col("segment") == 0) & (pl.col("stored_us") // day_us <= pl.col("day"))
    ).then("stored_us")
    timed = (
        numbered.join(told, on="agent", how="left", maintain_order="left")
        .with_columns(
            now_us=pl.max_horizontal(
                prompt.cum_max().fill_null(strategy="forward").over("agent", "segment"), earlier
            ).fill_null(pl.col("day") * day_us)
        )
        .drop("stored_us")
    )
    latest = timed.group_by("agent").agg(pl.col("now_us").last())
    settled = keys.join(after, on="agent").join(latest, on="agent")
    return timed, settled.select(
        *extremes.KEY, "day", n=pl.col("odd").cast(pl.Float64), last_us="now_us"
    )


def filled(parts: Iterable[pl.DataFrame], state: pl.DataFrame) -> pl.DataFrame:
    """All rows with every column of the state: 0 where they have none."""
    first = state.clear().drop(keyed.HASH, keyed.LEVEL)
    names = set(first.columns)
    chosen = [part[[name for name in part.columns if name in names]] for part in parts if len(part)]
    whole = pl.concat([first, *chosen], how="diagonal")
    lacking = [
        each.name for each in whole.get_columns() if each.has_nulls() and each.dtype.is_numeric()
    ]
    return whole.with_columns(pl.col(lacking).fill_null(0)) if lacking else whole


def with_days(
    rows: pl.DataFrame, clocks: pl.DataFrame, day_us: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Adds ``day`` and ``late`` to rows of ``agent`` and ``at_us``; the clocks after them."""
    raw = rows.with_columns(raw=pl.col("at_us") // day_us)
    spans = raw.group_by("agent").agg(low=pl.col("raw").min(), high=pl.col("raw").max())
    known = spans.join(clocks, on="agent", how="left").with_columns(
        day=pl.coalesce("day", "low"), odd=pl.col("odd").fill_null(0)
    )
    plain = (pl.col("low") == pl.col("high")) & (pl.col("low") - pl.col("day")).is_between(0, 1)
    if known.select(plain.all()).item():
        after = known.select("agent", day="low", odd=pl.lit(0, pl.Int64))
        return raw.select(pl.exclude("raw"), day="raw", late=pl.lit(value=False)), after
    return _step_by_step(raw, known, clocks, day_us)


def segments(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Parts in which each agent has one ``day``, in order of arrival; mostly the whole."""
    if rows.is_empty():
        return
    if rows["segment"].max() == 0:
        yield rows
        return
    yield from rows.sort("segment", maintain_order=True).partition_by("segment")


def _step_by_step(
    raw: pl.DataFrame, known: pl.DataFrame, clocks: pl.DataFrame, day_us: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A loop over the changes of day of each agent, of which there are few but in a mix of clocks.

    Agent by agent: where those of many alternate, every row would be a change.
    """
    believed = {agent: (day, odd) for agent, day, odd in clocks.iter_rows()}
    order = raw.select(pl.arg_sort_by("agent", maintain_order=True)).to_series()
    runs = (
        raw.select("agent", "raw")[order]
        .with_columns(run=pl.struct("agent", "raw").rle_id())
        .group_by("run", maintain_order=True)
        .agg(pl.col("agent").first(), pl.col("raw").first(), rows=pl.len())
    )
    pieces: list[tuple[int, bool, int]] = []
    for agent, told, count in runs.select("agent", "raw", "rows").iter_rows():
        day, odd = believed.get(agent, (told, 0))
        for length in _pieces(day, told, odd, count):
            day, odd, fine = _after(day, told, odd, length)
            pieces.append((day, fine, length))
        believed[agent] = day, odd
    schema = {"day": pl.Int64, "sane": pl.Boolean, "length": pl.Int64}
    of_rows = (
        pl.DataFrame(pieces, schema, orient="row")
        .select(pl.col("day", "sane").repeat_by("length"))
        .explode("day", "sane")[order.arg_sort()]
    )
    over = (pl.col("raw") < pl.col("day")) & (
        pl.col("at_us") < pl.col("day") * day_us - LATENESS_US
    )
    after = pl.DataFrame(
        [(agent, *believed[agent]) for agent in known["agent"]], CLOCK_SCHEMA, orient="row"
    )
    dated = raw.hstack(of_rows).with_columns(late=over | ~pl.col("sane"))
    return dated.drop("raw", "sane"), after


def _pieces(day: int, told: int, odd: int, count: int) -> list[int]:
    """Lengths of a run of rows of one day: those before it is believed, and the others."""
    doubted = BELIEVED_ROWS - 1 - odd
    if abs(told - day) <= 1 or not 0 < doubted < count:
        return [count]
    return [doubted, count - doubted]


def _after(day: int, told: int, odd: int, count: int) -> tuple[int, int, bool]:
    """Day and ``odd`` after ``count`` rows that tell ``told``, and whether they are believed."""
    if abs(told - day) <= 1:
        return max(day, told), 0, True
    if odd + count < BELIEVED_ROWS:
        return day, odd + count, False
    return told, 0, True
