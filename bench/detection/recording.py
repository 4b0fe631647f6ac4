"""What detectors and baselines said of a world, kept so that thresholds can be tried quickly.

A recording is named by what made it: the world's seed, days and code, and the code and settings of
the method. Change a detector and only its recording is made anew; change the gate and none is.
"""

from __future__ import annotations

import ast
import hashlib
import pickle
import sys
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from analytics.detector import Detector
from analytics.detectors.application_change import ApplicationChange
from bench.detection.baselines import BASELINES
from bench.detection.candidate import Step
from bench.detection.scoring import DAY_US
from bench.world import World
from collector.analysis import AnalysisSettings

ROOT = Path(__file__).parents[2]
TOGETHER = 10
PATIENT = frozenset(
    detector.name
    for detector in AnalysisSettings().detectors()
    # Its changes settle by the clock of the last batch.
    if not isinstance(detector, ApplicationChange)
)
Observe = Callable[[pl.DataFrame], list[Any]]


@dataclass(frozen=True)
class WorldKey:
    seed: int
    days: int
    campaigns: bool

    def __str__(self) -> str:
        return f"{self.seed}-{self.days}d-{'hostile' if self.campaigns else 'clean'}"


@dataclass
class Said:
    """By one method: what came at which step, and the time that it took (one thread)."""

    at: list[tuple[int, list[Any]]] = field(default_factory=list)
    seconds: float = 0.0

    def heard(
        self, observe: Observe, batch: pl.DataFrame, numbers: Sequence[int], steps: Sequence[Step]
    ) -> None:
        """``batch``: that of the steps of these ``numbers``."""
        begun = time.perf_counter()
        news = observe(batch)
        self.seconds += time.perf_counter() - begun
        by_number: dict[int, list[Any]] = {}
        ends = [steps[number].at_us for number in numbers]
        for each in news:
            place = bisect_left(ends, each.at_us) if len(numbers) > 1 else 0
            by_number.setdefault(numbers[min(place, len(numbers) - 1)], []).append(each)
        self.at += sorted(by_number.items())


@dataclass(frozen=True)
class Truth:
    """Of a world, all that scoring needs."""

    steps: tuple[Step, ...]
    campaigns: tuple[Any, ...]
    start_us: int
    identities: int


@dataclass(frozen=True)
class Recording:
    truth: Truth
    detectors: Mapping[str, Said]
    baselines: Mapping[str, Said]


class Recorder:
    """Plays a world to the methods that have no recording yet, all in one pass."""

    def __init__(self, folder: Path, detectors: Sequence[Detector], baselines: Sequence[str]):
        self._folder = folder
        self._detectors = {detector.name: detector for detector in detectors}
        self._baselines = tuple(baselines)

    def record(self, key: WorldKey) -> Recording:
        folder = self._folder / f"{key}-{_digest(['bench/world'])}"
        folder.mkdir(parents=True, exist_ok=True)
        files = {name: folder / f"{name}-{self._digest(name)}.pickle" for name in self._names()}
        missing = {name: self._observer(name) for name, file in files.items() if not file.exists()}
        truth_file = folder / "truth.pickle"
        if missing or not truth_file.exists():
            truth, said = play(key, missing)
            for name, each in said.items():
                _write(files[name], each)
            _write(truth_file, truth)
        known = {name: _read(file) for name, file in files.items()}
        return Recording(
            _read(truth_file),
            {name: known[name] for name in self._detectors},
            {name: known[name] for name in self._baselines},
        )

    def _names(self) -> tuple[str, ...]:
        return (*self._detectors, *self._baselines)

    def _observer(self, name: str) -> Observe:
        if name in self._detectors:
            return detecting(self._detectors[name])
        return BASELINES[name]().observe

    def _digest(self, name: str) -> str:
        if name not in self._detectors:
            return _digest(["bench/detection/baselines"])
        detector = self._detectors[name]
        return _digest(sorted(_sources(type(detector).__module__)), repr(detector))


