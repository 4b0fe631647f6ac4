"""How fast all detectors are together: batches of 10,000 events on one core, a million keys known.

The state is filled before: identities, relations, statement shapes and hours that detectors have
met. Then micro-batches of ordinary life with something new now and then pass through every
detector, as the collector gives them (``analytics.alike.reduced`` once a batch). Two figures, both
means: ``one_at_a_time``, where a batch comes alone, which is mostly the price of a call; and
``events_per_second``, what is sustained where batches come without end, as the collector then looks
at those that wait together (collector/together.py). ``--waiting N`` measures N together alone.
Figures are CPU time of the process with one thread for Polars (its waits are not counted).
"""

from __future__ import annotations

import os

os.environ["POLARS_MAX_THREADS"] = "1"  # before Polars starts its threads

import argparse
import cProfile
import pstats
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from analytics import alike, keyed
from analytics.detector import Detector
from bench import rounds
from collector import together
from collector.analysis import AnalysisSettings

BATCH = 10_000
PREPARE = "prepare"
IDENTITIES = 2_000
IN_USE = 300
"""Identities that are active within the minutes of a run."""
START_US = 1_760_000_000_000_000
EVENTS_PER_SECOND = 2_000
TARGET_EVENTS_PER_SECOND = 300_000
TARGET_STATE_MB = 1_000


