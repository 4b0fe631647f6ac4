"""Volume: an identity takes far more rows or bytes in a window than in its own past windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from analytics.findings import between, finding_id, literal
from analytics.frames import SCOPE, keep_latest, prepare, top_level
from model.finding import Finding, FindingKind
from model.verdict import Severity

NAME = "volume"
SUBJECT = (*SCOPE, "identity")
KEY = (*SUBJECT, "window")
METRICS = ("rows", "bytes")
QUARTILES_TO_SIGMA = 1.349
# Totals are compared as logarithms; a steadier history than this counts as this unsteady, or a
# service that returns the same ten rows for ever would alarm at twelve.
LEAST_SIGMA = 0.25
NOTEWORTHY_Z = 12.0


@dataclass(frozen=True)
class VolumeSettings:
    window_seconds: float = 600
    learn_windows: int = 12
    """Windows with activity that an identity needs before it is judged."""
    floor_rows: int = 10_000
    floor_bytes: int = 10 * 1024 * 1024
    """A window below its floor is never remarkable."""
    history_windows: int = 288
    min_z: float = 6.0
    max_keys: int = 500_000

    def floor(self, metric: str) -> int:
        return max(1, self.floor_rows if metric == "rows" else self.floor_bytes)


@dataclass(frozen=True)
class Volume:
    """Score: robust z (median and quartiles) of log totals; also a new maximum, above a floor.

    Raised by the very statement that carries the window over the limit. The limit of a window
    depends on earlier windows alone, so it does not matter how the stream was cut into batches.
    """

    settings: VolumeSettings = VolumeSettings()
    name: str = NAME

    def empty_state(self) -> pl.DataFrame:
        """One row a window in which an identity was active."""
        return pl.DataFrame(
            schema={
                **dict.fromkeys(SUBJECT, pl.String),
                "window": pl.Int64,
                **dict.fromkeys(METRICS, pl.Int64),
                "last_us": pl.Int64,
            }
        )

    def observe(
        self, state: pl.DataFrame, batch: pl.DataFrame
    ) -> tuple[pl.DataFrame, list[Finding]]:
        statements = self._windowed(batch)
        if statements.is_empty():
            return state, []
        subjects = statements.select(SUBJECT).unique()
        touched = state.join(subjects, on=SUBJECT, how="semi")
        others = state.join(subjects, on=SUBJECT, how="anti")
        windows = self._merge(touched, statements)
        current = windows.join(statements.select(KEY).unique(), on=KEY, how="semi")
        findings: list[Finding] = []
        for metric in METRICS:
            crossed = current.filter(pl.col(metric) >= pl.col(f"{metric}_limit"))
            if not crossed.is_empty():
                findings += self._findings(metric, touched, crossed, statements)
        kept = windows.select(state.columns).filter(
            pl.int_range(pl.len(), 0, -1).over(SUBJECT) <= self.settings.history_windows
        )
        return keep_latest(pl.concat([others, kept]), self.settings.max_keys, KEY), findings

    def _windowed(self, batch: pl.DataFrame) -> pl.DataFrame:
        window_us = int(self.settings.window_seconds * 1e6)
        return (
            prepare(batch)
            .filter(top_level())
            .with_columns(
                window=pl.col("at_us") // window_us,
                rows=pl.col("rows").fill_null(0).clip(lower_bound=0),
                bytes=pl.col("bytes_sent").fill_null(0).clip(lower_bound=0),
            )
        )

    def _merge(self, touched: pl.DataFrame, statements: pl.DataFrame) -> pl.DataFrame:
        """Windows of the touched identities in time order, each with its limits."""
        fresh = statements.group_by(KEY).agg(
            *(pl.col(metric).sum() for metric in METRICS), last_us=pl.col("at_us").max()
        )
        merged = (
            pl.concat([touched, fresh.select(touched.columns)])
            .group_by(KEY)
            .agg(*(pl.col(metric).sum() for metric in METRICS), pl.col("last_us").max())
            .sort(KEY)
        )
        return merged.with_columns(
            expression for metric in METRICS for expression in self._limits(metric)
        )

    def _limits(self, metric: str) -> list[pl.Expr]:
        span, least = self.settings.history_windows, self.settings.learn_windows
        past = pl.col(metric).cast(pl.Float64).log1p().shift(1)
        median = past.rolling_median(span, min_samples=least)
        quartiles = [
            past.rolling_quantile(q, window_size=span, min_samples=least) for q in (0.25, 0.75)
        ]
        sigma = ((quartiles[1] - quartiles[0]) / QUARTILES_TO_SIGMA).clip(lower_bound=LEAST_SIGMA)
        unusual = (median + self.settings.min_z * sigma).exp() - 1
        most = pl.col(metric).shift(1).rolling_max(span, min_samples=least)
        # Any side of the maximum that is null (still learning) makes the limit null: no finding.
        limit = (
            pl.when(unusual.is_not_null())
            .then(pl.max_horizontal(unusual, most + 1, pl.lit(self.settings.floor(metric))))
        )  # fmt: skip
        return [
            median.over(SUBJECT).alias(f"{metric}_median"),
            sigma.over(SUBJECT).alias(f"{metric}_sigma"),
            most.over(SUBJECT).alias(f"{metric}_most"),
            limit.over(SUBJECT).alias(f"{metric}_limit"),
        ]

    def _findings(
        self, metric: str, touched: pl.DataFrame, crossed: pl.DataFrame, statements: pl.DataFrame
    ) -> list[Finding]:
        limits = crossed.select(
            *KEY,
            limit=f"{metric}_limit",
            median=f"{metric}_median",
            sigma=f"{metric}_sigma",
            most=f"{metric}_most",
        )
        before = touched.select(*KEY, before=metric)
        due = (
            statements.join(limits, on=KEY, how="inner", maintain_order="left")
            .join(before, on=KEY, how="left", maintain_order="left")
            .with_columns(total=pl.col("before").fill_null(0) + pl.col(metric).cum_sum().over(KEY))
            .filter(
                (pl.col("total") >= pl.col("limit"))
                & (pl.col("total") - pl.col(metric) < pl.col("limit"))
            )
            .with_columns(
                z=(pl.col("total").cast(pl.Float64).log1p() - pl.col("median")) / pl.col("sigma"),
                usual=pl.col("median").exp() - 1,
            )
        )
        return [self._finding(metric, row) for row in due.iter_rows(named=True)]

    def _finding(self, metric: str, row: dict[str, Any]) -> Finding:
        who, seconds = row["identity"], self.settings.window_seconds
        start_us = int(row["window"] * seconds * 1e6)
        known = "identity_name" if row["identity_name"] else "user_name"
        total, usual, most = (amount(metric, row[name]) for name in ("total", "usual", "most"))
        return Finding(
            id=finding_id(row["at_us"], NAME, metric, *(row[name] for name in SUBJECT)),
            kind=FindingKind.ANOMALY,
            detector=NAME,
            severity=Severity.HIGH if row["z"] >= NOTEWORTHY_Z else Severity.MEDIUM,
            title=f"Unusual volume: {who} took {total}",
            sentence=f"{who} took {total} within {seconds:g} s; usual is {usual}, "
            f"the most so far was {most}",
            at_us=row["at_us"],
            agent=row["agent"],
            cluster=row["cluster"],
            database=row["database"],
            user=row["user_name"],
            identity=who,
            object=metric,
            score=round(row["z"], 3),
            evidence_sql=(
                "SELECT started_at, client_address, rows, bytes_sent, text FROM statements "
                f"WHERE {known} = {literal(who)} AND database = {literal(row['database'])} "
                f"AND {between('started_at', start_us, start_us + int(seconds * 1e6))} "
                f"ORDER BY {'rows' if metric == 'rows' else 'bytes_sent'} DESC LIMIT 100"
            ),
            statement_id=row["id"],
            details=(("metric", metric), ("total", str(row["total"])), ("most", str(row["most"]))),
        )


def amount(metric: str, value: float) -> str:
    """
    >>> amount("rows", 12_000), amount("bytes", 4_100_000_000)
    ('12,000 rows', '4.1 GB')
    """
    if metric == "rows":
        return f"{value:,.0f} rows"
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.0f} B"
