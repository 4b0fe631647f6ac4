"""The metric detector on the Numenta Anomaly Benchmark, beside a windowed Gaussian.

    python -m bench.nab DATA [--json FILE]

DATA is the benchmark's folder (``data/``, ``labels/``, ``config/``). Every file is scored with one
fixed configuration; labels are read by the scorer alone, which sets one threshold a profile for the
whole corpus, as the benchmark does.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from analytics.metric import STATE, Metric
from bench import rounds
from bench.nab_scorer import CorpusScore, Profile, Series, optimise

Scores = dict[str, list[float]]
GAUSSIAN_ROWS = 1000
"""The window that the benchmark's own windowed Gaussian was tuned to."""


def main(argv: list[str] | None = None) -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("data", type=Path, help="folder of the benchmark")
    arguments.add_argument("--json", type=Path, help="write the figures here")
    options = arguments.parse_args(argv)
    figures = measure(options.data)
    print(table(figures))
    rounds.write(options.json, figures)
    return 0


def measure(folder: Path) -> dict[str, Any]:
    corpus, profiles = read_corpus(folder), read_profiles(folder)
    detectors: dict[str, Callable[[Sequence[Series]], Scores]] = {
        "windowed_gaussian": lambda corpus: {s.name: windowed_gaussian(s.values) for s in corpus},
        "metric": metric_scores,
    }
    result: dict[str, Any] = {}
    for name, detect in detectors.items():
        begun = time.perf_counter()
        scores = detect(corpus)
        seconds = time.perf_counter() - begun
        result[name] = {
            "profiles": {
                profile: _tree(optimise(corpus, scores, weights))
                for profile, weights in profiles.items()
            },
            "rows_per_second": sum(len(s.values) for s in corpus) / seconds,
        }
    return result


def read_corpus(folder: Path) -> list[Series]:
    """Raises OSError or ValueError when the folder is not laid out as the benchmark's."""
    windows = json.loads((folder / "labels" / "combined_windows.json").read_text())
    return [_series(folder, name, windows[name]) for name in sorted(windows)]


def read_profiles(folder: Path) -> dict[str, Profile]:
    tree = json.loads((folder / "config" / "profiles.json").read_text())
    return {
        name: Profile(costs["tpWeight"], costs["fpWeight"], costs["fnWeight"])
        for name, costs in ((name, given["CostMatrix"]) for name, given in tree.items())
    }


def metric_scores(corpus: Sequence[Series]) -> Scores:
    """All files side by side: step n holds the n-th row of every file that has one."""
    metric = Metric()
    known = metric.empty({"file": pl.String})
    scores: Scores = {series.name: [] for series in corpus}
    for at in range(max(len(series.values) for series in corpus)):
        values = pl.DataFrame(
            [(s.name, s.times_us[at], s.values[at]) for s in corpus if at < len(s.values)],
            schema={"file": pl.String, "at_us": pl.Int64, "value": pl.Float64},
            orient="row",
        )
        judged = metric.step(values.join(known, on="file", how="left", maintain_order="left"))
        known = judged.select("file", *STATE)
        for file, score in judged.select("file", "score").iter_rows():
            scores[file].append(score)
        if at % 2000 == 0:
            print(f"· step {at}, {values.height} files", file=sys.stderr, flush=True)
    return scores


def windowed_gaussian(values: Sequence[float]) -> list[float]:
    """1 - tail probability of a normal distribution over the last rows."""
    window: deque[float] = deque(maxlen=GAUSSIAN_ROWS)
    total = squares = 0.0
    first = values[0] if values else 0.0
    scores = []
    for value in values:
        moved = value - first  # sums of squares near the origin lose less
        if window:
            mean = total / len(window)
            deviation = math.sqrt(max(0.0, squares / len(window) - mean**2)) or 1e-6
            scores.append(1 - 0.5 * math.erfc(abs(moved - mean) / deviation / math.sqrt(2)))
        else:
            scores.append(0.0)
        if len(window) == GAUSSIAN_ROWS:
            total -= window[0]
            squares -= window[0] ** 2
        window.append(moved)
        total += moved
        squares += moved**2
    return scores


def table(figures: dict[str, Any]) -> str:
    """Per file for the metric detector, then the corpus for every detector."""
    profiles = figures["metric"]["profiles"]
    lines = [f"{'file':58} {'standard':>9} {'low FP':>9} {'low FN':>9}  found missed false"]
    for name, standard in profiles["standard"]["files"].items():
        each = [profiles[profile]["files"][name]["score"] for profile in PROFILES]
        found = f"{standard['detected']:5} {standard['missed']:6} {standard['false_positives']:5}"
        lines.append(f"{name:58} " + " ".join(f"{score:9.2f}" for score in each) + f"  {found}")
    lines.append("")
    for detector, result in figures.items():
        scores = " ".join(f"{result['profiles'][name]['score']:9.2f}" for name in PROFILES)
        lines.append(f"{detector:58} {scores}  {result['rows_per_second']:,.0f} rows/s")
    return "\n".join(lines)


PROFILES = ("standard", "reward_low_FP_rate", "reward_low_FN_rate")


def _tree(score: CorpusScore) -> dict[str, Any]:
    return {
        "score": score.score,
        "threshold": score.threshold if math.isfinite(score.threshold) else None,
        "files": {
            name: {
                "score": file.score,
                "detected": file.detected,
                "missed": file.missed,
                "false_positives": file.false_positives,
            }
            for name, file in score.files.items()
        },
    }


def _series(folder: Path, name: str, windows: list[list[str]]) -> Series:
    with (folder / "data" / name).open(newline="") as file:
        rows = list(csv.DictReader(file))
    times = [_microseconds(row["timestamp"]) for row in rows]
    place = {at: row for row, at in reversed(list(enumerate(times)))}
    limits = [(place[_microseconds(a)], place[_microseconds(b)]) for a, b in windows]
    return Series(name, [float(row["value"]) for row in rows], limits, times)


def _microseconds(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1e6)


if __name__ == "__main__":
    sys.exit(main())
