"""Runs the detectors on what each commit made durable, and keeps what they know over restarts.

Each detector has a Parquet file that names the ledger sequence it contains. A file is written
every few commits; after a restart the commits behind it are read from the ledger and given again,
and each detector passes over those that its own file contains. What detectors find are candidates:
the gate decides which of them a person is told of, and its file is written first.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from analytics import keyed
from analytics.audit.minutes import Minute
from analytics.audit.policy import AuditPolicy, with_mask
from analytics.detector import Detector
from analytics.detectors.activity_time import ActivityTime, ActivityTimeSettings
from analytics.detectors.application_change import (
    ApplicationChange,
    ApplicationChangeSettings,
)
from analytics.detectors.audit_coverage import AuditCoverage, AuditCoverageSettings
from analytics.detectors.edge_burst import EdgeBurst, EdgeBurstSettings
from analytics.detectors.error_burst import ErrorBurst, ErrorBurstSettings
from analytics.detectors.first_act import FirstAct, FirstActSettings
from analytics.detectors.first_seen import FirstSeen, FirstSeenSettings
from analytics.detectors.harvest import Harvest, HarvestSettings
from analytics.detectors.latency import Latency, LatencySettings
from analytics.detectors.new_shape import NewShape, NewShapeSettings
from analytics.detectors.origin import Origin, OriginSettings
from analytics.detectors.repetition import Repetition, RepetitionSettings
from analytics.detectors.role_profile import RoleProfile, RoleProfileSettings
from analytics.detectors.slow_drip import SlowDrip, SlowDripSettings
from analytics.detectors.volume import Volume, VolumeSettings
from analytics.detectors.workload_mix import WorkloadMix, WorkloadMixSettings
from analytics.frames import FrameError
from analytics.gate import Agreement, Gate, GateSettings, Mute
from collector.gatekeeper import Gatekeeper
from collector.guard_findings import guard_findings
from collector.ledger import fsync_folder
from collector.together import Commits, by_commit, by_row
from model.finding import Finding

SEQUENCE_KEY = "ledger_sequence"
GATE = "gate"
SAVE_EVERY_COMMITS = 60
SAVE = "save"
Policies = Mapping[tuple[str, str], AuditPolicy]
"""By agent and cluster."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AnalysisSettings:
    first_seen: FirstSeenSettings = field(default_factory=FirstSeenSettings)
    volume: VolumeSettings = field(default_factory=VolumeSettings)
    error_burst: ErrorBurstSettings = field(default_factory=ErrorBurstSettings)
    new_shape: NewShapeSettings = field(default_factory=NewShapeSettings)
    application_change: ApplicationChangeSettings = field(default_factory=ApplicationChangeSettings)
    audit_coverage: AuditCoverageSettings = field(default_factory=AuditCoverageSettings)
    role_profile: RoleProfileSettings = field(default_factory=RoleProfileSettings)
    edge_burst: EdgeBurstSettings = field(default_factory=EdgeBurstSettings)
    slow_drip: SlowDripSettings = field(default_factory=SlowDripSettings)
    origin: OriginSettings = field(default_factory=OriginSettings)
    activity_time: ActivityTimeSettings = field(default_factory=ActivityTimeSettings)
    workload_mix: WorkloadMixSettings = field(default_factory=WorkloadMixSettings)
    latency: LatencySettings = field(default_factory=LatencySettings)
    first_act: FirstActSettings = field(default_factory=FirstActSettings)
    harvest: HarvestSettings = field(default_factory=HarvestSettings)
    repetition: RepetitionSettings = field(default_factory=RepetitionSettings)
    gate: GateSettings = field(default_factory=GateSettings)
    mutes: tuple[Mute, ...] = ()
    save_every_commits: int = SAVE_EVERY_COMMITS

    def detectors(self) -> tuple[Detector, ...]:
        return (
            FirstSeen(self.first_seen),
            Volume(self.volume),
            ErrorBurst(self.error_burst),
            NewShape(self.new_shape),
            ApplicationChange(self.application_change),
            AuditCoverage(self.audit_coverage),
            RoleProfile(self.role_profile),
            EdgeBurst(self.edge_burst),
            SlowDrip(self.slow_drip),
            Origin(self.origin),
            ActivityTime(self.activity_time),
            WorkloadMix(self.workload_mix),
            Latency(self.latency),
            FirstAct(self.first_act),
            Harvest(self.harvest),
            Repetition(self.repetition),
        )


@dataclass
class AnalysisCounters:
    """For the metrics page, by detector."""

    seconds: dict[str, float] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    states_lost: dict[str, int] = field(default_factory=dict)
    """State files that could not be read or are of another release: the detector learns anew."""


