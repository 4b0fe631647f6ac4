"""Volume: an identity takes far more rows or bytes in a window than it ever takes.

A window's total, as a logarithm, is compared with the largest windows of earlier days
(``analytics.extremes``): an identity whose days vary has to take more to be remarkable. What is
usual at the hour of the week is said with it. A row that comes slightly late counts in the current
window; one that comes later than that counts nowhere. Dumps and rows that are changed have
windows and days of their own (``analytics.ways``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl

from analytics import alike, candidates, days, extremes, keyed, usual, ways
from analytics.alike import Dated
from analytics.candidates import shortened
from analytics.extremes import KEY, Prior
from analytics.findings import between, finding_id, literal, on_server
from analytics.frames import SCOPE, by_who, top_level, who_columns
from analytics.ways import CHANGE, DUMP, WAY
from model.finding import Finding, FindingKind
from model.verdict import Severity

NAME = "volume"
OWNER = KEY[:-1]
METRICS = ("rows", "bytes")
WINDOW = "window"
NOTEWORTHY_BITS = 4.0
PRIOR = Prior(6.0, 1.2, 0.4)
"""Of a day's largest window, as a natural logarithm."""
PRIOR_OF_DUMPS = Prior(15.0, 3.0, 1.0)
"""A dump takes whole databases: that it is large is no news."""
VALUES = {
    **extremes.VALUES,
    "window": pl.Int64,
    "rows": pl.Float64,
    "bytes": pl.Float64,
}
_ROW = ("row", "at_us", "id", "alike", "identity", "identity_name", "user_name", "who")
_SINGLE = tuple(
    dict.fromkeys((*SCOPE, *_ROW, *alike.OF_ONE, "identity_kind", "application_name", "writes"))
)


@dataclass(frozen=True)
class VolumeSettings:
    window_seconds: float = 600
    floor_rows: int = 1_000
    floor_bytes: int = 1024 * 1024
    """A window below its floor is never remarkable."""
    min_bits: float = 1.0
    day_seconds: float = 86_400
    max_keys: int = 500_000
    max_keys_per_identity: int = 2_000

    def floor(self, metric: str) -> int:
        return max(1, self.floor_rows if metric == "rows" else self.floor_bytes)


