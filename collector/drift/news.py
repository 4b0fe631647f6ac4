"""What drift has to say after each step, and to those who ask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from analytics.findings import TIME
from collector.drift.state import OpenDrift
from collector.drift.waiting import Source
from model.finding import Finding

DRIFT_SCHEMA: dict[str, Any] = {
    "occurred_at": pl.Int64, "agent": pl.String, "cluster": pl.String, "kind": pl.String,
    "database": pl.String, "name": pl.String, "change": pl.String, "desired": pl.String,
    "observed": pl.String, "attribution": pl.String, "statement_id": pl.UInt64,
    "actor": pl.String, "resolved_at": pl.Int64, "user_name": pl.String, "approval": pl.String,
    "severity": pl.String, "finding_id": pl.String, "note": pl.String, "known_at": pl.Int64,
    "outcome": pl.String, "resolved_by": pl.String, "resolved_statement_id": pl.UInt64,
    "renamed": pl.String,
}  # fmt: skip


@dataclass
class DriftNews:
    """What is to be stored: findings, and rows of view ``drift`` (times as Unix microseconds)."""

    findings: list[Finding] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    changes: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Rows of table ``catalog_changes`` by number: ``changes_settled`` wants to hear of them."""
    wanted: list[Source] = field(default_factory=list)
    """Whose agents are to send a whole snapshot: something of theirs never came."""


@dataclass(frozen=True)
class DriftStatus:
    has_baseline: bool
    rows: list[dict[str, Any]]
    accepted_by: str
    accepted_at_us: int
    ignored: list[dict[str, Any]] = field(default_factory=list)
    """The ignore rules, with what each hides now."""
    problems: list[str] = field(default_factory=list)


def counts(drifts: Iterable[OpenDrift]) -> dict[tuple[str, str, str], int]:
    """By (kind, severity, attribution)."""
    return dict(
        Counter(
            (drift.scope.kind.value, drift.severity.value, drift.attribution.value)
            for drift in drifts
        )
    )


def drift_frame(rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Rows as table ``drift`` stores them."""
    return pl.DataFrame([dict(row) for row in rows], schema=DRIFT_SCHEMA).with_columns(
        pl.col("occurred_at", "resolved_at", "known_at").cast(TIME)
    )