@dataclass
class _Watch:
    detector: Detector
    state: pl.DataFrame
    seq: int = 0
    saved_seq: int = 0
    ahead: dict[int, list[Finding]] = field(default_factory=dict)
    """Of commits that the state contains already, and that ``on_commit`` is still to be given."""
    minutes: dict[int, list[Minute]] = field(default_factory=dict)


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
        self._gatekeeper = Gatekeeper(self._folder, self._settings.gate, self._settings.mutes)
        if self._gatekeeper.lost:
            self.counters.states_lost[GATE] = 1
        self._commits_since_save = 0
        self._minutes: list[Minute] = []

    def resume_from(self) -> int:
        """The first ledger sequence that some detector's saved state does not contain."""
        return min((watch.saved_seq for watch in self._watches), default=0) + 1

    def on_commit(
        self,
        frames: Mapping[str, pl.DataFrame],
        seq: int,
        policies: Policies | None = None,
        at_us: int = 0,
    ) -> list[Finding]:
        """Findings of this commit that the gate lets pass. A replay gives the same ids again.

        ``at_us``: when it was committed; 0: unknown.
        """
        found: list[Finding] = []
        statements = frames.get("statements")
        for watch in self._watches:
            if seq <= watch.seq:
                found += watch.ahead.pop(seq, [])
                self._minutes += watch.minutes.pop(seq, [])
                continue
            found += self._observe(watch, frames, policies or {})
            watch.seq = seq
        # What a rule says is no guess: verdicts have no budget, one finding a day each is little.
        found += guard_findings(frames.get("verdicts"))
        feedback = frames.get("finding_feedback")
        raised = self._gatekeeper.judge(found, seq, at_us, statements, feedback)
        self._commits_since_save += 1
        self._save_after(bool(raised))
        return [each.finding for each in raised]

    def look_ahead(
        self,
        commits: Sequence[tuple[int, Mapping[str, pl.DataFrame]]],
        policies: Policies | None = None,
    ) -> None:
        """``commits`` (sequence and frames) come next: detectors see their statements at once.

        ``on_commit`` still has to be called with each, and gives what it would have given.
        ``policies``: if they are the same for all of these; without them audit coverage waits.
        """
        wholes: dict[int, pl.DataFrame] = {}
        some = [(seq, frames["statements"]) for seq, frames in commits if "statements" in frames]
        for watch in self._watches:
            fresh = [
                (seq, frame) for seq, frame in some if seq > watch.seq and not frame.is_empty()
            ]
            if len(fresh) < 2 or not _may_look_ahead(watch.detector, commits, policies):
                continue
            begun = self._stopwatch()
            try:
                if len(fresh) not in wholes:
                    wholes[len(fresh)] = pl.concat(frame for _, frame in fresh)
                whole = wholes[len(fresh)]
                state, ahead, minutes = _ahead(watch, whole, fresh, policies or {})
            except (Exception, pl.exceptions.PanicException):  # noqa: BLE001 - then one by one
                continue
            watch.state, watch.ahead = state, {seq: ahead.get(seq, []) for seq, _ in fresh}
            watch.minutes = dict(minutes)
            watch.seq = fresh[-1][0]
            self._count_seconds(watch.detector.name, begun)

    def tick(self, now_us: int) -> list[Finding]:
        """What only the passing of time shows, as far as the gate lets it pass."""
        found: list[Finding] = []
        for watch in self._watches:
            if isinstance(watch.detector, AuditCoverage):
                watch.state, done = watch.detector.settle(watch.state, now_us)
                found += self._measured(watch.detector, done)
            elif isinstance(watch.detector, ApplicationChange):
                watch.state, changes = watch.detector.settle(watch.state, now_us)
                found += changes
        return [each.finding for each in self._gatekeeper.tick(found, now_us)]

    def take_minutes(self) -> list[Minute]:
        """Audit coverage of the minutes that were completed since the last call."""
        taken, self._minutes = self._minutes, []
        return taken

    @property
    def gate(self) -> Gate:
        return self._gatekeeper.gate

    @property
    def unheard(self) -> bool:
        """The gate knows nothing of what people said of findings."""
        return self._gatekeeper.unheard

    def hear(self, feedback: pl.DataFrame) -> None:
        """Rows of table ``finding_feedback``, oldest first."""
        self._gatekeeper.hear(feedback)

    def take_agreements(self) -> list[Agreement]:
        """Detectors that agreed since the last call."""
        return self._gatekeeper.take_agreements()

    def untold(self) -> list[Finding]:
        """Findings that were raised before a crash, and may not be in the record."""
        return self._gatekeeper.untold()

    def told(self, ids: Iterable[str]) -> None:
        """These findings are durable. From any thread."""
        self._gatekeeper.told(ids)

    def suppressed(self) -> dict[tuple[str, str], int]:
        """Candidates that nobody was told of, by detector and reason, since the beginning."""
        return dict(self.gate.suppressed)

    def _save_after(self, raised: bool) -> None:
        """What was raised is told of even where the disk is full."""
        try:
            due = self._commits_since_save >= self._settings.save_every_commits
            if due and not any(watch.ahead for watch in self._watches):
                self.save()
            elif raised:
                # The gate alone: detectors may be behind it, and are given the commits again.
                self._gatekeeper.save()
                fsync_folder(self._folder)
        except OSError as error:
            self.counters.failures[SAVE] = self.counters.failures.get(SAVE, 0) + 1
            _log.error("state cannot be saved: %s", error)

    def save(self) -> None:
        """Make durable what is known; called at a stop and every few commits. Not between
        ``look_ahead`` and the last of its commits: detectors would be ahead of the gate."""
        self._gatekeeper.save()
        # No detector's file may outlive a crash that the gate's does not.
        fsync_folder(self._folder)
        for watch in self._watches:
            if watch.seq > watch.saved_seq:
                path = self._folder / f"{watch.detector.name}.parquet"
                write_state(path, watch.state, watch.seq)
                watch.saved_seq = watch.seq
        fsync_folder(self._folder)
        self._commits_since_save = 0

    def _observe(
        self, watch: _Watch, frames: Mapping[str, pl.DataFrame], policies: Policies
    ) -> list[Finding]:
        """A detector that fails keeps its state and loses this batch, counted. The others, and
        what rules say, go on."""
        name, counters = watch.detector.name, self.counters
        statements = frames.get("statements")
        begun = self._stopwatch()
        try:
            if isinstance(watch.detector, AuditCoverage) and "losses" in frames:
                watch.state = watch.detector.lost(watch.state, frames["losses"])
            if statements is None or statements.is_empty():
                return []
            if isinstance(watch.detector, AuditCoverage):
                masked = with_mask(statements, policies)
                watch.state, done = watch.detector.measure(watch.state, masked)
                found = self._measured(watch.detector, done)
            else:
                watch.state, found = watch.detector.observe(watch.state, statements)
        except (Exception, pl.exceptions.PanicException) as error:  # noqa: BLE001 - see above
            counters.failures[name] = counters.failures.get(name, 0) + 1
            # The text of another error than our own may quote a statement.
            told = error if isinstance(error, FrameError) else type(error).__name__
            _log.error("detector %s failed on a batch: %s", name, told)
            return []
        self._count_seconds(name, begun)
        return found

    def _count_seconds(self, name: str, begun: float) -> None:
        seconds = self.counters.seconds
        seconds[name] = seconds.get(name, 0.0) + self._stopwatch() - begun

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
            if keyed.is_keyed(state):
                state = keyed.restored(state)
        except (pl.exceptions.PolarsError, OSError, ValueError, KeyError) as error:
            lost = self.counters.states_lost
            lost[detector.name] = lost.get(detector.name, 0) + 1
            path.replace(path.with_suffix(".damaged"))
            _log.error("%s cannot be used (%s); %s learns anew", path, error, detector.name)
            return _Watch(detector, empty)
        return _Watch(detector, state, seq, seq)


