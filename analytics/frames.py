"""The columns of the ``statements`` view that detectors read, in the form they read them."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

SCOPE = ("agent", "cluster", "database")
"""A detector compares within one database of one server, never across."""

COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "agent": pl.String,
    "cluster": pl.String,
    "database": pl.String,
    "user_name": pl.String,
    "identity_kind": pl.String,
    "identity_name": pl.String,
    "id": pl.UInt64,
    "parent_id": pl.UInt64,
    "started_at": pl.Datetime("us"),
    "rows": pl.Int64,
    "bytes_sent": pl.Int64,
    "sqlstate": pl.String,
    "operation": pl.String,
    "summary": pl.String,
    "reads": pl.List(pl.String),
    "writes": pl.List(pl.String),
    "fingerprint": pl.String,
}
SUCCESS_STATES = ("", "00000")
"""SQLSTATEs of statements that did what they say, or of which no source knows better."""


class FrameError(ValueError):
    """A batch lacks columns of the documented view."""


def prepare(batch: pl.DataFrame) -> pl.DataFrame:
    """The detectors' columns plus ``row`` (arrival order), ``at_us`` and ``identity``.

    Arrival order, not time, is the order that detectors work in: it is the same however the
    stream is cut into batches. ``identity`` falls back to the login where nobody was recognised.
    Raises FrameError when a column is missing; more columns than needed are ignored.
    """
    missing = [name for name in COLUMNS if name not in batch.columns]
    if missing:
        raise FrameError(f"statements frame lacks {', '.join(missing)}")
    strings = [name for name, kind in COLUMNS.items() if kind == pl.String]
    return (
        batch.select(pl.col(name).cast(kind) for name, kind in COLUMNS.items())
        .with_row_index("row")
        .with_columns(
            pl.col(strings).fill_null(""),
            at_us=pl.col("started_at").dt.epoch("us"),
        )
        .filter(pl.col("at_us").is_not_null())
        .with_columns(
            identity=pl.when(pl.col("identity_name") == "")
            .then("user_name")
            .otherwise("identity_name")
        )
    )


def succeeded() -> pl.Expr:
    return pl.col("sqlstate").is_in(SUCCESS_STATES)


def top_level() -> pl.Expr:
    """Not run inside another statement, whose rows and errors it would count twice."""
    return pl.col("parent_id").fill_null(0) == 0


def keep_latest(state: pl.DataFrame, max_keys: int, order: Sequence[str]) -> pl.DataFrame:
    """At most ``max_keys`` rows: those used last; ``order`` settles ties."""
    if state.height <= max_keys:
        return state
    by = ["last_us", *order]
    return state.sort(by, descending=[True] + [False] * len(order)).head(max_keys)
