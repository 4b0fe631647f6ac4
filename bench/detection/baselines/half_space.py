"""river's half-space trees over windows of identities: the score of anomalies in streams.

Tan, Ting and Liu, "Fast anomaly detection for streaming data", 2011.
"""

from __future__ import annotations

import polars as pl
from river import anomaly, compose, preprocessing

from bench.detection.baselines.windows import FEATURES, Windows
from bench.detection.candidate import Candidate

SEED = 1


class HalfSpace:
    def __init__(self) -> None:
        self._windows = Windows()
        # The trees expect features between 0 and 1.
        self._model = compose.Pipeline(
            preprocessing.MinMaxScaler(),
            anomaly.HalfSpaceTrees(n_trees=25, height=10, window_size=250, seed=SEED),
        )

    def observe(self, batch: pl.DataFrame) -> list[Candidate]:
        found = []
        for window in self._windows.complete(batch):
            features = dict(zip(FEATURES, window.features, strict=True))
            score = self._model.score_one(features)
            self._model.learn_one(features)
            found.append(Candidate(window.identity, window.end_us, score, "window"))
        return found
