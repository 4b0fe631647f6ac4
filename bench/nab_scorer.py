"""The score of the Numenta Anomaly Benchmark, by its published definition.

A detection (a row whose anomaly score reaches the threshold) inside a labelled window earns the
more the earlier it is; only the best of a window counts, a window without one costs. A detection
outside costs, the less the closer it follows a window. The rows of the probationary period count
for nothing. One threshold for the whole corpus, the best for a profile of weights, is chosen as
the benchmark's optimiser does; 0 is what a detector that never speaks gets, 100 a perfect one.

Definition: Lavin and Ahmad, "Evaluating real-time anomaly detection algorithms", 2015.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

PROBATION_SHARE = 0.15
PROBATION_MOST_ROWS = 750
STEEPNESS = 5.0
FAR_BEHIND = 3.0
"""Window widths after a window's end from which on a false positive costs its whole weight."""
NEVER = math.inf
"""A threshold that no row reaches."""


@dataclass(frozen=True)
class Profile:
    """What an application gains and loses; the benchmark gives true negatives no effect."""

    true_positive: float
    false_positive: float
    false_negative: float


@dataclass(frozen=True)
class Series:
    """One file of the corpus; windows are first and last row, both inside."""

    name: str
    values: Sequence[float]
    windows: Sequence[tuple[int, int]]
    times_us: Sequence[int] = ()

    @property
    def probation(self) -> int:
        """Rows at the start that are not judged."""
        return min(math.floor(PROBATION_SHARE * len(self.values)), PROBATION_MOST_ROWS)


@dataclass(frozen=True)
class FileScore:
    score: float
    detected: int
    missed: int
    false_positives: int


@dataclass(frozen=True)
class CorpusScore:
    threshold: float
    score: float
    """Normalised: 0 for the null detector, 100 for the perfect one."""
    raw: float
    files: dict[str, FileScore] = field(default_factory=dict)


@dataclass(frozen=True)
class _Row:
    """What a detection at this row is worth before the profile's weights."""

    score: float
    worth: float
    window: tuple[str, int] | None


def position_value(position: float) -> float:
    """Near 1 at a window's left edge (-1), 0 at its right edge, -1 far behind it."""
    if position > FAR_BEHIND:
        return -1.0
    return 2.0 / (1.0 + math.exp(STEEPNESS * position)) - 1.0


def worths(series: Series) -> list[tuple[float, int | None]]:
    """For each row: what a detection there is worth, and the window that it lies in."""
    result: list[tuple[float, int | None]] = []
    windows = sorted(series.windows)
    current = 0
    best = position_value(-1.0)
    for row in range(len(series.values)):
        while current < len(windows) and row > windows[current][1]:
            current += 1
        if current < len(windows) and row >= windows[current][0]:
            first, last = windows[current]
            position = -(last - row + 1) / (last - first + 1)
            result.append((position_value(position) / best, current))
        elif current == 0:
            result.append((-1.0, None))
        else:
            first, last = windows[current - 1]
            result.append((position_value((row - last) / max(1, last - first)), None))
    return result


def optimise(
    corpus: Iterable[Series], scores: Mapping[str, Sequence[float]], profile: Profile
) -> CorpusScore:
    """The threshold that is best for the whole corpus, and what every file gets with it."""
    corpus = tuple(corpus)
    rows = [row for series in corpus for row in _rows(series, scores[series.name])]
    rows.sort(key=lambda row: -row.score)
    windows = sum(len(series.windows) for series in corpus)
    raw = best = -windows * profile.false_negative
    threshold = NEVER
    caught: dict[tuple[str, int], float] = {}
    for number, row in enumerate(rows):
        raw += _gain(row, caught, profile)
        last_of_score = number + 1 == len(rows) or rows[number + 1].score != row.score
        if last_of_score and raw > best:
            best, threshold = raw, row.score
    files = {
        series.name: score_file(series, scores[series.name], threshold, profile)
        for series in corpus
    }
    return CorpusScore(threshold, normalised(best, windows, profile), best, files)


def score_file(
    series: Series, scores: Sequence[float], threshold: float, profile: Profile
) -> FileScore:
    caught: dict[tuple[str, int], float] = {}
    raw, false_positives = -len(series.windows) * profile.false_negative, 0
    for row in _rows(series, scores):
        if row.score >= threshold:
            raw += _gain(row, caught, profile)
            false_positives += row.window is None
    return FileScore(raw, len(caught), len(series.windows) - len(caught), false_positives)


def normalised(raw: float, windows: int, profile: Profile) -> float:
    """
    >>> normalised(-2.0, 2, Profile(1.0, 0.11, 1.0)), normalised(2.0, 2, Profile(1.0, 0.11, 1.0))
    (0.0, 100.0)
    """
    null, perfect = -windows * profile.false_negative, windows * profile.true_positive
    return 100.0 * (raw - null) / (perfect - null)


def _rows(series: Series, scores: Sequence[float]) -> list[_Row]:
    if len(scores) != len(series.values):
        raise ValueError(f"{series.name}: {len(scores)} scores for {len(series.values)} rows")
    judged = list(enumerate(worths(series)))[series.probation :]
    return [
        _Row(scores[row], worth, None if window is None else (series.name, window))
        for row, (worth, window) in judged
    ]


def _gain(row: _Row, caught: dict[tuple[str, int], float], profile: Profile) -> float:
    """How one more detection changes the score of the corpus."""
    if row.window is None:
        return row.worth * profile.false_positive
    worth = row.worth * profile.true_positive
    before = caught.get(row.window)
    if before is None:
        caught[row.window] = worth
        return worth + profile.false_negative
    caught[row.window] = max(before, worth)
    return caught[row.window] - before
