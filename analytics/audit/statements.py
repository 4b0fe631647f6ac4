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
    wanted,
)
from analytics.frames import FrameError

MATCHED, ONLY_EBPF, ONLY_PGAUDIT, EXEMPT = "matched", "only_ebpf", "only_pgaudit", "exempt"
SPARE = "spare"
"""Matched, although no record was demanded: it may be that of another run of the same text."""
SERVER = ("agent", "cluster")
BACKEND = ("agent", "cluster", "database", "user_name", "identity", "pid", "backend_second")
TEXT_CHARACTERS = 160
_HALVES = (ONLY_EBPF, ONLY_PGAUDIT)
_SECOND_US = 1_000_000

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
    start is kept to the second: the log knows it no better. Raises FrameError for a missing column.
    """
    missing = [name for name in COLUMNS if name not in batch.columns]
    if missing:
        raise FrameError(f"statements frame lacks {', '.join(missing)}")
    if "audit_mask" not in batch.columns:
        batch = batch.with_columns(audit_mask=pl.lit(classes.ALL | classes.CATALOG))
    known = batch.select(
        pl.col("audit_mask").cast(pl.Int64),
        *(pl.col(name).cast(kind).pipe(_filled, kind) for name, kind in COLUMNS.items()),
    ).with_columns(
        at_us=pl.col("started_at").dt.epoch("us"),
        backend_second=pl.col("backend_started_at").dt.epoch("us").fill_null(0) // _SECOND_US,
        identity=pl.when(pl.col("identity_name") == "")
        .then("user_name")
        .otherwise("identity_name"),
    )
    return (
        known.with_row_index("row")
        .filter(pl.col("at_us").is_not_null())
        .with_columns(
            end_us=pl.col("at_us") + pl.col("duration_us").clip(lower_bound=0), wanted=wanted()
        )
        .with_columns(reason=_reason())
        .with_columns(outcome=_outcome())
        .select(
            "row", *BACKEND, "id", "at_us", "end_us", "outcome", "reason",
            # Only what lacks its other half, or might give it, is told apart by its text.
            *(pl.when(pl.col("outcome").is_in(outcomes)).then(name).otherwise(pl.lit("")).alias(name)
              for name, outcomes in (("digest", (*_HALVES, SPARE)), ("text", _HALVES))),
        )
        .with_columns(text=_one_line(pl.col("text")))
    )  # fmt: skip


def _filled(column: pl.Expr, kind: Any) -> pl.Expr:
    if kind == pl.List(pl.String):
        return column.fill_null([])
    if kind == pl.String:
        return column.fill_null("")
    return column if kind == pl.Datetime("us") else column.fill_null(0)


def _reason() -> pl.Expr:
    source, excused = pl.col("source"), exemption(EXEMPTIONS)
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