@dataclass(frozen=True)
class Volume:
    """Score: -log10 of the chance that a day of this identity has a window as far from usual.

    Raised by the very statement that carries the window over the limit.
    """

    settings: VolumeSettings = VolumeSettings()
    name: str = NAME

    def empty_state(self) -> pl.DataFrame:
        return keyed.empty(dict.fromkeys(KEY, pl.String), VALUES)

    def observe(
        self, state: pl.DataFrame, batch: pl.DataFrame
    ) -> tuple[pl.DataFrame, list[Finding]]:
        wanted = top_level() & (pl.col("identity") != "")
        day_us, window_us = (
            int(each * 1e6) for each in (self.settings.day_seconds, self.settings.window_seconds)
        )
        dated = alike.dated(batch, wanted, state, day_us, window_us)
        if dated.clocks is None:
            return state, []
        changes = [dated.clocks]
        found: list[Finding] = []
        for part in dated.parts():
            changed, news = self._observe_day(state, dated, _taken(part))
            state = self._put(state, [*changes, *changed])
            found, changes = found + news, []
        return state, found

    def _observe_day(
        self, state: pl.DataFrame, dated: Dated, rows: pl.DataFrame
    ) -> tuple[list[pl.DataFrame], list[Finding]]:
        """Rows of the state that change, and what is new."""
        if rows.is_empty():
            return [], []
        windows = _windows(state, rows)
        over_us = (pl.col("window") + 1) * int(self.settings.window_seconds * 1e6)
        ended = _closed(windows).with_columns(seen_us=over_us)
        learned = [usual.learned(state, self._measured(state, ended))] if ended.height else []
        measured = self._measured(state, _open(windows))
        peaks, parents = extremes.baselines(state, _subjects(measured))
        told = self._told(lambda hot: _single(dated, rows, hot), measured, peaks)
        subjects = candidates.with_told(peaks, told, (*OWNER, "metric"))
        found = [(row["row"], self._finding(row)) for row in told]
        return [_latest(windows), *learned, parents, subjects], candidates.in_order(found)

    def _put(self, state: pl.DataFrame, changes: list[pl.DataFrame]) -> pl.DataFrame:
        full = days.filled(changes, state)
        bound = keyed.GroupBound(OWNER, self.settings.max_keys_per_identity)
        return keyed.put(state, full, self.settings.max_keys, bound)

    def _measured(self, state: pl.DataFrame, windows: pl.DataFrame) -> pl.DataFrame:
        """A row a window and metric, with what is usual and its ``figure``."""
        start = pl.col("window") * int(self.settings.window_seconds * 1e6)
        long = pl.concat(
            windows.with_columns(
                metric=pl.concat_str(pl.lit(metric), ways.suffix()),
                total=metric,
                before=f"{metric}_before",
                floor=pl.lit(float(self.settings.floor(metric))),
                hour=usual.hour_of_week(start),
                log_total=pl.col(metric).log1p(),
            ).drop(*METRICS, *(f"{name}_before" for name in METRICS))
            for metric in METRICS
        )
        return usual.expected(state, long).with_columns(figure=_figure())

    def _told(
        self,
        rows_of: Callable[[pl.DataFrame], pl.DataFrame],
        measured: pl.DataFrame,
        peaks: pl.DataFrame,
    ) -> list[dict[str, Any]]:
        owner = (*OWNER, "metric")
        expected = candidates.expected(peaks, owner).with_columns(said="most_told")
        bits = extremes.bits(pl.col("figure"), pl.col("expected"), pl.col("expected_spread"))
        hot = measured.join(expected, on=owner, how="inner").filter(
            (pl.col("total") >= pl.col("floor"))
            & candidates.worth_a_look(bits, self.settings.min_bits)
        )
        if hot.is_empty():
            return []
        kept = hot.select(
            *owner, "window", "before", "floor", "usual", "usual_spread", "most", "said",
            *candidates.EXPECTED,
        )  # fmt: skip
        risen = (
            _owned(rows_of(kept))
            .join(kept, on=(*OWNER, "window"), how="inner", maintain_order="left")
            .with_columns(amount=pl.when(_OF_ROWS).then("rows").otherwise("bytes"))
            .with_columns(
                total=pl.col("before") + pl.col("amount").cum_sum().over(*owner, "window")
            )
            .with_columns(log_total=pl.col("total").log1p())
            .with_columns(figure=_figure())
            .with_columns(bits=bits)
            .with_columns(level=candidates.level(pl.col("bits")))
            .filter(
                (pl.col("level") >= self.settings.min_bits) & (pl.col("total") >= pl.col("floor"))
            )
            .filter(candidates.risen(owner))
        )
        return candidates.told(risen, owner, owner)

    def _finding(self, row: dict[str, Any]) -> Finding:
        who, seconds = row["identity"], self.settings.window_seconds
        metric = row["metric"].partition(" ")[0]
        start_us = int(row["window"] * seconds * 1e6)
        from_us = min(start_us, row["at_us"])  # a row that came late may be older
        known = "identity_name" if row["identity_name"] else "user_name"
        total = amount(metric, row["total"])
        normal = amount(metric, math.expm1(row["usual"]))
        most = amount(metric, math.expm1(row["most"]))
        suffix, history = candidates.history(row["history"])
        dumped = ways.SUFFIX[DUMP] if row[WAY] == DUMP else ""
        did = "changed" if row[WAY] == CHANGE else "took"
        score = round(max(row["bits"], 0.001), 3)
        return Finding(
            id=finding_id(row["at_us"], NAME, row["metric"], *(row[name] for name in SCOPE), who),
            kind=FindingKind.ANOMALY,
            detector=NAME,
            severity=Severity.HIGH if score >= NOTEWORTHY_BITS else Severity.MEDIUM,
            title=f"Unusual volume: {shortened(who)} {did} {total}",
            sentence=f"{shortened(who)} {did} {total} within {seconds:g} s{dumped}; "
            f"usual at this hour is {normal}, the most on earlier days was {most}{suffix}",
            at_us=row["at_us"],
            agent=row["agent"],
            cluster=row["cluster"],
            database=row["database"],
            user=row["user_name"],
            identity=who,
            object=row["metric"],
            score=score,
            evidence_sql=(
                "SELECT started_at, client_address, rows, bytes_sent, text FROM statements "
                f"WHERE {on_server(row)} "
                f"AND {known} = {literal(who)} AND database = {literal(row['database'])} "
                f"AND {ways.condition(row[WAY], changes_apart=True)} "
                f"AND {between('started_at', from_us, start_us + int(seconds * 1e6))} "
                f"ORDER BY {'rows' if metric == 'rows' else 'bytes_sent'} DESC LIMIT 100"
            ),
            statement_id=row["id"],
            details=(
                ("metric", metric),
                ("expected", f"{math.expm1(row['usual']):.0f}"),
                ("seen", f"{row['total']:.0f}"),
                ("unit", metric),
                ("most", f"{math.expm1(row['most']):.0f}"),
                ("usual_extreme_of_a_day", f"{math.expm1(row['expected']):.0f}"),
                ("window_seconds", f"{seconds:g}"),
                ("statements", str(row["id"])),
                *ways.detail(row[WAY]),
                *history,
            ),
        )


