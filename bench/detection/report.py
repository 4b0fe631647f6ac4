"""The figures as a table for a terminal, and as docs/detectors-measured.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.detection.methods import OURS

PAGE = Path(__file__).parents[2] / "docs" / "detectors-measured.md"
Figures = Mapping[str, Any]
RULES_OF_THE_GAME = """\
An alert is true when its identity is a campaign's and its time lies between the campaign's first
statement and an hour (slow campaigns: a day) after its last. Times to detection are of the
campaigns that were found. The first seven days of a world hold no campaign; alerts in them count
for no method. `clean days` is alerts a day for 100 identities in the same worlds without campaigns.
Baselines get the same budget and one alert an identity and day; their threshold is set anew each
day on what they said before."""
COLUMNS = ("method", "precision", "recall", "median time", "p90 time", "clean days")


def text(report: Figures) -> str:
    lines = []
    for budget, methods in report["budgets"].items():
        lines.append(f"\n{budget} a day for 100 identities")
        lines.append(f"{COLUMNS[0]:22}" + "".join(f"{name:>13}" for name in COLUMNS[1:]))
        for name, figures in methods.items():
            lines.append(f"{name:22}" + "".join(f"{cell:>13}" for cell in _cells(figures)))
    speed = report.get("events_per_second")
    lines.append(f"\nall detectors together: {speed:,.0f} events/s" if speed else "")
    return "\n".join(lines)


def page(report: Figures) -> str:
    """Nothing but what ``report`` says: the page is made from the JSON of a run."""
    seeds = ", ".join(str(seed) for seed in report["seeds"])
    machine = report["machine"]
    parts = [
        "# Detectors, measured",
        "Made by `./run bench detect --docs`; the same seeds give the same worlds to anybody.\n"
        f"Seeds {seeds}, {report['days']} days each, {report['campaigns']} campaigns in all, "
        f"measured on {machine['date']}. Worlds without campaigns: {_clean(report)}.\n"
        "How worlds are made: [world.md](world.md). How alerts are judged: "
        "bench/detection/scoring.py. Throughput: `./run bench detect-speed`.",
        RULES_OF_THE_GAME,
    ]
    for budget, methods in report["budgets"].items():
        parts += [f"## {budget} alerts a day for 100 identities", _table(COLUMNS, _rows(methods))]
    parts += ["## Targets", _targets(report["budgets"])]
    parts += ["## Fast and slow campaigns", _table(SPEED_COLUMNS, _speeds(report["budgets"]))]
    parts += ["## Recall by kind of campaign", _kinds(report["budgets"])]
    if report.get("nab"):
        parts += ["## Numenta Anomaly Benchmark", _nab(report["nab"])]
    return "\n\n".join(parts) + "\n"


def _clean(report: Figures) -> str:
    days = report.get("clean_days")
    seeds = ", ".join(str(seed) for seed in report.get("clean_seeds", ()))
    return f"the first {days} days of seeds {seeds}" if days and seeds else "not run"


SPEED_COLUMNS = ("budget", "method", "speed", "campaigns", "recall", "median time", "p90 time")


def _rows(methods: Figures) -> list[tuple[str, ...]]:
    return [(name, *_cells(figures)) for name, figures in methods.items()]


def _cells(figures: Figures) -> tuple[str, ...]:
    return (
        share(figures["precision"]),
        share(figures["recall"]),
        duration(figures["ttd_median_seconds"]),
        duration(figures["ttd_p90_seconds"]),
        number(figures["alerts_per_clean_day"]),
    )


def _speeds(budgets: Figures) -> list[tuple[str, ...]]:
    return [
        (
            budget,
            name,
            speed,
            str(figures[speed]["campaigns"]),
            share(figures[speed]["recall"]),
            duration(figures[speed]["ttd_median_seconds"]),
            duration(figures[speed]["ttd_p90_seconds"]),
        )
        for budget, methods in budgets.items()
        for name, figures in methods.items()
        for speed in ("fast", "slow")
        if name == OURS
    ]


TARGET_BUDGET = "5"
LEAST_RECALL, LEAST_PRECISION, MOST_SECONDS, MOST_CLEAN = 0.9, 0.6, 600.0, 5.0


def _targets(budgets: Figures) -> str:
    """What was aimed at, and whether it came so. Nothing of a budget that was not run."""
    rows = []
    ours = budgets.get(TARGET_BUDGET, {}).get(OURS)
    if ours:
        fast, clean = ours["fast"]["ttd_median_seconds"], ours["alerts_per_clean_day"]
        rows += [
            _target("recall", "at least 90 %", share(ours["recall"]),
                    (ours["recall"] or 0) >= LEAST_RECALL),
            _target("precision", "at least 60 %", share(ours["precision"]),
                    (ours["precision"] or 0) >= LEAST_PRECISION),
            _target("median time, fast campaigns", "at most 10 min", duration(fast),
                    fast is not None and fast <= MOST_SECONDS),
            _target("alerts on clean days", "at most 5", number(clean),
                    None if clean is None else clean <= MOST_CLEAN),
        ]  # fmt: skip
    rows += [
        _target(f"{figure}, {budget} a day", "above every baseline", *_against(methods, figure))
        for budget, methods in budgets.items()
        for figure in ("recall", "precision")
        if len(methods) > 1
    ]
    told = f"Of pgwarden, at {TARGET_BUDGET} a day for 100 identities where no budget is named."
    return f"{told}\n\n{_table(('figure', 'target', 'measured', ''), rows)}"


def _target(figure: str, target: str, measured: str, met: bool | None) -> tuple[str, ...]:
    word = "not measured" if met is None else "met" if met else "**missed**"
    return (figure, target, measured, word)


def _against(methods: Figures, figure: str) -> tuple[str, bool]:
    ours = methods[OURS][figure] or 0.0
    others = {name: each[figure] or 0.0 for name, each in methods.items() if name != OURS}
    best = max(others, key=lambda name: others[name])
    said = f"{share(ours)}; the best baseline, {best}, {share(others[best])}"
    return said, ours > others[best]


def _kinds(budgets: Figures) -> str:
    """Ours at every budget."""
    ours = {budget: methods[OURS]["recall_by_kind"] for budget, methods in budgets.items()}
    kinds = sorted({kind for recalls in ours.values() for kind in recalls})
    rows = [(kind, *(share(recalls.get(kind)) for recalls in ours.values())) for kind in kinds]
    return _table(("kind", *(f"{budget} a day" for budget in ours)), rows)


def _nab(nab: Figures) -> str:
    profiles = list(next(iter(nab.values())))
    rows = [(name, *(f"{scores[p]:.1f}" for p in profiles)) for name, scores in nab.items()]
    return _table(("detector", *profiles), rows)


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [columns, ("---",) * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def share(value: float | None) -> str:
    """
    >>> share(0.914), share(None)
    ('91 %', '-')
    """
    return "-" if value is None else f"{100 * value:.0f} %"


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def duration(seconds: float | None) -> str:
    """
    >>> duration(42.0), duration(600.0), duration(7200.0), duration(200_000.0), duration(None)
    ('42 s', '10.0 min', '2.0 h', '2.3 d', '-')
    """
    if seconds is None:
        return "-"
    for unit, size in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size or (unit == "min" and seconds >= size):
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
