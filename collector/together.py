"""Commits that wait are given to detectors together: a call costs as much for few rows as for many.

How a stream is cut into batches changes no finding, so what comes of many is what would have come
of each. Which commit a finding is of says its statement: the gate hears of it in the same order.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TypeVar

import polars as pl

from collector.segments import Committed
from model.finding import Finding

MOST_ROWS = 300_000
"""Of statements together: then a call's own price is a small part, and they take about a second."""

Told = TypeVar("Told")
Commits = Sequence[tuple[int, pl.DataFrame]]
"""Sequence number in the ledger and statements."""


def groups(commits: Iterable[Committed], most_rows: int = MOST_ROWS) -> Iterator[list[Committed]]:
    """In order, with at most ``most_rows`` statements each (or one commit with more)."""
    group: list[Committed] = []
    rows = 0
    for committed in commits:
        more = rows_of(committed)
        if group and rows + more > most_rows:
            yield group
            group, rows = [], 0
        group.append(committed)
        rows += more
    if group:
        yield group


def rows_of(committed: Committed) -> int:
    statements = committed.frames.get("statements")
    return 0 if statements is None else statements.height


def by_commit(found: Iterable[Finding], commits: Commits) -> Mapping[int, list[Finding]]:
    """Findings by the commit that has their statement, in their order. The last commit has those
    whose statement is in none."""
    findings = list(found)
    if not findings:
        return {}
    ids = pl.Series([finding.statement_id for finding in findings], dtype=pl.UInt64).implode()
    place = {
        key: seq
        for seq, statements in reversed(commits)
        for key in statements.filter(pl.col("id").is_in(ids)).select("agent", "id").iter_rows()
    }
    told: dict[int, list[Finding]] = {}
    for finding in findings:
        seq = place.get((finding.agent, finding.statement_id), commits[-1][0])
        told.setdefault(seq, []).append(finding)
    return told


def by_row(
    told: Iterable[tuple[int, Told]], commits: Commits, timed: bool = False
) -> dict[int, list[Told]]:
    """By the commit that has this row of all statements together (``timed``: of those that have a
    time), in order."""
    heights = (
        frame.height - (frame["started_at"].null_count() if timed else 0) for _, frame in commits
    )
    ends = list(accumulate(heights))
    found: dict[int, list[Told]] = {}
    for row, each in told:
        seq, _ = commits[min(bisect_right(ends, row), len(commits) - 1)]
        found.setdefault(seq, []).append(each)
    return found
