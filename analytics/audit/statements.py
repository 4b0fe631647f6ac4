"""Statements in the form that coverage reads: when each ended, and what came of it."""

from __future__ import annotations

from typing import Any

import polars as pl

from analytics.audit import classes
from analytics.audit.exemptions import (
    EXEMPTIONS,
    MAY_BE_SWAPPED,
    PROBE_EXEMPTIONS,
    exemption,
    of_pgaudit,
    wanted,
)
from analytics.frames import ALIKE, FrameError, mixed

MATCHED, ONLY_EBPF, ONLY_PGAUDIT, EXEMPT = "matched", "only_ebpf", "only_pgaudit", "exempt"
SPARE = "spare"
"""Matched, although no record was demanded: it may be that of another run of the same text."""
SERVER = ("agent", "cluster")
BACKEND = ("agent", "cluster", "database", "user_name", "identity", "pid", "backend_second")
TEXT_CHARACTERS = 160
_HALVES = (ONLY_EBPF, ONLY_PGAUDIT)
_SECOND_US = 1_000_000
_TEXTS = ("digest", "text")

COLUMNS: dict[str, Any] = {
    **dict.fromkeys(
        ("agent", "cluster", "database", "user_name", "identity_name", "client_address", "source",
         "protocol", "tag", "sqlstate", "parse_status", "operation", "digest", "text"), pl.String,
    ),
    **dict.fromkeys(("reads", "writes", "flags"), pl.List(pl.String)),
    "id": pl.UInt64, "parent_id": pl.UInt64, "pid": pl.Int64, "duration_us": pl.Int64,
    "started_at": pl.Datetime("us"), "backend_started_at": pl.Datetime("us"),
}  # fmt: skip


def judged(batch: pl.DataFrame) -> pl.DataFrame:
    """Each statement with ``outcome`` and ``reason``; ``at_us`` its start, ``end_us`` its end.

    A statement counts when it ended: only then is it known. ``audit_mask`` (``policy.with_mask``)
    says what pgaudit is expected to log; without that column, everything that it can. The backend's
    start is kept to the second: the log knows it no better. ``alike`` is a number that rows share
    which differ in nothing but time, backend and text. Raises FrameError for a missing column.
    """
    missing = [name for name in COLUMNS if name not in batch.columns]
    if missing:
        raise FrameError(f"statements frame lacks {', '.join(missing)}")
    if "audit_mask" not in batch.columns:
        batch = batch.with_columns(audit_mask=pl.lit(classes.ALL | classes.CATALOG))
    dear = of_pgaudit(batch["audit_mask"].cast(pl.Int64)) is EXEMPTIONS
    numbered = batch.with_columns(_ALIKE_BY_RELATION if dear else _ALIKE)
    firsts = numbered.select(ALIKE).with_row_index("row").unique(ALIKE, maintain_order=True)
    kinds = _kinds(numbered.select(ALIKE, "audit_mask", *_MATTER)[firsts["row"]])
    single = numbered.select(ALIKE, *_SINGLE).with_row_index("row")
    if single["at_us"].has_nulls():
        single = single.filter(pl.col("at_us").is_not_null())
    end = pl.col("at_us") + pl.col("duration_us").clip(lower_bound=0)
    rows = single.with_columns(end_us=end).join(kinds, on=ALIKE, how="left", maintain_order="left")
    texts = _texts(rows, batch)
    names = ("row", *BACKEND, "id", "at_us", "end_us", "outcome", "reason", ALIKE)
    return rows.select(names).hstack(texts)


