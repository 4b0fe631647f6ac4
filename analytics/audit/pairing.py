"""Halves that the agent did not put together: the log was late, or a text ran twice at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import polars as pl

from analytics.audit.statements import (
    BACKEND,
    EXEMPT,
    MATCHED,
    ONLY_EBPF,
    ONLY_PGAUDIT,
    SPARE,
)

Row = dict[str, Any]
_LATE = "late"
_HALVES = (ONLY_EBPF, ONLY_PGAUDIT, SPARE)
_PARTNERS = {ONLY_EBPF: (ONLY_PGAUDIT, SPARE), ONLY_PGAUDIT: (ONLY_EBPF,), SPARE: (ONLY_EBPF,)}


def paired(server: pl.DataFrame, before: int) -> pl.DataFrame:
    """What lacks its half in windows below ``before``, with what has it in the same or a
    neighbouring window: the same text of the same backend.
    """
    halves = pl.col("outcome").is_in(_HALVES) & (pl.col("window") <= before)
    rows = server.filter(halves)
    if not may_pair(rows["outcome"].unique()):
        return server
    told = list(rows.iter_rows(named=True))
    found = _match(told, before)
    kept = [row for row in told if row["count"]]
    return pl.concat([server.filter(~halves), pl.DataFrame(kept + found, schema=server.schema)])


def may_pair(outcomes: Iterable[str]) -> bool:
    halves = {*outcomes} & {*_HALVES}
    return ONLY_EBPF in halves and len(halves) > 1


def _match(rows: list[Row], before: int) -> list[Row]:
    """Takes from the counts of ``rows`` what found its half; returns what that makes."""
    by_text: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        by_text[*_text(row), row["outcome"]].append(row)
    found: list[Row] = []
    for row in sorted(rows, key=lambda row: (row["window"], row["outcome"])):
        if row["window"] >= before:
            continue
        for outcome in _PARTNERS[row["outcome"]]:
            for other in by_text[*_text(row), outcome]:
                if abs(other["window"] - row["window"]) <= 1:
                    found += _joined(row, other)
    return found


def _joined(row: Row, other: Row) -> list[Row]:
    both = min(row["count"], other["count"])
    if not both:
        return []
    row["count"] -= both
    other["count"] -= both
    plain = {"digest": "", "text": "", "count": both}
    joined = [row | plain | {"outcome": MATCHED, "reason": _LATE}]
    # The record went to the run that needs none: that one is exempt after all.
    joined += [
        half | plain | {"outcome": EXEMPT} for half in (row, other) if half["outcome"] == SPARE
    ]
    return joined


def _text(row: Row) -> tuple[Any, ...]:
    """Without database, user and identity: the two sources may not know them alike."""
    keys = [name for name in BACKEND if name not in ("database", "user_name", "identity")]
    return (*(row[name] for name in keys), row["digest"])
