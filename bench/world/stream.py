"""Drafts become rows of view ``statements``, in order of time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import polars as pl

from bench.world.book import SHAPE_SCHEMA, Book
from bench.world.calendar import SECOND_US
from bench.world.identity import Identity
from bench.world.relations import place, relations

BATCH_ROWS = 10_000
SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "agent": pl.String,
    "id": pl.UInt64,
    "parent_id": pl.UInt64,
    "started_at": pl.Datetime("us"),
    "duration_us": pl.Int64,
    "rows": pl.Int64,
    "bytes_sent": pl.Int64,
    "text_bytes": pl.UInt64,
    "cluster": pl.String,
    "database": pl.String,
    "user_name": pl.String,
    "application_name": pl.String,
    "client_address": pl.String,
    "identity_kind": pl.String,
    "identity_name": pl.String,
    "sqlstate": pl.String,
    "error_message": pl.String,
    "operation": pl.String,
    "summary": pl.String,
    "verbs": pl.List(pl.String),
    "objects": pl.List(pl.String),
    "reads": pl.List(pl.String),
    "writes": pl.List(pl.String),
    "columns_used": pl.List(pl.String),
    "functions": pl.List(pl.String),
    "settings": pl.List(pl.String),
    "roles": pl.List(pl.String),
    "flags": pl.List(pl.String),
    "fingerprint": pl.String,
    "text": pl.String,
    "pid": pl.UInt32,
    "backend_started_at": pl.Datetime("us"),
    "source": pl.String,
    "protocol": pl.String,
    "tag": pl.String,
    "parse_status": pl.String,
    "digest": pl.String,
}
_PIDS = 4_000_000
_RANDOM_BITS = 12


def ordered(drafts: pl.DataFrame) -> pl.DataFrame:
    """By time, with ids: second, microsecond and 12 bits that depend on the row alone.

    So a statement has the same id whether or not others are there. The few whose id is taken are
    left out, ordinary ones before those of a campaign.
    """
    at = pl.col("at_us")
    low = (at % SECOND_US) * (1 << _RANDOM_BITS) + (pl.col("key") % (1 << _RANDOM_BITS)).cast(
        pl.Int64
    )
    return (
        drafts.with_columns(id=(at // SECOND_US * (1 << 32) + low).cast(pl.UInt64))
        .sort("id", "campaign", "key", descending=[False, True, False])
        .unique("id", keep="first", maintain_order=True)
    )


def frames(
    book: Book, people: Iterable[Identity], in_order: pl.DataFrame
) -> Iterator[pl.DataFrame]:
    """Batches with the columns of ``SCHEMA``."""
    who, places, shapes = _people(people), _places(), book.frame()
    for piece in in_order.iter_slices(BATCH_ROWS):
        yield _filled(piece, who, places, shapes)


def _filled(
    piece: pl.DataFrame, who: pl.DataFrame, places: pl.DataFrame, shapes: pl.DataFrame
) -> pl.DataFrame:
    full = (
        pl.concat([piece, shapes[piece["shape"]]], how="horizontal")
        .join(who, on="who", how="left", maintain_order="left")
        .join(places, on="place", how="left", maintain_order="left")
    )
    counts = pl.col("operation").is_in(["select", "insert", "update", "delete", "copy"])
    worded = pl.col("tag") + pl.when(pl.col("tag") == "INSERT").then(pl.lit(" 0 ")).otherwise(
        pl.lit(" ")
    )
    fine = pl.col("sqlstate") == "00000"
    return full.with_columns(
        started_at=pl.from_epoch("at_us", time_unit="us"),
        backend_started_at=pl.from_epoch("session_us", time_unit="us"),
        pid=(pl.col("session") % _PIDS + 300).cast(pl.UInt32),
        parent_id=pl.lit(0, dtype=pl.UInt64),
        source=pl.lit("both"),
        tag=pl.when(~fine)
        .then(pl.lit(""))
        .when(counts)
        .then(worded + pl.col("rows").cast(pl.String))
        .otherwise("tag"),
    ).select(pl.col(name).cast(kind) for name, kind in SCHEMA.items())


def _people(people: Iterable[Identity]) -> pl.DataFrame:
    rows = [(p.name, p.user_name, p.kind, p.identity_name) for p in people]
    columns = ["who", "user_name", "identity_kind", "identity_name"]
    return pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String), orient="row")


def _places() -> pl.DataFrame:
    names = sorted({r.place.database for r in relations()})
    known = [place(name) for name in names]
    return pl.DataFrame(
        {
            "place": names,
            "agent": [p.agent for p in known],
            "cluster": [p.cluster for p in known],
            "database": names,
        }
    )


assert set(SHAPE_SCHEMA) <= set(SCHEMA)
