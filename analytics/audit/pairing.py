"""The same statement told twice, once by each source, because the log was read late."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import polars as pl

from analytics.audit.statements import BACKEND, MATCHED, ONLY_EBPF, ONLY_PGAUDIT

_LATE = "late"


def paired(server: pl.DataFrame, before: int) -> pl.DataFrame:
    """Leftovers of windows below ``before`` matched with the other side's in the same or the next
    window, by backend and digest.
    """
    lacking = server.filter(
        pl.col("outcome").is_in([ONLY_EBPF, ONLY_PGAUDIT]) & (pl.col("window") <= before)
    )
    if lacking["outcome"].n_unique() < 2:
        return server
    rest = server.join(
        lacking.select("outcome", "window").unique(), on=["outcome", "window"], how="anti"
    )
    rows = list(lacking.iter_rows(named=True))
    matched = _match(rows, before)
    kept = [row for row in rows if row["count"]]
    return pl.concat([rest, pl.DataFrame(kept + matched, schema=server.schema)])


def _match(rows: list[dict[str, Any]], before: int) -> list[dict[str, Any]]:
    """Takes from the counts of ``rows`` what found its other half; returns that as matched rows."""
    others: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        others[_statement(row), row["outcome"]].append(row)
    matched = []
    for row in sorted(rows, key=lambda r: (r["window"], r["outcome"])):
        if row["window"] >= before:
            continue
        wanted = ONLY_PGAUDIT if row["outcome"] == ONLY_EBPF else ONLY_EBPF
        for other in others[_statement(row), wanted]:
            both = min(row["count"], other["count"])
            if both and abs(other["window"] - row["window"]) <= 1:
                row["count"] -= both
                other["count"] -= both
                matched.append(
                    row
                    | {"outcome": MATCHED, "reason": _LATE, "digest": "", "text": "", "count": both}
                )
    return matched


def _statement(row: dict[str, Any]) -> tuple[Any, ...]:
    return (
        *(row[name] for name in BACKEND if name not in ("database", "user_name", "identity")),
        row["digest"],
    )
