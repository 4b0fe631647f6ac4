"""Numbers about the statements themselves, from whole frames: one group-by, not a call a row."""

import threading
from collections.abc import Iterable

import polars as pl
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from config.telemetry import Bounded, TopCounter

# Verbs of PostgreSQL's grammar that are worth a series of their own; the rest is "other".
OPERATIONS = (
    "select", "insert", "update", "delete", "merge", "copy", "call", "do", "create", "alter",
    "drop", "truncate", "grant", "revoke", "set", "show", "begin", "commit", "rollback",
    "savepoint", "prepare", "execute", "deallocate", "declare", "fetch", "close", "explain",
    "vacuum", "analyze", "reindex", "lock", "listen", "notify", "comment", "refresh", "checkpoint",
    "discard", "reset",
)  # fmt: skip
_BOUNDS_SECONDS = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0)
_BOUNDS_US = [round(bound * 1_000_000) for bound in _BOUNDS_SECONDS]
_UNPARSED = "unparsed"


class StatementMetrics:
    """Needs the columns cluster, operation, duration_us, rows, bytes_sent, sqlstate, user_name and
    identity_name of the table ``statements``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"pgwarden_collector_{name}", text, labels, registry=registry)

        self._statements = counter("statements", "Statements stored", "cluster", "operation")
        self._rows = counter("statement_rows", "Rows returned or changed", "cluster")
        self._bytes = counter("statement_sent_bytes", "Bytes sent to clients", "cluster")
        self._errors = counter(
            "statement_errors", "Statements that failed, by SQLSTATE class", "cluster", "class"
        )
        self._identities = TopCounter(
            "pgwarden_collector_identity_statements",
            "Statements of the 20 busiest identities",
            "identity",
            shown=20,
        )
        self._durations = _Durations()
        registry.register(self._identities)
        registry.register(self._durations)
        self._cluster = Bounded(50)
        self._class = Bounded(60)

    def observe(self, rows: pl.DataFrame) -> None:
        if rows.is_empty():
            return
        # A hostile agent chooses these words, so only known ones become labels.
        known = pl.col("operation").is_in(OPERATIONS)
        operation = pl.when(known).then("operation").when(pl.col("operation") == "")
        frame = rows.with_columns(
            operation=operation.then(pl.lit(_UNPARSED)).otherwise(pl.lit("other"))
        )
        self._count(frame)
        self._count_errors(frame)
        self._durations.add(frame)
        self._identities.add(_by_identity(frame))

    def _count(self, frame: pl.DataFrame) -> None:
        groups = frame.group_by("cluster", "operation").agg(
            pl.len().alias("n"), pl.col("rows", "bytes_sent").cast(pl.Int64).sum()
        )
        for cluster, operation, count, rows, sent in groups.iter_rows():
            place = self._cluster(cluster or "")
            self._statements.labels(place, operation).inc(count)
            self._rows.labels(place).inc(max(0, rows))
            self._bytes.labels(place).inc(max(0, sent))

    def _count_errors(self, frame: pl.DataFrame) -> None:
        failed = frame.filter(~pl.col("sqlstate").fill_null("").is_in(["", "00000"]))
        classes = pl.col("sqlstate").str.slice(0, 2).alias("class")
        for cluster, code, count in failed.group_by("cluster", classes).len().iter_rows():
            self._errors.labels(self._cluster(cluster or ""), self._class(code)).inc(count)


def _by_identity(frame: pl.DataFrame) -> dict[str, float]:
    name = pl.when(pl.col("identity_name").fill_null("") == "").then("user_name")
    who = name.otherwise("identity_name").fill_null("").alias("who")
    return {name: float(count) for name, count in frame.group_by(who).len().iter_rows()}


class _Durations(Collector):
    """A histogram that takes counts by the frame; prometheus_client's takes single values."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets: dict[str, list[int]] = {}
        self._sums_us: dict[str, int] = {}

    def add(self, frame: pl.DataFrame) -> None:
        timed = frame.filter(pl.col("duration_us") >= 0).select("operation", "duration_us")
        bucket = pl.lit(pl.Series(_BOUNDS_US)).search_sorted(pl.col("duration_us"), side="left")
        groups = timed.group_by("operation", bucket.alias("bucket")).agg(
            pl.len().alias("n"), pl.col("duration_us").sum()
        )
        with self._lock:
            for operation, index, count, total_us in groups.iter_rows():
                counts = self._buckets.setdefault(operation, [0] * (len(_BOUNDS_US) + 1))
                counts[index] += count
                self._sums_us[operation] = self._sums_us.get(operation, 0) + total_us

    def collect(self) -> Iterable[Metric]:
        family = HistogramMetricFamily(
            "pgwarden_collector_statement_duration_seconds",
            "Duration of statements, where a source saw it",
            labels=["operation"],
        )
        with self._lock:
            for operation, counts in sorted(self._buckets.items()):
                total_seconds = self._sums_us[operation] / 1_000_000
                family.add_metric([operation], _cumulative(counts), total_seconds)
        return [family]


def _cumulative(counts: list[int]) -> list[tuple[str, float]]:
    bounds = [*(str(bound) for bound in _BOUNDS_SECONDS), "+Inf"]
    return [(bound, float(sum(counts[: i + 1]))) for i, bound in enumerate(bounds)]