def batch_of(number: int, rows: int = BATCH, agents: int = 1) -> pl.DataFrame:
    """A micro-batch of the view's columns, the same for the same number. 1 event in 500 is new."""
    n = pl.int_range(number * rows, (number + 1) * rows, dtype=pl.Int64)
    # Numbers that look like chance, without a seed to keep.
    dice = (n.cast(pl.UInt64) * 0x9E3779B97F4A7C15 % 1_000_003).cast(pl.Int64)
    who = dice % IN_USE * (IDENTITIES // IN_USE)
    thing = who % 50 * 4 + dice // 1_000 % 8
    fresh = n % 500 == 0
    relation = pl.when(fresh).then(pl.concat_str(pl.lit("fresh.t"), n)).otherwise(
        pl.concat_str(pl.lit("shop.table"), thing)
    )  # fmt: skip
    writing = dice % 5 == 0
    text = pl.concat_str(pl.lit("SELECT * FROM "), relation, pl.lit(" WHERE id = $1"))
    nothing = pl.lit([], dtype=pl.List(pl.String))
    return pl.select(
        agent=pl.concat_str(pl.lit("host-"), who % agents),
        id=n.cast(pl.UInt64),
        parent_id=pl.lit(0, pl.UInt64),
        started_at=(START_US + n * 1_000_000 // EVENTS_PER_SECOND).cast(pl.Datetime("us")),
        duration_us=100 + dice % 5_000,
        rows=dice % 200,
        bytes_sent=dice % 20_000,
        text_bytes=pl.lit(60, pl.UInt64),
        cluster=pl.lit("5432"),
        database=pl.concat_str(pl.lit("db"), who % 3),
        user_name=pl.concat_str(pl.lit("role_of_"), who % 40),
        application_name=pl.concat_str(pl.lit("app"), who % 20),
        client_address=pl.concat_str(pl.lit("10.0.0."), who % 200),
        identity_kind=pl.when(who // (IDENTITIES // IN_USE) % 3 == 0)
        .then(pl.lit("human"))
        .otherwise(pl.lit("service")),
        identity_name=pl.concat_str(pl.lit("identity number "), who),
        sqlstate=pl.when(dice % 97 == 0).then(pl.lit("23505")).otherwise(pl.lit("00000")),
        error_message=pl.lit(""),
        operation=pl.when(writing).then(pl.lit("update")).otherwise(pl.lit("select")),
        summary=pl.concat_str(pl.lit("SELECT "), relation),
        verbs=pl.concat_list(pl.lit("select")),
        objects=nothing,
        reads=pl.when(writing).then(nothing).otherwise(pl.concat_list(relation)),
        writes=pl.when(writing).then(pl.concat_list(relation)).otherwise(nothing),
        columns_used=pl.concat_list(pl.lit("id"), pl.concat_str(pl.lit("c"), thing % 7)),
        functions=nothing,
        settings=nothing,
        roles=nothing,
        flags=nothing,
        fingerprint=pl.concat_str(relation, pl.lit(":"), writing),
        text=text,
        pid=(1000 + who).cast(pl.UInt32),
        backend_started_at=pl.lit(START_US).cast(pl.Datetime("us")),
        source=pl.lit("both"),
        protocol=pl.lit("query"),
        tag=pl.lit("SELECT"),
        parse_status=pl.lit("parsed"),
        digest=pl.lit(""),
    )


def padded(detector: Detector, state: pl.DataFrame, keys: int) -> pl.DataFrame:
    """A state with about ``keys`` more, of the identities that rest: copies under other names."""
    if not keyed.is_keyed(state) or state.is_empty():
        return state
    known = keyed.entries(state)
    names = keyed.key_columns(state)
    name = names[-1]
    for number in range(keys // max(1, known.height) + 1):
        more = known.with_columns(pl.concat_str(name, pl.lit(f" of {number}")).alias(name))
        state = keyed.put(state, more.head(keys - number * known.height), 100 * keys)
    return keyed.compact(state)


def state_mb(states: Sequence[pl.DataFrame]) -> float:
    """Bytes of the columns, text views and text included."""
    total = 0
    for state in states:
        for column in state.get_columns():
            total += column.estimated_size()
            if column.dtype == pl.String:
                total += 16 * column.len()
    return total / 1e6


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 1e6


def main(argv: list[str] | None = None) -> int:
    arguments = rounds.parser(__doc__ or "", rounds=1)
    arguments.add_argument("--keys", type=int, default=1_000_000, help="of all detectors together")
    arguments.add_argument("--looks", type=int, default=40, help="at so many together, each")
    arguments.add_argument("--agents", type=int, default=1, help="that the events come from")
    arguments.add_argument(
        "--waiting", type=int, nargs="+", default=[1, together.MOST_ROWS // BATCH],
        help="batches that wait, and so are seen together; 1, and what the collector takes at most",
    )  # fmt: skip
    arguments.add_argument("--only", nargs="*", default=(), help="names of detectors")
    arguments.add_argument("--profile", help="of this detector, printed")
    options = arguments.parse_args(argv)
    watched = [
        detector
        for detector in AnalysisSettings().detectors()
        if not options.only or detector.name in options.only
    ]
    rounds.write(
        options.json,
        {
            "machine": rounds.machine(),
            "agents": options.agents,
            "target_events_per_second": TARGET_EVENTS_PER_SECOND,
            "target_state_mb": TARGET_STATE_MB,
            **summary([measured(watched, waiting, options) for waiting in options.waiting]),
        },
    )
    return 0


def measured(
    watched: Sequence[Detector], waiting: int, options: argparse.Namespace
) -> dict[str, Any]:
    """``waiting`` batches at a time, after a state with ``options.keys``."""
    before = resident_mb()
    states = _filled(watched, options.keys, options.agents)
    resident = resident_mb() - before
    seconds: dict[str, list[float]] = {name: [] for name in (*(d.name for d in watched), PREPARE)}
    profile = cProfile.Profile()
    first = 10
    for _ in range(options.looks):
        batch = pl.concat(batch_of(first + n, agents=options.agents) for n in range(waiting))
        first += waiting
        begun = time.process_time()
        alike.reduced(batch)
        seconds[PREPARE].append(time.process_time() - begun)
        for place, detector in enumerate(watched):
            if detector.name == options.profile:
                profile.enable()
            begun = time.process_time()
            states[place], _ = detector.observe(states[place], batch)
            seconds[detector.name].append(time.process_time() - begun)
            profile.disable()
    if options.profile:
        pstats.Stats(profile).sort_stats("cumtime").print_stats(45)
    return _report(watched, states, seconds, resident, waiting)


def summary(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What is sustained is what most batches together give; the others stand beside it."""
    most = max(results, key=lambda result: result["batches_together"])
    alone = next((each for each in results if each["batches_together"] == 1), None)
    return {**most, "one_at_a_time": alone}


def _filled(watched: Sequence[Detector], keys: int, agents: int) -> list[pl.DataFrame]:
    states = [detector.empty_state() for detector in watched]
    for number in range(10):
        batch = batch_of(number, agents=agents)
        for place, detector in enumerate(watched):
            states[place], _ = detector.observe(states[place], batch)
    large = sum(keyed.is_keyed(state) for state in states)
    return [
        padded(detector, state, keys // max(1, large))
        for detector, state in zip(watched, states, strict=True)
    ]


def _report(
    watched: Sequence[Detector],
    states: Sequence[pl.DataFrame],
    seconds: Mapping[str, Sequence[float]],
    resident: float,
    waiting: int,
) -> dict[str, Any]:
    each = {name: statistics.median(times) / waiting for name, times in seconds.items()}
    means = {name: statistics.fmean(times) / waiting for name, times in seconds.items()}
    total, total_mean = sum(each.values()), sum(means.values())
    heights = {d.name: s.height for d, s in zip(watched, states, strict=True)}
    print(f"{waiting} at a time:\n{'':20}{'ms a batch':>12}{'mean':>8}{'events/s':>14}{'keys':>12}")
    for name, value in sorted(each.items(), key=lambda pair: -pair[1]):
        print(
            f"{name:20}{1e3 * value:12.2f}{1e3 * means[name]:8.2f}{BATCH / value:14,.0f}"
            f"{heights.get(name, 0):12,}"
        )
    size = state_mb(states)
    print(
        f"{'together':20}{1e3 * total:12.2f}{1e3 * total_mean:8.2f}{BATCH / total:14,.0f}"
        f"{sum(heights.values()):12,}\n{'by the means':40}{BATCH / total_mean:14,.0f}\n"
        f"state {size:.0f} MB (resident: {resident:.0f} MB more)\n"
    )
    return {
        "batches_together": waiting,
        "events_per_second": round(BATCH / total_mean),
        "events_per_second_median": round(BATCH / total),
        "keys": sum(heights.values()),
        "state_mb": round(size, 1),
        "resident_mb": round(resident, 1),
        "detectors": {
            name: {
                "ms_per_batch": round(1e3 * value, 3),
                "ms_per_batch_mean": round(1e3 * means[name], 3),
                "events_per_second": round(BATCH / value),
                "keys": heights.get(name, 0),
            }
            for name, value in each.items()
        },
    }


if __name__ == "__main__":
    raise SystemExit(main())