def play(key: WorldKey, methods: Mapping[str, Observe]) -> tuple[Truth, dict[str, Said]]:
    """Gives every batch to every method, and tells each day of it on stderr.

    What detectors say does not depend on how a stream is cut (tests/analytics/test_contract.py), so
    those in ``PATIENT`` get TOGETHER batches at once, in a third of the time; what they say is
    taken to come with the batch of its own time.
    """
    world = World(key.seed, key.days, key.campaigns)
    steps: list[Step] = []
    said = {name: Said() for name in methods}
    day, active = -1, set()
    waiting: list[pl.DataFrame] = []
    for number, batch in enumerate(world.batches()):
        at_us = int(batch["started_at"].dt.epoch("us").max())  # type: ignore[arg-type]
        if at_us // DAY_US != day:
            day, active = at_us // DAY_US, set()
            told = " ".join(f"{name} {each.seconds:.0f}s" for name, each in said.items())
            print(f"· world {key}: day {(at_us - world.start_us) // DAY_US} {told}",
                  file=sys.stderr, flush=True)  # fmt: skip
        active |= set(_identities(batch))
        steps.append(Step(at_us, len(active), batch.height))
        waiting.append(batch)
        for name, observe in methods.items():
            if name not in PATIENT:
                said[name].heard(observe, batch, [number], steps)
        if len(waiting) == TOGETHER:
            _together(methods, waiting, said, steps)
            waiting = []
    if waiting:
        _together(methods, waiting, said, steps)
    truth = Truth(tuple(steps), tuple(world.campaigns), world.start_us, len(world.identities))
    return truth, said


def _together(
    methods: Mapping[str, Observe],
    waiting: Sequence[pl.DataFrame],
    said: Mapping[str, Said],
    steps: Sequence[Step],
) -> None:
    batch, numbers = pl.concat(waiting), range(len(steps) - len(waiting), len(steps))
    for name, observe in methods.items():
        if name in PATIENT:
            said[name].heard(observe, batch, numbers, steps)


def detecting(detector: Detector) -> Observe:
    """The detector with its state, as the collector runs it after each commit."""
    state = detector.empty_state()

    def observe(batch: pl.DataFrame) -> list[Any]:
        nonlocal state
        state, found = detector.observe(state, batch)
        if isinstance(detector, ApplicationChange):
            now_us = int(batch["started_at"].dt.epoch("us").max())  # type: ignore[arg-type]
            state, settled = detector.settle(state, now_us)
            # It speaks of when a change began, and only once nothing more has come for a while.
            wait_us = int(detector.settings.settle_seconds * 1e6)
            found = [replace(each, at_us=each.at_us + wait_us) for each in found + settled]
        return found

    return observe


def in_order(said: Iterable[Said], steps: int) -> list[list[Any]]:
    """What several detectors said, by step, in the order of the detectors."""
    together: list[list[Any]] = [[] for _ in range(steps)]
    for each in said:
        for number, news in each.at:
            together[number] += news
    return together


def _identities(batch: pl.DataFrame) -> list[str]:
    """As the collector's gate counts them: who only tries to log in is nobody."""
    names = (
        batch.filter(pl.col("operation") != "login")
        .select("agent", "cluster", "identity_name", "user_name")
        .unique()
    )
    return ["\0".join((*where, who or user)) for *where, who, user in names.iter_rows()]


def _sources(module: str, known: frozenset[str] = frozenset()) -> frozenset[str]:
    """The file of a module and of everything of ours that it imports."""
    place = module.replace(".", "/")
    file = next((f for f in (f"{place}.py", f"{place}/__init__.py") if (ROOT / f).exists()), None)
    if file is None or file in known:
        return known
    known |= {file}
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            known = _sources(name, known)
    return known


def _digest(places: Iterable[str], *more: str) -> str:
    """Of the Python files in these places of the source."""
    hashed = hashlib.sha256("\0".join(more).encode())
    for place in places:
        path = ROOT / place
        files = path.rglob("*.py") if path.is_dir() else ROOT.glob(place)
        for file in sorted(files):
            hashed.update(file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes())
    return hashed.hexdigest()[:16]


def _write(file: Path, value: Any) -> None:
    new = file.with_suffix(".new")
    new.write_bytes(pickle.dumps(value))
    new.replace(file)


def _read(file: Path) -> Any:
    return pickle.loads(file.read_bytes())
