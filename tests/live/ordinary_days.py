"""A fortnight of ordinary work, written into a record as if a collector had been there."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.world.book import parsed
from collector.analysis import Analysis
from collector.store import Store, frame_of

DAY_US, MINUTE_US = 86_400_000_000, 60_000_000
DAYS = 14
PEOPLE = ("ann", "ben", "cleo", "dan", "eve")
PROGRAM = "app"
READING = "SELECT id, name FROM shop.customers WHERE id < 40"
LOOKING_UP = "SELECT note FROM shop.orders WHERE id = $1"
SERVER = {"agent": "test-host", "cluster": "main", "database": "postgres"}


def write(data_dir: Path, now_us: int) -> None:
    """The days before ``now_us``, a commit each, and what detectors and gate learnt of them.

    Taught here, each day at its own time: to a collector that reads them from the ledger all would
    be of today, when they were committed.
    """
    store = Store(data_dir, commit_seconds=0.01)
    analysis = Analysis(data_dir / "state" / "detectors")
    store.start()
    try:
        for day in range(DAYS, 0, -1):
            rows = sorted(_day(now_us - day * DAY_US, day), key=lambda row: row["started_at"])
            rows = [row | {"id": day * 100_000 + n} for n, row in enumerate(rows)]
            store.append("statements", rows)
            assert store.segments.flush()
            statements = {"statements": frame_of("statements", rows)}
            analysis.on_commit(statements, store.ledger.seq, at_us=rows[-1]["started_at"])
        analysis.save()
    finally:
        store.close()


def _day(around_us: int, number: int) -> Iterator[dict[str, Any]]:
    """From four hours before to two hours after this time of day: no hour is unusual by itself. By
    ``number`` it is the same work whatever the date."""
    dice = random.Random(number)
    for name in PEOPLE:
        for _ in range(dice.randrange(15, 40)):
            rows = int(dice.lognormvariate(3.5, 1.0))
            at_us = around_us + dice.randrange(-240, 120) * MINUTE_US
            yield _ran(at_us, name, "human", "psql", READING, rows)
    for _ in range(200):
        at_us = around_us + dice.randrange(-240, 120) * MINUTE_US
        yield _ran(at_us, PROGRAM, "service", "orders-api", LOOKING_UP, 1)


def _ran(at_us: int, user: str, kind: str, program: str, text: str, rows: int) -> dict[str, Any]:
    return (
        SERVER
        | parsed(text)
        | {
            "pid": 7, "backend_started_at": at_us - MINUTE_US, "started_at": at_us,
            "duration_us": 900, "rows": rows, "bytes_sent": rows * 40, "user_name": user,
            "identity_kind": kind, "identity_name": user, "application_name": program,
            "client_address": "127.0.0.1", "source": "both", "sqlstate": "00000", "executions": 1,
        }
    )  # fmt: skip