def _may_look_ahead(
    detector: Detector,
    commits: Sequence[tuple[int, Mapping[str, pl.DataFrame]]],
    policies: Policies | None,
) -> bool:
    """Audit coverage needs more than statements."""
    if not isinstance(detector, AuditCoverage):
        return True
    return policies is not None and not any("losses" in frames for _, frames in commits)


def _ahead(
    watch: _Watch, whole: pl.DataFrame, fresh: Commits, policies: Policies
) -> tuple[pl.DataFrame, Mapping[int, list[Finding]], Mapping[int, list[Minute]]]:
    """The state after ``fresh`` commits, and what comes of each. Two detectors tell of a statement
    that came long before the one that shows it: what they tell belongs to the latter's commit."""
    detector = watch.detector
    if isinstance(detector, AuditCoverage):
        state, done = detector.measure_rows(watch.state, with_mask(whole, policies))
        minutes = by_row(((row, each) for row, group in done for each in group), fresh)
        return state, {seq: detector.findings(each) for seq, each in minutes.items()}, minutes
    if isinstance(detector, ApplicationChange):
        state, changes = detector.observe_rows(watch.state, whole)
        return state, by_row(changes, fresh, timed=True), {}
    state, found = detector.observe(watch.state, whole)
    return state, by_commit(found, fresh), {}


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
