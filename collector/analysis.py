"""Runs the detectors on what each commit made durable, and keeps what they know over restarts.

Each detector has a Parquet file that names the ledger sequence it contains. A file is written
every few commits; after a restart the commits behind it are read from the ledger and given again,
and each detector passes over those that its own file contains.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from analytics.audit.minutes import Minute
from analytics.audit.policy import AuditPolicy, with_mask
from analytics.budget import Budget
from analytics.detector import Detector
from analytics.detectors.audit_coverage import AuditCoverage, AuditCoverageSettings
from analytics.detectors.error_burst import ErrorBurst, ErrorBurstSettings
from analytics.detectors.first_seen import FirstSeen, FirstSeenSettings
from analytics.detectors.new_shape import NewShape, NewShapeSettings
from analytics.detectors.volume import Volume, VolumeSettings
from analytics.frames import FrameError
from collector.guard_findings import guard_findings
from collector.ledger import fsync_folder
from model.finding import Finding

SEQUENCE_KEY = "ledger_sequence"
BUDGET_FILE = "budget.json"
SAVE_EVERY_COMMITS = 60
Policies = Mapping[tuple[str, str], AuditPolicy]
"""By agent and cluster."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AnalysisSettings:
    first_seen: FirstSeenSettings = field(default_factory=FirstSeenSettings)
    volume: VolumeSettings = field(default_factory=VolumeSettings)
    error_burst: ErrorBurstSettings = field(default_factory=ErrorBurstSettings)
    new_shape: NewShapeSettings = field(default_factory=NewShapeSettings)
    audit_coverage: AuditCoverageSettings = field(default_factory=AuditCoverageSettings)
    findings_per_day: int = 20
    save_every_commits: int = SAVE_EVERY_COMMITS

    def detectors(self) -> tuple[Detector, ...]:
        return (
            FirstSeen(self.first_seen),
            Volume(self.volume),
            ErrorBurst(self.error_burst),
            NewShape(self.new_shape),
            AuditCoverage(self.audit_coverage),
        )


@dataclass
class AnalysisCounters:
    """For the metrics page, by detector."""

    seconds: dict[str, float] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    states_lost: dict[str, int] = field(default_factory=dict)
    """State files that could not be read: the detector learns anew."""


@dataclass
class _Watch:
    detector: Detector
    state: pl.DataFrame
    seq: int = 0
    saved_seq: int = 0


