"""What every bench shares: interleaved rounds, medians, the machine, one JSON file."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

Figures = Mapping[str, float]


def parser(description: str, rounds: int) -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(description=description)
    arguments.add_argument("--json", type=Path, help="write medians and all rounds to this file")
    arguments.add_argument("--rounds", type=int, default=rounds)
    return arguments


def interleaved(
    variants: Mapping[str, Callable[[], Figures]], rounds: int, say: Callable[[str], None] = print
) -> dict[str, list[dict[str, float]]]:
    """Each round runs every variant once, in turning order, so that drift hits all alike."""
    names = list(variants)
    results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for round_ in range(rounds):
        for name in names[round_ % len(names) :] + names[: round_ % len(names)]:
            figures = dict(variants[name]())
            results[name].append(figures)
            say(f"  round {round_ + 1}/{rounds} {name:14} " + _line(figures))
    return results


def medians(results: Mapping[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    return {
        name: {key: statistics.median(r[key] for r in rounds if key in r) for key in rounds[0]}
        for name, rounds in results.items()
        if rounds
    }


def machine() -> dict[str, str | int]:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cpu": model,
        "cpus": os.cpu_count() or 0,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "python_loop_ns": round(_loop_ns(), 1),
    }


def _loop_ns() -> float:
    """One turn of an empty loop, the best of some: how fast this machine is just now. Times of the
    agent scale with it."""
    turns = 1_000_000
    best = float("inf")
    for _ in range(5):
        started = time.thread_time()
        for _ in range(turns):
            pass
        best = min(best, time.thread_time() - started)
    return best / turns * 1e9


def write(path: Path | None, report: Mapping[str, Any]) -> None:
    if path is not None:
        path.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2) + b"\n")
        print(f"written: {path}")


def _line(figures: Figures) -> str:
    return "  ".join(f"{key} {value:,.2f}" for key, value in figures.items())
