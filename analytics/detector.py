"""What every detector is: a pure function over state and batch, with a name."""

from __future__ import annotations

from typing import Protocol

import polars as pl

from model.finding import Finding


class Detector(Protocol):
    """``observe`` reads no clock and keeps nothing: the state it returns is all it knows.

    How a stream is cut into batches changes neither findings nor state, as long as the state
    stays below its bound (what is evicted last depends on where a batch ended).
    """

    @property
    def name(self) -> str:
        """Also ``Finding.detector`` and the name of its state file."""

    def empty_state(self) -> pl.DataFrame: ...

    def observe(
        self, state: pl.DataFrame, batch: pl.DataFrame
    ) -> tuple[pl.DataFrame, list[Finding]]:
        """The state after ``batch`` (columns of view ``statements``), and what is new."""
