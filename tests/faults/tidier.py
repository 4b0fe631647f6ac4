"""A store that merges, compacts, expires and retains at each look, to be killed at any moment."""

import time
from pathlib import Path

from collector import compaction, merge, tidying
from collector.heads import Sealing
from collector.retention import Hold, Retention
from collector.store import Store

DAY_US = 86_400_000_000
FRESH, HELD, OLD = 0.01, 55, 100
"""Days: how old rows are when they come."""
HELD_DAYS, KEPT_DAYS, HISTORY_DAYS = (60, 50), 30, 40


def main(folder: Path, first: int, now_us: int) -> None:
    """Says each number whose rows are durable."""
    tidying.MERGE_SECONDS, tidying.RETENTION_SECONDS, tidying.EXPIRY_SECONDS = -1.0, 0.0, 0.0
    tidying.READER_GRACE_SECONDS = 0.2
    merge.FEWEST = 4
    compaction.SPANS = tuple(compaction.Span(hours * compaction.HOUR_US, 0.0) for hours in (1, 24))
    begin_us, end_us = (now_us - days * DAY_US for days in HELD_DAYS)
    store = Store(
        folder / "data",
        commit_seconds=0.001,
        history_days=HISTORY_DAYS,
        retention=Retention(days=KEPT_DAYS, holds=(Hold("case", begin_us, end_us, ()),)),
        sealing=Sealing(None, folder / "heads.jsonl", 3, 0.05),
    )
    assert not store.contradictions, store.contradictions
    store.start()
    number = first
    while True:
        for age in (OLD, HELD, FRESH):
            at_us = now_us - int(age * DAY_US) + number
            store.append("statements", [{"id": row_of(number, age), "started_at": at_us}])
            loss = {"occurred_at": at_us, "source": "t", "reason": reason_of(number, age)}
            store.append("losses", [loss | {"count": 1}])
            assert store.segments.flush()  # a segment goes when all of it is old
        store.append("catalog_changes", [_change(number, now_us - OLD * DAY_US)])
        print(number, flush=True)
        number += 1


def row_of(number: int, age: float) -> int:
    return 10 * number + (OLD, HELD, FRESH).index(age)


def reason_of(number: int, age: float) -> str:
    return f"{number}-{age}"


def _change(number: int, at_us: int) -> dict[str, object]:
    return {
        "agent": "a", "cluster": "5432", "database": "shop", "kind": "table",
        "occurred_at": at_us, "known_at": at_us, "name": f"x{number % 5}", "change": "changed",
        "before": "1", "after": "2",
    }  # fmt: skip


def wait_for_more(said: Path, seconds: float) -> None:
    """Until it has said something."""
    end = time.monotonic() + seconds
    while not said.stat().st_size and time.monotonic() < end:
        time.sleep(0.005)