def _kinds(firsts: pl.DataFrame) -> pl.DataFrame:
    """What came of statements that differ in nothing that matters for it."""
    known = firsts.select(
        ALIKE,
        pl.col("audit_mask").cast(pl.Int64),
        *(pl.col(name).cast(COLUMNS[name]).pipe(_filled, COLUMNS[name]) for name in _MATTER),
    ).with_columns(
        identity=pl.when(pl.col("identity_name") == "")
        .then("user_name")
        .otherwise("identity_name"),
        wanted=wanted(),
    )
    return (
        known.with_columns(excused=exemption(of_pgaudit(known["audit_mask"])))
        .with_columns(reason=_reason())
        .with_columns(outcome=_outcome())
        .select(ALIKE, *(name for name in BACKEND if name not in _OF_ROW), "outcome", "reason")
    )


def _texts(rows: pl.DataFrame, batch: pl.DataFrame) -> pl.DataFrame:
    """Only what lacks its other half, or might give it, is told apart by its text."""
    none = pl.repeat("", rows.height, eager=True)
    at = rows["outcome"].is_in([*_HALVES, SPARE]).arg_true()
    if at.is_empty():
        return pl.DataFrame(dict.fromkeys(_TEXTS, none))
    half = pl.col("outcome").is_in(_HALVES)
    told = (
        batch.select(_TEXTS)[rows["row"][at]]
        .with_columns(pl.col(_TEXTS).cast(pl.String).fill_null(""), outcome=rows["outcome"][at])
        .with_columns(text=_one_line(pl.when(half).then("text").otherwise(pl.lit(""))))
    )
    return pl.DataFrame({name: none.clone().scatter(at, told[name]) for name in _TEXTS})


_OF_ROW = ("pid", "backend_second")
_MATTER = [
    name for name, kind in COLUMNS.items()
    if name == "parent_id" or (kind in (pl.String, pl.List(pl.String)) and name not in _TEXTS)
]  # fmt: skip
_LISTS = ("reads", "writes")
_ALIKE = mixed(
    [
        *(pl.col(name) for name in _MATTER if name not in ("parent_id", *_LISTS)),
        pl.col("writes").list.len().fill_null(0) > 0,
        pl.col("parent_id").fill_null(0) != 0,
        pl.col("audit_mask"),
    ]
).alias(ALIKE)
_ALIKE_BY_RELATION = mixed([pl.col(name) for name in _LISTS], _ALIKE).alias(ALIKE)
"""Where records of catalogs may be off, and only there, it matters which relations."""
_SINGLE = [
    *(pl.col(name).cast(COLUMNS[name]).fill_null(0) for name in ("id", "pid", "duration_us")),
    pl.col("started_at").cast(pl.Datetime("us")).dt.epoch("us").alias("at_us"),
    pl.col("backend_started_at").cast(pl.Datetime("us")).dt.epoch("us").fill_null(0)
    .floordiv(_SECOND_US).alias("backend_second"),
]  # fmt: skip


def _filled(column: pl.Expr, kind: Any) -> pl.Expr:
    if kind == pl.List(pl.String):
        return column.fill_null([])
    if kind == pl.String:
        return column.fill_null("")
    return column if kind == pl.Datetime("us") else column.fill_null(0)


def _reason() -> pl.Expr:
    source, excused = pl.col("source"), pl.col("excused")
    return (
        pl.when((source == "ebpf") | ((source == "both") & excused.is_in(MAY_BE_SWAPPED)))
        .then(excused)
        .when(source == "pgaudit")
        .then(exemption(PROBE_EXEMPTIONS))
        .when(source == "both")
        .then(pl.lit(""))
        .otherwise(pl.lit("unknown_source"))
    )


def _outcome() -> pl.Expr:
    words = {"both": MATCHED, "ebpf": ONLY_EBPF, "pgaudit": ONLY_PGAUDIT}
    named = pl.col("source").replace_strict(words, default=EXEMPT)
    return (
        pl.when(pl.col("reason") == "")
        .then(named)
        .when(pl.col("source") == "both")
        .then(pl.lit(SPARE))
        .otherwise(pl.lit(EXEMPT))
    )


def _one_line(text: pl.Expr) -> pl.Expr:
    return text.str.slice(0, TEXT_CHARACTERS).str.replace_all(r"\s+", " ")
