"""scikit-learn's isolation forest over windows of identities, trained anew every day.

Liu, Ting and Zhou, "Isolation forest", 2008. A day is scored by what the days before taught.
"""

from __future__ import annotations

from collections import deque

import polars as pl
from sklearn.ensemble import IsolationForest

from bench.detection.baselines.windows import Window, Windows
from bench.detection.candidate import Candidate
from bench.detection.scoring import DAY_US

SEED = 1
LEAST_WINDOWS = 500
MOST_WINDOWS = 200_000


class Isolation:
    def __init__(self) -> None:
        self._windows = Windows()
        self._past: deque[tuple[float, ...]] = deque(maxlen=MOST_WINDOWS)
        self._model: IsolationForest | None = None
        self._day = -1

    def observe(self, batch: pl.DataFrame) -> list[Candidate]:
        windows = list(self._windows.complete(batch))
        found: list[Candidate] = []
        for day in sorted({window.end_us // DAY_US for window in windows}):
            found += self._score(day, [w for w in windows if w.end_us // DAY_US == day])
        return found

    def _score(self, day: int, windows: list[Window]) -> list[Candidate]:
        if day > self._day and len(self._past) >= LEAST_WINDOWS:
            self._model = IsolationForest(n_estimators=100, random_state=SEED, n_jobs=1)
            self._model.fit(list(self._past))
            self._day = day
        self._past.extend(window.features for window in windows)
        if self._model is None:
            return []
        scores = -self._model.score_samples([window.features for window in windows])
        return [
            Candidate(window.identity, window.end_us, float(score), "window")
            for window, score in zip(windows, scores, strict=True)
        ]
