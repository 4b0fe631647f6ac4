"""New terms: a user with a relation, address, program, database or verb not seen for 7 days."""

from __future__ import annotations

import polars as pl

from bench.detection.baselines.baseline import Points
from bench.detection.baselines.terms import pairs
from bench.detection.candidate import Candidate
from bench.detection.scoring import DAY_US

WINDOW_US = 7 * DAY_US
KINDS = ("relation", "client_address", "application_name", "database", "operation")


class NewTerms:
    def __init__(self) -> None:
        self._seen: dict[tuple[str, str, str], int] = {}
        self._points = Points()
        self._begun_us = -1

    def observe(self, batch: pl.DataFrame) -> list[Candidate]:
        found = []
        for identity, _, kind, term, at_us in pairs(batch, KINDS):
            self._begun_us = at_us if self._begun_us < 0 else self._begun_us
            last = self._seen.get((identity, kind, term))
            self._seen[identity, kind, term] = at_us
            known = last is not None and at_us - last < WINDOW_US
            if not known and at_us - self._begun_us >= WINDOW_US:
                found.append(self._points.add(identity, at_us, 1.0, f"{kind} {term}"))
        return found
