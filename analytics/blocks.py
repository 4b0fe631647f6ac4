"""A stream cut into blocks of so many rows of one owner, however it was cut into batches.

Rows of ``n`` (the owner's number in this batch) fill the block that the state left open and then
further ones. What is usual is compared by blocks, and daily extremes of blocks say what is unusual.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

import polars as pl

from analytics.alike import Dated
from analytics.frames import ALIKE
from analytics.peaks import OWNER
from analytics.said import NEVER_EVICTED

WHEN = (ALIKE, "late", "day", "segment")


def numbered(
    dated: Dated, part: pl.DataFrame, own: pl.DataFrame, size: int, columns: Sequence[str]
) -> pl.DataFrame:
    """Single rows of ``part`` (``row``, ``columns``, ``late``) with ``n``, ``block`` (0: the one
    that was open) and ``ends`` (the row completes it).

    ``own``: OWNER and ``filled``, how many rows the open block holds already.
    """
    ids = own.select(*OWNER, "filled").with_row_index("n")
    numbers = part.select(*WHEN, *OWNER).join(
        ids, on=list(OWNER), how="left", maintain_order="left"
    )
    rows = dated.single(numbers.select(*WHEN, "n", "filled"), columns)
    placed = rows.with_columns(at=pl.col("filled") + pl.int_range(pl.len()).over("n"))
    return placed.with_columns(
        block=pl.col("at") // size, ends=pl.col("at") % size == size - 1
    ).drop("at", "filled")


def place() -> pl.Expr:
    """``n`` and ``block`` in one number: rows are told apart by one in half the time."""
    return (pl.col("n").cast(pl.Int64) * (1 << 32) + pl.col("block")).alias("place")


def completed(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows that end a block."""
    return rows.filter("ends")


def clock_rows(clocks: pl.DataFrame) -> pl.DataFrame:
    """The rows of no owner: the agents' clocks."""
    nobody = (pl.lit("").alias(name) for name in OWNER[1:])
    return clocks.select("agent", *nobody, "day", "odd", last_us=pl.lit(NEVER_EVICTED))


def together(frames: Iterable[pl.DataFrame], state: pl.DataFrame) -> pl.DataFrame:
    """Rows of different keys, to be put at once: each put costs a merge."""
    return pl.concat(filled(rows, state) for rows in frames if not rows.is_empty())


def filled(rows: pl.DataFrame, state: pl.DataFrame) -> pl.DataFrame:
    """Every column of the state: 0, '' and empty lists where ``rows`` do not say."""
    kinds = {name: kind for name, kind in state.schema.items() if name not in ("hash", "level")}
    return rows.select(_filling(rows, name, kind) for name, kind in kinds.items())


def _filling(rows: pl.DataFrame, name: str, kind: pl.DataType) -> pl.Expr:
    if name not in rows.columns:
        return _nothing(kind).alias(name)
    column = pl.col(name) if rows[name].dtype == kind else pl.col(name).cast(kind)
    return column.fill_null(_nothing(kind)) if rows[name].has_nulls() else column


@cache
def _nothing(kind: pl.DataType) -> pl.Expr:
    if isinstance(kind, pl.List):
        return pl.lit(pl.Series([[]], dtype=kind)).first()
    return pl.lit("" if kind == pl.String else 0, kind)