class Analysis:
    """``on_commit`` for every commit in the order of the ledger, from one thread."""

    def __init__(
        self,
        state_dir: Path,
        settings: AnalysisSettings | None = None,
        detectors: Sequence[Detector] | None = None,
        stopwatch: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._folder = state_dir
        self._settings = settings or AnalysisSettings()
        self._stopwatch = stopwatch
        self.counters = AnalysisCounters()
        self._folder.mkdir(parents=True, exist_ok=True)
        chosen = self._settings.detectors() if detectors is None else detectors
        self._watches = [self._load(detector) for detector in chosen]
        self._budget = _load_budget(self._folder / BUDGET_FILE, self._settings.findings_per_day)
        self._commits_since_save = 0
        self._minutes: list[Minute] = []

    def resume_from(self) -> int:
        """The first ledger sequence that some detector's saved state does not contain."""
        return min((watch.saved_seq for watch in self._watches), default=0) + 1

    def on_commit(
        self, frames: Mapping[str, pl.DataFrame], seq: int, policies: Policies | None = None
    ) -> list[Finding]:
        """Findings of this commit, within the budget. A replay gives the same ids again."""
        found: list[Finding] = []
        statements = frames.get("statements")
        for watch in self._watches:
            if seq <= watch.seq:
                continue
            if isinstance(watch.detector, AuditCoverage) and "losses" in frames:
                watch.state = watch.detector.lost(watch.state, frames["losses"])
            if statements is not None and not statements.is_empty():
                found += self._observe(watch, statements, policies or {})
            watch.seq = seq
        self._budget, passed = self._budget.admit(found)
        # What a rule says is no guess: verdicts have no budget, one finding a day each is little.
        self._budget, judged = self._budget.admit_all(guard_findings(frames.get("verdicts")))
        self._commits_since_save += 1
        if passed or self._commits_since_save >= self._settings.save_every_commits:
            self.save()
        return passed + judged

    def tick(self, now_us: int) -> list[Finding]:
        """What only the passing of time shows, within the budget."""
        found: list[Finding] = []
        for watch in self._watches:
            if isinstance(watch.detector, AuditCoverage):
                watch.state, done = watch.detector.settle(watch.state, now_us)
                found += self._measured(watch.detector, done)
        self._budget, passed = self._budget.admit(found)
        return passed

    def take_minutes(self) -> list[Minute]:
        """Audit coverage of the minutes that were completed since the last call."""
        taken, self._minutes = self._minutes, []
        return taken

    def suppressed(self) -> dict[str, int]:
        """Findings of today beyond the budget, by detector."""
        return dict(self._budget.suppressed)

    def save(self) -> None:
        """Make durable what is known; called at a stop and every few commits."""
        for watch in self._watches:
            if watch.seq > watch.saved_seq:
                path = self._folder / f"{watch.detector.name}.parquet"
                write_state(path, watch.state, watch.seq)
                watch.saved_seq = watch.seq
        _save_budget(self._folder / BUDGET_FILE, self._budget)
        fsync_folder(self._folder)
        self._commits_since_save = 0

    def _observe(
        self, watch: _Watch, statements: pl.DataFrame, policies: Policies
    ) -> list[Finding]:
        """A detector that fails keeps its state and loses this batch, counted."""
        name, counters = watch.detector.name, self.counters
        begun = self._stopwatch()
        try:
            if isinstance(watch.detector, AuditCoverage):
                masked = with_mask(statements, policies)
                watch.state, done = watch.detector.measure(watch.state, masked)
                found = self._measured(watch.detector, done)
            else:
                watch.state, found = watch.detector.observe(watch.state, statements)
        except (pl.exceptions.PolarsError, FrameError) as error:
            counters.failures[name] = counters.failures.get(name, 0) + 1
            _log.error("detector %s failed on a batch: %s", name, error)
            return []
        counters.seconds[name] = counters.seconds.get(name, 0.0) + self._stopwatch() - begun
        return found

    def _measured(self, detector: AuditCoverage, done: list[Minute]) -> list[Finding]:
        self._minutes += done
        return detector.findings(done)

    def _load(self, detector: Detector) -> _Watch:
        path = self._folder / f"{detector.name}.parquet"
        empty = detector.empty_state()
        if not path.exists():
            return _Watch(detector, empty)
        try:
            state, seq = read_state(path)
            if state.schema != empty.schema:
                raise ValueError("it was written by another release")
        except (pl.exceptions.PolarsError, OSError, ValueError, KeyError) as error:
            lost = self.counters.states_lost
            lost[detector.name] = lost.get(detector.name, 0) + 1
            path.replace(path.with_suffix(".damaged"))
            _log.error("%s cannot be used (%s); %s learns anew", path, error, detector.name)
            return _Watch(detector, empty)
        return _Watch(detector, state, seq, seq)


def write_state(path: Path, state: pl.DataFrame, seq: int) -> None:
    """Whole or not at all: temporary file, fsync, rename (the caller syncs the folder)."""
    new = path.with_suffix(".new")
    with new.open("wb") as file:
        state.write_parquet(file, compression="zstd", metadata={SEQUENCE_KEY: str(seq)})
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def read_state(path: Path) -> tuple[pl.DataFrame, int]:
    data = path.read_bytes()
    return pl.read_parquet(data), int(pl.read_parquet_metadata(data)[SEQUENCE_KEY])


def _load_budget(path: Path, per_day: int) -> Budget:
    """A budget that cannot be read starts anew: at worst a finding is said twice."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        admitted = {name: frozenset(ids) for name, ids in tree["admitted"].items()}
        return Budget(per_day, int(tree["day"]), admitted, dict(tree["suppressed"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Budget(per_day)


def _save_budget(path: Path, budget: Budget) -> None:
    new = path.with_suffix(".new")
    with new.open("w", encoding="utf-8") as file:
        json.dump(
            {
                "day": budget.day,
                "admitted": {name: sorted(ids) for name, ids in budget.admitted.items()},
                "suppressed": budget.suppressed,
            },
            file,
        )
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
