"""How many campaigns do the detectors find, how soon, and at what price, beside what others do?

    ./run bench detect --seeds 101 102 --budgets 1 5 20 --json FILE --docs

Every seed's world (bench/world) is played twice, with its campaigns and without; what detectors and
baselines said of it is kept in ``--cache``, so that another gate or budget is tried in seconds.
``events_per_second`` is of the detectors alone, most of them with ten batches of 10,000 at a time,
in one thread when POLARS_MAX_THREADS=1 (one at a time: ``./run bench detect-speed``). Seeds 1 to 6
are for development: figures that count are of others.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import orjson

from analytics.detectors.audit_coverage import AuditCoverage
from bench import nab, rounds
from bench.detection.baselines import BASELINES
from bench.detection.methods import outcomes
from bench.detection.recording import Recorder, Recording, WorldKey
from bench.detection.report import PAGE, page, text
from bench.detection.scoring import Outcome, figures
from collector.analysis import AnalysisSettings

CACHE = Path("build/detect")
NOT_OF_A_WORLD = AuditCoverage
"""It compares what two sources tell of the same statements: a world has one."""


def main(argv: list[str] | None = None) -> int:
    arguments = _arguments()
    options = arguments.parse_args(argv)
    if options.docs and options.without:
        arguments.error("--docs tells of all detectors")
    if options.from_json:
        report = orjson.loads(options.from_json.read_bytes())
    else:
        report = measure(options)
        rounds.write(options.json, report)
    print(text(report))
    if options.docs:
        PAGE.write_text(page(report), encoding="utf-8")
        print(f"written: {PAGE}")
    return 0


def _arguments() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments.add_argument("--days", type=int, default=30)
    arguments.add_argument("--budgets", type=float, nargs="+", default=[1, 5, 20])
    arguments.add_argument("--baselines", nargs="*", choices=list(BASELINES), default=None)
    arguments.add_argument(
        "--no-clean", action="store_true", help="skip the worlds without campaigns"
    )
    arguments.add_argument(
        "--clean-seeds", type=int, nargs="+", help="only their worlds also without campaigns"
    )
    arguments.add_argument(
        "--clean-days", type=int, help="days of the worlds without campaigns; as --days"
    )
    arguments.add_argument(
        "--without",
        nargs="+",
        default=[],
        metavar="DETECTOR",
        help="while developing; told in the JSON",
    )
    arguments.add_argument("--nab", type=Path, help="folder of the Numenta Anomaly Benchmark")
    arguments.add_argument("--cache", type=Path, default=CACHE, help="folder of recordings")
    arguments.add_argument("--jobs", type=int, default=1, help="worlds at a time")
    arguments.add_argument("--json", type=Path, help="write the figures here")
    arguments.add_argument(
        "--from-json", type=Path, help="measure nothing, tell what this file has"
    )
    arguments.add_argument("--docs", action="store_true", help=f"write {PAGE.name} anew")
    return arguments


def measure(options: argparse.Namespace) -> dict[str, Any]:
    baselines = list(BASELINES) if options.baselines is None else options.baselines
    recordings = _recordings(options, baselines)
    return {
        "seeds": options.seeds,
        "days": options.days,
        "clean_days": None if options.no_clean else options.clean_days or options.days,
        "clean_seeds": _clean_seeds(options),
        "without": options.without,
        "campaigns": sum(len(hostile.truth.campaigns) for hostile, _ in recordings),
        "budgets": {
            f"{budget:g}": _of_budget(recordings, options, budget) for budget in options.budgets
        },
        "nab": _nab(options.nab) if options.nab else None,
        "events_per_second": _speed([hostile for hostile, _ in recordings]),
        "machine": rounds.machine(),
    }


def _recordings(
    options: argparse.Namespace, baselines: Sequence[str]
) -> list[tuple[Recording, Recording | None]]:
    detectors = [
        each
        for each in AnalysisSettings().detectors()
        if each.name not in options.without and not isinstance(each, NOT_OF_A_WORLD)
    ]
    recorder = Recorder(options.cache, detectors, baselines)
    lengths = {True: options.days, False: options.clean_days or options.days}
    quiet = _clean_seeds(options)
    keys = [WorldKey(seed, lengths[True], True) for seed in options.seeds]
    keys += [WorldKey(seed, lengths[False], False) for seed in quiet]
    if options.jobs > 1:
        # A fork would copy locks of threads that it does not copy.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(options.jobs, mp_context=context) as pool:
            made = dict(zip(keys, pool.map(recorder.record, keys), strict=True))
    else:
        made = {key: recorder.record(key) for key in keys}
    return [
        (made[WorldKey(s, lengths[True], True)], made.get(WorldKey(s, lengths[False], False)))
        for s in options.seeds
    ]


def _clean_seeds(options: argparse.Namespace) -> list[int]:
    if options.no_clean:
        return []
    return options.clean_seeds or options.seeds


def _of_budget(
    recordings: Sequence[tuple[Recording, Recording | None]],
    options: argparse.Namespace,
    budget: float,
) -> dict[str, Any]:
    by_method: dict[str, list[Outcome]] = {}
    days, clean_days = options.days, options.clean_days or options.days
    for hostile, clean in recordings:
        for name, outcome in outcomes(hostile, clean, days, budget, clean_days).items():
            by_method.setdefault(name, []).append(outcome)
    known = any(clean for _, clean in recordings)
    result = {name: figures(each) for name, each in by_method.items()}
    for each in result.values():
        each["alerts_per_clean_day"] = each["alerts_per_clean_day"] if known else None
    return result


def _speed(recordings: Sequence[Recording]) -> float | None:
    events = sum(step.events for recording in recordings for step in recording.truth.steps)
    seconds = sum(s.seconds for recording in recordings for s in recording.detectors.values())
    return events / seconds if seconds else None


def _nab(folder: Path) -> dict[str, dict[str, float]]:
    return {
        name: {profile: each["score"] for profile, each in result["profiles"].items()}
        for name, result in nab.measure(folder).items()
    }


if __name__ == "__main__":
    sys.exit(main())
