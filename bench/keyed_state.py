"""State by key: what a get and a put of one micro-batch cost at a million keys, and the memory."""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from analytics import keyed

KEYS = dict.fromkeys(("agent", "cluster", "database", "identity", "item"), pl.String)
VALUES = dict.fromkeys(("first_us", "last_us", "count"), pl.Int64)
BATCH = 10_000
MIXES = {"1,000 keys of 20,000 in use": (1000, 20_000), "10,000 keys of all": (BATCH, 0)}
"""A batch has so many distinct keys, out of so many (0: all)."""


def rows_of(numbers: Sequence[int]) -> pl.DataFrame:
    number = pl.Series("n", numbers, dtype=pl.Int64)
    return pl.select(
        agent=pl.lit("host-a"),
        cluster=pl.lit("5432"),
        database=pl.lit("shop"),
        identity=pl.concat_str(pl.lit("user"), pl.lit(number % 1000)),
        item=pl.concat_str(pl.lit("read schema.table"), pl.lit(number)),
        first_us=pl.lit(number),
        last_us=pl.lit(number),
        count=pl.lit(number),
    )


def filled(keys: int) -> pl.DataFrame:
    state = keyed.empty(KEYS, VALUES)
    for first in range(0, keys, 50_000):
        state = keyed.put(state, rows_of(range(first, min(keys, first + 50_000))), 2 * keys)
    return keyed.compact(state)


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 1e6


def measured(state: pl.DataFrame, distinct: int, pool: int, batches: int) -> dict[str, float]:
    dice, gets, puts = random.Random(1), [], []
    for _ in range(batches):
        rows = rows_of(dice.sample(range(pool or state.height), distinct))
        asked = rows.select(*KEYS)
        begun = time.perf_counter()
        keyed.get(state, asked)
        got = time.perf_counter()
        state = keyed.put(state, rows, 2 * state.height)
        gets.append(1e3 * (got - begun))
        puts.append(1e3 * (time.perf_counter() - got))
    return {
        "get_ms_median": round(statistics.median(gets), 3),
        "put_ms_median": round(statistics.median(puts), 3),
        "get_put_ms_mean": round(statistics.fmean(gets) + statistics.fmean(puts), 3),
        "put_ms_worst": round(max(puts), 3),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    before = resident_mb()
    state = filled(options.keys)
    result = {
        "keys": options.keys,
        "batch_rows": BATCH,
        "resident_mb": round(resident_mb() - before, 1),
        "frame_mb": round(state.estimated_size() / 1e6, 1),
        "mixes": {
            name: measured(state, distinct, pool, options.batches)
            for name, (distinct, pool) in MIXES.items()
        },
    }
    text = json.dumps(result, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
