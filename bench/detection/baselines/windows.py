"""Ten minutes of an identity as a vector, for methods that take vectors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from bench.detection.baselines.baseline import rows_of

WINDOW_US = 600_000_000
MEASURES = ("statements", "rows", "bytes", "relations", "shapes", "errors", "writes", "addresses")
FEATURES = (*MEASURES, *(f"{name}_off" for name in MEASURES), "hour")
"""As logarithms; ``_off``: against this identity's own mean so far."""


@dataclass(frozen=True)
class Window:
    identity: str
    end_us: int
    features: tuple[float, ...]


class Windows:
    """A window is complete when a later one has begun."""

    def __init__(self) -> None:
        self._open: pl.DataFrame | None = None
        self._means: dict[str, tuple[int, list[float]]] = {}

    def complete(self, batch: pl.DataFrame) -> Iterator[Window]:
        if batch.is_empty():
            return
        rows = (
            rows_of(batch)
            .with_columns(window=pl.col("at_us") // WINDOW_US)
            .select(
                "identity", "window", "rows", "bytes_sent", "reads", "writes", "fingerprint",
                "sqlstate", "client_address",
            )
        )  # fmt: skip
        rows = rows if self._open is None else pl.concat([self._open, rows])
        latest = rows["window"].max()
        self._open = rows.filter(pl.col("window") == latest)
        done = rows.filter(pl.col("window") < latest)
        for identity, window, *measured in _measured(done).iter_rows():
            yield self._window(identity, window, [float(value) for value in measured])

    def _window(self, identity: str, window: int, measured: list[float]) -> Window:
        count, means = self._means.get(identity, (0, measured))
        off = [value - mean for value, mean in zip(measured, means, strict=True)]
        rate = 1 / min(count + 1, 1000)
        moved = [mean + rate * each for mean, each in zip(means, off, strict=True)]
        self._means[identity] = (count + 1, moved)
        hour = float(window % 144 // 6)
        return Window(identity, (window + 1) * WINDOW_US, (*measured, *off, hour))


def _measured(rows: pl.DataFrame) -> pl.DataFrame:
    return (
        rows.group_by("identity", "window")
        .agg(
            statements=pl.len(),
            rows=pl.col("rows").fill_null(0).clip(0).sum(),
            bytes=pl.col("bytes_sent").fill_null(0).clip(0).sum(),
            relations=pl.col("reads").list.concat("writes").explode().n_unique(),
            shapes=pl.col("fingerprint").n_unique(),
            errors=(~pl.col("sqlstate").is_in(["", "00000"])).sum(),
            writes=(pl.col("writes").list.len() > 0).sum(),
            addresses=pl.col("client_address").n_unique(),
        )
        .with_columns(pl.col(MEASURES).cast(pl.Float64).log1p())
        .sort("window", "identity")
    )
