"""What detectors and gate would have told of statements on record, under several configurations.

Every run begins with nothing known and sees the statements in order of time, so two runs differ by
their configurations alone. A detector whose settings are the same in several runs works once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb
import polars as pl

from analytics.detector import Detector
from analytics.detectors.application_change import ApplicationChange
from analytics.detectors.audit_coverage import AuditCoverage
from analytics.frames import COLUMNS
from analytics.gate import Gate
from analytics.gate.population import Population
from collector.analysis import AnalysisSettings
from collector.gatekeeper import feedback_of
from model.finding import Finding

BATCH_ROWS = 10_000
LEFT_OUT = AuditCoverage
"""It compares two sources as they come; what the server was told to log then is in no row."""
NO_FEEDBACK = pl.DataFrame(schema={"occurred_at": pl.Datetime("us")})


class ReplayError(ValueError):
    """The history cannot be read; the message says why."""


@dataclass(frozen=True)
class Difference:
    """Findings of two runs; the same cause on the same day is the same finding."""

    both: tuple[Finding, ...]
    only_first: tuple[Finding, ...]
    only_second: tuple[Finding, ...]


def stored(
    views: duckdb.DuckDBPyConnection, since: datetime, until: datetime
) -> Iterator[pl.DataFrame]:
    """Batches of view ``statements``; times are naive, UTC."""
    return _batches(views, "statements", since, until)


def in_file(path: str) -> Iterator[pl.DataFrame]:
    """Batches of a Parquet file with columns of view ``statements``. Raises ReplayError."""
    try:
        with duckdb.connect(":memory:") as connection:
            file = path.replace("'", "''")
            connection.execute(f"CREATE VIEW history AS SELECT * FROM read_parquet('{file}')")
            yield from _batches(connection, "history", datetime.min, datetime.max)
    except duckdb.Error as error:
        raise ReplayError(f"{path}: {str(error).splitlines()[0]}") from error


def feedback(views: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """What people said of findings."""
    return pl.DataFrame(views.sql("SELECT * FROM finding_feedback"))


def _batches(
    connection: duckdb.DuckDBPyConnection, view: str, since: datetime, until: datetime
) -> Iterator[pl.DataFrame]:
    """In order of time, an hour in memory. Only hours that have something: clocks may be wrong."""
    hours = connection.execute(
        f"SELECT DISTINCT date_trunc('hour', started_at) FROM {view} "
        "WHERE started_at >= ? AND started_at < ? ORDER BY 1",
        [since, until],
    ).fetchall()
    columns = ", ".join(f'"{name}"' for name in COLUMNS)
    for (hour,) in hours:
        rows = connection.sql(
            f"SELECT {columns} FROM {view} WHERE date_trunc('hour', started_at) = ? "
            "AND started_at >= ? AND started_at < ? ORDER BY started_at, agent, id",
            params=[hour, since, until],
        )
        whole = pl.DataFrame(rows).with_columns(pl.col("started_at").cast(pl.Datetime("us")))
        yield from whole.iter_slices(BATCH_ROWS)


def replayed(
    batches: Iterable[pl.DataFrame],
    runs: Sequence[AnalysisSettings],
    feedback: pl.DataFrame = NO_FEEDBACK,
    on_progress: Callable[[int], None] = lambda rows: None,
) -> list[list[Finding]]:
    """What each run tells, in order. ``feedback``: rows of view ``finding_feedback``, heard at
    their time; ``on_progress`` is told how many statements are done."""
    players = [_Player(detector) for detector in _distinct(runs)]
    told = [_Run(settings, players) for settings in runs]
    words = feedback.sort("occurred_at").with_columns(us=pl.col("occurred_at").dt.epoch("us"))
    population, heard_us, done = Population(), -1, 0
    for batch in batches:
        if batch.is_empty():
            continue
        at_us = int(batch.select(pl.col("started_at").dt.epoch("us").max()).item())
        fresh = words.filter(pl.col("us").is_between(heard_us, at_us, closed="right"))
        heard_us = max(at_us, heard_us)
        population = population.with_(batch, at_us)
        found = {player.name: player.observe(batch, at_us) for player in players}
        for run in told:
            run.hear(fresh)
            run.step(found, max(1, len(population.known)), at_us)
        done += batch.height
        on_progress(done)
    return [run.findings for run in told]


def difference(first: Iterable[Finding], second: Iterable[Finding]) -> Difference:
    """In order of time. Of a finding that was raised again, the last counts."""
    one, other = ({each.id: each for each in run} for run in (first, second))
    return Difference(
        _by_time(other[id_] for id_ in one.keys() & other.keys()),
        _by_time(one[id_] for id_ in one.keys() - other.keys()),
        _by_time(other[id_] for id_ in other.keys() - one.keys()),
    )


class _Player:
    """A detector with its state."""

    def __init__(self, detector: Detector) -> None:
        self.detector = detector
        self.name = repr(detector)
        self._state = detector.empty_state()

    def observe(self, batch: pl.DataFrame, at_us: int) -> list[Finding]:
        self._state, found = self.detector.observe(self._state, batch)
        if not isinstance(self.detector, ApplicationChange):
            return found
        # Its findings have the time at which a change began; they were known once it was over.
        self._state, settled = self.detector.settle(self._state, at_us)
        return found + settled


class _Run:
    """One configuration: whom it listens to, and its gate."""

    def __init__(self, settings: AnalysisSettings, players: Sequence[_Player]) -> None:
        wanted = {repr(detector) for detector in _detectors(settings)}
        self._names = [player.name for player in players if player.name in wanted]
        self._gate = Gate(settings.gate, settings.mutes)
        self.findings: list[Finding] = []

    def hear(self, words: pl.DataFrame) -> None:
        for row in words.iter_rows(named=True):
            self._gate = self._gate.heard(feedback_of(row))

    def step(self, found: dict[str, list[Finding]], identities: int, at_us: int) -> None:
        candidates = [finding for name in self._names for finding in found[name]]
        self._gate, raised = self._gate.step(candidates, identities, at_us)
        self.findings += [each.finding for each in raised]


def _detectors(settings: AnalysisSettings) -> list[Detector]:
    return [each for each in settings.detectors() if not isinstance(each, LEFT_OUT)]


def _distinct(runs: Sequence[AnalysisSettings]) -> list[Detector]:
    """Frozen dataclasses: what they print is what they are."""
    every = {repr(each): each for settings in runs for each in _detectors(settings)}
    return list(every.values())


def _by_time(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda each: (each.at_us, each.id)))