def _figure() -> pl.Expr:
    """Not the distance from the usual of the hour: of few windows that is known too badly, and a
    small export at an idle hour would be as far off as a large one at noon."""
    return pl.col("log_total")


def _taken(part: pl.DataFrame) -> pl.DataFrame:
    """Rows with their window and amounts."""
    kept = ("late", "segment", "seen_us", "identity_kind")
    return part.filter(~pl.col("late")).select(
        *SCOPE, *_ROW, *kept, ways.way(),
        today="day", window="tick", rows="rows_taken", bytes="bytes_taken",
    )  # fmt: skip


def _single(dated: Dated, rows: pl.DataFrame, hot: pl.DataFrame) -> pl.DataFrame:
    """Every row of the owners and windows that are ``hot``."""
    on = (*OWNER, "window")
    some = _owned(rows).join(hot.select(on), on=on, how="semi").rename({"window": alike.TICK})
    return _taken(dated.rows(some, _SINGLE).with_columns(alike.ONE))


def _owned(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(owner=ways.owner())


def _windows(state: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """A row an identity and window, in order of rows; the first goes on from the state's window.

    ``rows`` and ``bytes`` with what was ``before`` this batch; ``stored_window`` (null: none) with
    ``stored_rows`` and ``stored_bytes``; ``last``: no later window of the identity in the batch.
    """
    here = (*SCOPE, "identity", WAY)
    counted = (
        by_who(rows, WAY, "window")
        .agg(
            who_columns(),
            pl.col("identity_kind", "today").first(),
            pl.col("rows", "bytes").sum(),
            since_us=pl.col("at_us").first(),
            seen_us=pl.col("seen_us").max(),
        )
        .with_columns(
            owner=ways.owner(),
            group=ways.group(),
            item=pl.lit(WINDOW),
            number=pl.int_range(pl.len()).over(here),
            last=pl.int_range(pl.len(), 0, -1).over(here) == 1,
        )
        .drop("who")
        .rename({"window": "at_window", **{name: f"{name}_more" for name in METRICS}})
    )
    stored = keyed.get(state, counted, ["window", *METRICS]).rename(
        {name: f"stored_{name}" for name in ("window", *METRICS)}
    )
    goes_on = (pl.col("number") == 0) & (pl.col("stored_window") == pl.col("at_window"))
    before = [
        pl.when(goes_on).then(f"stored_{name}").otherwise(0.0).alias(f"{name}_before")
        for name in METRICS
    ]
    return (
        stored.with_columns(before)
        .with_columns(
            (pl.col(f"{name}_before") + pl.col(f"{name}_more")).alias(name) for name in METRICS
        )
        .rename({"at_window": "window"})
    )


_KEPT = (*OWNER, "group", WAY, "window", "today", "since_us", "seen_us", *METRICS)
_BEFORE = tuple(f"{name}_before" for name in METRICS)


def _open(windows: pl.DataFrame) -> pl.DataFrame:
    return windows.select(*_KEPT, *_BEFORE)


def _closed(windows: pl.DataFrame) -> pl.DataFrame:
    """Windows that are over: the stored one where a new one has begun, and all but the last."""
    ended = windows.filter(
        (pl.col("number") == 0)
        & pl.col("stored_window").is_not_null()
        & (pl.col("stored_window") != pl.col("window"))
    ).with_columns(window="stored_window", rows="stored_rows", bytes="stored_bytes")
    return _open(pl.concat([ended, windows.filter(~pl.col("last"))]))


def _latest(windows: pl.DataFrame) -> pl.DataFrame:
    return windows.filter("last").select(
        *OWNER, "window", *METRICS, item=pl.lit(WINDOW), day="today", last_us="seen_us"
    )


def _subjects(measured: pl.DataFrame) -> pl.DataFrame:
    usual, dumped = PRIOR.columns(), PRIOR_OF_DUMPS.columns()
    prior = {name: pl.when(_DUMPED).then(dumped[name]).otherwise(usual[name]) for name in usual}
    return (
        measured.group_by(*OWNER, "metric", maintain_order=True)
        .agg(
            pl.col("group", WAY, "today", "since_us").first(),
            pl.col("seen_us").max(),
            top=pl.col("figure").max(),
        )
        .with_columns(item=pl.concat_str(pl.lit("peak "), "metric"), **prior)
        .drop(WAY)
    )


_DUMPED = pl.col(WAY) == DUMP
_OF_ROWS = pl.col("metric").str.starts_with("rows")


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
