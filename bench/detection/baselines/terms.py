"""Who was seen with what: the pairs that rules of novelty look at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from bench.detection.baselines.baseline import rows_of

Pair = tuple[str, str, str, str, int]
"""Identity, its kind, kind of the other side, the other side, first time in the batch."""


def pairs(batch: pl.DataFrame, kinds: Sequence[str]) -> Iterator[Pair]:
    """Each pair once a batch, in order of time; ``relation`` is what is read or written."""
    rows = rows_of(batch).with_columns(
        relation=pl.col("reads").list.concat("writes"), identity_kind=pl.col("identity_kind")
    )
    parts = []
    for kind in kinds:
        column = rows.explode("relation") if kind == "relation" else rows
        parts.append(
            column.filter(pl.col(kind).fill_null("") != "")
            .group_by("identity", "identity_kind", term=kind)
            .agg(pl.col("at_us").min())
            .select("identity", "identity_kind", pl.lit(kind).alias("kind"), "term", "at_us")
        )
    yield from pl.concat(parts).sort("at_us", "identity", "kind", "term").iter_rows()
