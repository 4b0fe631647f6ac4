"""The columns of the ``statements`` view that detectors read, in the form they read them."""

from __future__ import annotations

import secrets
import threading
import weakref
from collections.abc import Sequence
from functools import reduce

import polars as pl
from polars.dataframe.group_by import GroupBy

SCOPE = ("agent", "cluster", "database")
"""A detector compares within one database of one server, never across."""

COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "agent": pl.String,
    "cluster": pl.String,
    "database": pl.String,
    "user_name": pl.String,
    "application_name": pl.String,
    "client_address": pl.String,
    "identity_kind": pl.String,
    "identity_name": pl.String,
    "id": pl.UInt64,
    "parent_id": pl.UInt64,
    "started_at": pl.Datetime("us"),
    "duration_us": pl.Int64,
    "rows": pl.Int64,
    "bytes_sent": pl.Int64,
    "sqlstate": pl.String,
    "operation": pl.String,
    "summary": pl.String,
    "reads": pl.List(pl.String),
    "writes": pl.List(pl.String),
    "columns_used": pl.List(pl.String),
    "verbs": pl.List(pl.String),
    "objects": pl.List(pl.String),
    "functions": pl.List(pl.String),
    "settings": pl.List(pl.String),
    "flags": pl.List(pl.String),
    "fingerprint": pl.String,
}
WHO = "who"
OF_WHO = (*SCOPE, "identity")
"""Column ``who`` is a number that stands for these: rows are grouped by one number in a fraction
of the time that four texts take. It means nothing beyond its batch."""
ALIKE = "alike"
"""The same number for rows that differ in nothing but time, number and amounts
(``analytics.alike``). It means nothing beyond its batch either."""
ANY_ROWS, TIMED = "any_rows", "timed"
"""Whether a statement has rows, and a duration."""
_SEED = secrets.randbits(63)
"""Of this process, so that nobody can choose names which give the same number."""
_MIX = 0x9E3779B97F4A7C15
SUCCESS_STATES = ("", "00000")
"""SQLSTATEs of statements that did what they say, or of which no source knows better."""


class FrameError(ValueError):
    """A batch lacks columns of the documented view."""


class _Latest(threading.local):
    """The batch that was prepared last, and what came of it: many detectors ask for the same."""

    batch: weakref.ReferenceType[pl.DataFrame] | None = None
    prepared: pl.DataFrame = pl.DataFrame()


_latest = _Latest()


def prepare(batch: pl.DataFrame) -> pl.DataFrame:
    """The detectors' columns plus ``row`` (arrival order), ``at_us`` and ``identity``.

    Arrival order, not time, is the order that detectors work in: it is the same however the
    stream is cut into batches. ``identity`` falls back to the login where nobody was recognised.
    Raises FrameError when a column is missing; more columns than needed are ignored. Frames are
    values: that of the last batch is kept as long as the batch lives, and returned again.
    """
    if _latest.batch is not None and _latest.batch() is batch:
        return _latest.prepared
    prepared = _prepared(batch)
    _latest.prepared = prepared
    latest = _latest  # the name is gone already when the interpreter ends

    def forget(gone: weakref.ReferenceType[pl.DataFrame]) -> None:
        if latest.batch is gone:
            latest.batch, latest.prepared = None, pl.DataFrame()

    latest.batch = weakref.ref(batch, forget)
    return prepared


def _prepared(batch: pl.DataFrame) -> pl.DataFrame:
    missing = [name for name in COLUMNS if name not in batch.columns]
    if missing:
        raise FrameError(f"statements frame lacks {', '.join(missing)}")
    read = batch.select(_AS_READ)
    if read["at_us"].has_nulls():
        read = read.filter(pl.col("at_us").is_not_null())
    named = pl.when(pl.col("identity_name") == "").then("user_name").otherwise("identity_name")
    rows = read.with_row_index("row").with_columns(identity=named)
    return rows.with_columns(_ROW_NUMBERS)


_AS_READ = [
    *(
        pl.col(name).cast(kind).fill_null("") if kind == pl.String else pl.col(name).cast(kind)
        for name, kind in COLUMNS.items()
    ),
    pl.col("started_at").cast(pl.Datetime("us")).dt.epoch("us").alias("at_us"),
    (pl.col("rows").cast(pl.Int64).fill_null(0) > 0).alias(ANY_ROWS),
    (pl.col("duration_us").cast(pl.Int64).fill_null(0) > 0).alias(TIMED),
]


def mixed(columns: Sequence[pl.Expr], start: pl.Expr | None = None) -> pl.Expr:
    """One number for several columns. Of a struct it takes Polars several times as long."""
    parts = [column.hash(_SEED) for column in columns]
    first, *others = parts if start is None else [start, *parts]
    return reduce(lambda before, part: (before * _MIX) ^ part, others, first)


def top_level() -> pl.Expr:
    """Not run inside another statement, whose rows and errors it would count twice."""
    return pl.col("parent_id").fill_null(0) == 0


_OTHERS = [
    name for name, kind in COLUMNS.items() if kind in (pl.String, pl.List(pl.String))
    and name not in SCOPE
]  # fmt: skip
_WHO_NUMBER = mixed([pl.col(name) for name in OF_WHO])
_ROW_NUMBERS = [
    _WHO_NUMBER.alias(WHO),
    mixed(
        [*(pl.col(name) for name in _OTHERS), top_level(), pl.col(ANY_ROWS), pl.col(TIMED)],
        _WHO_NUMBER,
    ).alias(ALIKE),
]


def by_who(rows: pl.DataFrame, *more: str) -> GroupBy:
    """Groups of OF_WHO and ``more``, in order; aggregate with ``who_columns()`` to have them."""
    return rows.group_by(WHO, *more, maintain_order=True)


def who_columns() -> pl.Expr:
    return pl.col(OF_WHO).first()


def succeeded() -> pl.Expr:
    return pl.col("sqlstate").is_in(SUCCESS_STATES)


def keep_latest(state: pl.DataFrame, max_keys: int, order: Sequence[str]) -> pl.DataFrame:
    """At most ``max_keys`` rows: those used last; ``order`` settles ties."""
    if state.height <= max_keys:
        return state
    by = ["last_us", *order]
    return state.sort(by, descending=[True] + [False] * len(order)).head(max_keys)
