"""Findings as rows of the ``findings`` view; their ids; quoting for their evidence queries."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import polars as pl

from model.finding import Finding

DAY_US = 86_400_000_000
TIME = pl.Datetime("us")
"""UTC, as everywhere in the store."""

SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "id": pl.String,
    "kind": pl.String,
    "detector": pl.String,
    "severity": pl.String,
    "title": pl.String,
    "sentence": pl.String,
    "occurred_at": TIME,
    "agent": pl.String,
    "cluster": pl.String,
    "database": pl.String,
    "user_name": pl.String,
    "identity": pl.String,
    "object": pl.String,
    "score": pl.Float64,
    "evidence_sql": pl.String,
    "statement_id": pl.UInt64,
    "resolved_at": TIME,
    "details": pl.String,
}


def finding_id(at_us: int, *cause: str) -> str:
    """The same cause on the same (UTC) day gives the same id, so a replay repeats nothing."""
    text = "\0".join([*cause, str(at_us // DAY_US)])
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:24]


def findings_frame(findings: Iterable[Finding]) -> pl.DataFrame:
    """One row a finding; ``resolved_at`` is null while its cause lasts."""
    rows = [_row(finding) for finding in findings]
    frame = pl.DataFrame(rows, schema=_RAW_SCHEMA, orient="row")
    return frame.with_columns(pl.col("occurred_at", "resolved_at").cast(pl.Datetime("us")))


_RAW_SCHEMA = SCHEMA | {"occurred_at": pl.Int64, "resolved_at": pl.Int64}


def _row(finding: Finding) -> tuple[Any, ...]:
    return (
        finding.id,
        finding.kind.value,
        finding.detector,
        finding.severity.value,
        finding.title,
        finding.sentence,
        finding.at_us,
        finding.agent,
        finding.cluster,
        finding.database,
        finding.user,
        finding.identity,
        finding.object,
        finding.score,
        finding.evidence_sql,
        finding.statement_id,
        finding.resolved_at_us or None,
        json.dumps(dict(finding.details), sort_keys=True, ensure_ascii=False),
    )


def literal(value: str | int) -> str:
    """A SQL literal for DuckDB; NUL cannot stand in one and is left out.

    >>> literal("O'Brien")
    "'O''Brien'"
    """
    if isinstance(value, int):
        return str(value)
    return "'" + value.replace("\0", "").replace("'", "''") + "'"


def between(column: str, from_us: int, to_us: int) -> str:
    """A half-open stretch of time as a condition that needs no time zone setting."""
    return f"epoch_us({column}) >= {int(from_us)} AND epoch_us({column}) < {int(to_us)}"
