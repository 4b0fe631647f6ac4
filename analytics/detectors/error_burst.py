"""Error burst: more errors of one class in a window than the identity's own past explains.

Counts in a window are Poisson with a Gamma-distributed rate, learnt from past days that fade and
from what the identity's peers do. The predictive tail is negative binomial; its Chernoff bound
needs no special functions and is never smaller than the tail, so an alarm is never due to the
bound. What such a tail is worth, the worst windows of earlier days say (``analytics.extremes``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl

from analytics import alike, candidates, days, extremes, keyed
from analytics.alike import Dated
from analytics.candidates import shortened
from analytics.extremes import KEY, Prior
from analytics.findings import CLAIMED, between, finding_id, literal, on_server
from analytics.frames import SCOPE, by_who, top_level, who_columns
from model.finding import Finding, FindingKind
from model.verdict import Severity

NAME = "error_burst"
OWNER = KEY[:-1]
WINDOW = (*OWNER, "error_class", "window")
PRIOR_ERRORS = 0.5
PRIOR_DAYS = 0.1
PEER_DAYS = 1.0
"""The group's rate counts as so many days of the identity's own."""
PRIOR = Prior(1.4, 0.6, 0.25)
"""Of a day's worst ``figure``: a few errors come on most days."""
VALUES = {**extremes.VALUES, "window": pl.Int64, "now": pl.Float64}
QUIET_CLASSES = ("", "00", "01", "02")
# 42 is "syntax or access rule": refused access is a signal of its own, a typing error is not.
LOGIN_STATES = ("28P01", "28000")
OWN_CLASS = {"42501": "permission denied", "28P01": "failed login", "28000": "refused login"}
CLASS_NAMES = {
    "08": "connection errors",
    "22": "data exceptions",
    "23": "constraint violations",
    "25": "invalid transaction states",
    "28": "authorization errors",
    "40": "transaction rollbacks",
    "42": "syntax or access errors",
    "53": "out of resources",
    "54": "limits exceeded",
    "57": "cancelled or shut down",
    "58": "system errors",
    "XX": "internal errors",
}
_ROW = (
    "row", "at_us", "seen_us", "times", "id", "late", "segment", "alike", "tick", "identity",
    "identity_name", "user_name",
)  # fmt: skip


@dataclass(frozen=True)
class ErrorBurstSettings:
    window_seconds: float = 60
    floor: int = 3
    """Fewer errors in a window are never a burst."""
    min_bits: float = 1.0
    day_seconds: float = 86_400
    max_keys: int = 100_000
    max_keys_per_identity: int = 500


@dataclass(frozen=True)
class ErrorBurst:
    """Score: -log10 of the chance that a day of this identity has as bad a window."""

    settings: ErrorBurstSettings = ErrorBurstSettings()
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
        dated = alike.dated(batch, wanted, state, day_us, window_us, by_tick=_failed())
        if dated.clocks is None:
            return state, []
        changes = [dated.clocks]
        found: list[Finding] = []
        for part in dated.parts():
            changed, news = self._observe_day(state, dated, part)
            state = self._put(state, [*changes, *changed])
            found, changes = found + news, []
        return state, found

    def _observe_day(
        self, state: pl.DataFrame, dated: Dated, part: pl.DataFrame
    ) -> tuple[list[pl.DataFrame], list[Finding]]:
        """Rows of the state that change, and what is new."""
        peaks, parents = extremes.baselines(state, _subjects(part))
        errors = self._errors(part)
        told: list[dict[str, Any]] = []
        peaks = peaks.with_columns(top=0.0)
        changes = [parents]
        if not errors.is_empty():
            windows = self._windows(state, errors, peaks)
            told = self._told(lambda hot: self._single(dated, errors, hot), windows, peaks)
            tops = windows.filter(pl.col("window") >= 0).group_by(OWNER).agg(
                top=pl.col("figure").max()
            )  # fmt: skip
            peaks = peaks.drop("top").join(tops, on=OWNER, how="left").with_columns(
                pl.col("top").fill_null(0.0)
            )  # fmt: skip
            changes.append(_classes_after(windows, self._most, told))
            changes.append(_groups_after(state, windows, self._most))
        changes.append(candidates.with_told(peaks, told, OWNER))
        return changes, [self._finding(row) for row in told]

    def _put(self, state: pl.DataFrame, changes: list[pl.DataFrame]) -> pl.DataFrame:
        full = days.filled(changes, state)
        bound = keyed.GroupBound(OWNER, self.settings.max_keys_per_identity)
        return keyed.put(state, full, self.settings.max_keys, bound)

    @property
    def _most(self) -> float:
        """A window counts as no more errors than this: a burst must not become normal."""
        return 10.0

    @property
    def _windows_a_day(self) -> float:
        return self.settings.day_seconds / self.settings.window_seconds

    def _errors(self, part: pl.DataFrame) -> pl.DataFrame:
        """Rows of errors with OWNER, class and window (-1: too late to be of any)."""
        code = pl.col("sqlstate")
        error_class = pl.when(code.is_in(list(OWN_CLASS))).then(code).otherwise(code.str.head(2))
        failed = part.filter(_failed())
        return failed.select(
            *SCOPE,
            *_ROW,
            owner=pl.concat_str(pl.lit("="), "identity"),
            group=pl.concat_str(pl.lit("~"), "identity_kind"),
            error_class=error_class,
            today="day",
            window=pl.when("late").then(-1).otherwise("tick"),
        ).filter(~pl.col("error_class").is_in(QUIET_CLASSES))

    def _single(self, dated: Dated, errors: pl.DataFrame, hot: pl.DataFrame) -> pl.DataFrame:
        """Every error of the classes and windows that are ``hot``."""
        some = errors.join(hot.select(WINDOW), on=WINDOW, how="semi")
        return self._errors(dated.rows(some).with_columns(alike.ONE))

    def _windows(
        self, state: pl.DataFrame, errors: pl.DataFrame, peaks: pl.DataFrame
    ) -> pl.DataFrame:
        """A row a class and window: errors ``before`` this batch and in ``total``; their rate."""
        counted = (
            errors.group_by(WINDOW, maintain_order=True)
            .agg(
                pl.col("group", "today").first(),
                seen_us=pl.col("seen_us").max(),
                more=pl.col("times").sum().cast(pl.Float64),
            )
            .rename({"window": "at_window"})
            .with_columns(item=pl.concat_str(pl.lit("class "), "error_class"))
        )
        own = extremes.rolled(extremes.known(state, counted))
        group = counted.select("agent", "cluster", "database", "item", "today", owner="group")
        member = group.with_columns(item=pl.lit("peak"))
        theirs, members = extremes.levels(state, [group, member])
        peer_rate = (theirs["n"] + PRIOR_ERRORS * PRIOR_DAYS) / (members["n"] + PRIOR_DAYS)
        history = peaks.select(*OWNER, history="n")
        there = pl.col("window") == pl.col("at_window")
        return (
            own.with_columns(peer_rate.alias("peer_rate"))
            .join(history, on=OWNER, how="left", maintain_order="left")
            .with_columns(
                before=pl.when(there).then("now").otherwise(0.0),
                r=PRIOR_ERRORS + pl.col("n") + PEER_DAYS * pl.col("peer_rate"),
                exposure=(pl.col("history") + PEER_DAYS) * self._windows_a_day + 1,
            )
            .with_columns(
                total=pl.col("before") + pl.col("more"),
                mean=pl.col("r") / pl.col("exposure"),
                last_window="window",
                window="at_window",
            )
            .with_columns(figure=_surprise(pl.col("total")).log1p())
        )

    def _told(
        self,
        rows_of: Callable[[pl.DataFrame], pl.DataFrame],
        windows: pl.DataFrame,
        peaks: pl.DataFrame,
    ) -> list[dict[str, Any]]:
        bits = extremes.bits(pl.col("figure"), pl.col("expected"), pl.col("expected_spread"))
        least = self.settings.min_bits
        hot = (
            windows.drop("history")
            .join(candidates.expected(peaks), on=OWNER, how="inner")
            .filter((pl.col("window") >= 0) & (pl.col("total") >= self.settings.floor))
            .filter(candidates.worth_a_look(bits, least))
        )
        if hot.is_empty():
            return []
        kept = hot.select(*WINDOW, "before", "r", "mean", "said", *candidates.EXPECTED)
        cause = (*OWNER, "error_class")
        risen = (
            rows_of(kept)
            .join(kept, on=WINDOW, how="inner", maintain_order="left")
            .with_columns(total=pl.col("before") + pl.int_range(1, pl.len() + 1).over(WINDOW))
            .with_columns(figure=_surprise(pl.col("total")).log1p())
            .with_columns(bits=bits)
            .with_columns(level=candidates.level(pl.col("bits")))
            .filter((pl.col("level") >= least) & (pl.col("total") >= self.settings.floor))
            .filter(candidates.risen(cause))
        )
        return candidates.told(risen, cause, OWNER)

    def _finding(self, row: dict[str, Any]) -> Finding:
        who, code = row["identity"], row["error_class"]
        what = OWN_CLASS.get(code) or CLASS_NAMES.get(code) or f"errors of class {code}"
        seconds, count = self.settings.window_seconds, int(row["total"])
        start_us = int(row["window"] * seconds * 1e6)
        from_us = min(start_us, row["at_us"])  # a row that came late may be older
        known = "identity_name" if row["identity_name"] else "user_name"
        suffix, history = candidates.history(row["history"])
        score = round(max(row["bits"], 0.001), 3)
        return Finding(
            id=finding_id(row["at_us"], NAME, *(row[name] for name in SCOPE), who, code),
            kind=FindingKind.ANOMALY,
            detector=NAME,
            severity=Severity.HIGH if code in OWN_CLASS else Severity.MEDIUM,
            title=f"Error burst: {what} by {shortened(who)}",
            sentence=f"{count} x {what} by {shortened(who)} within {seconds:g} s "
            f"(expected {row['mean']:.2g}){suffix}",
            at_us=row["at_us"],
            agent=row["agent"],
            cluster=row["cluster"],
            database=row["database"],
            user=row["user_name"],
            identity=who,
            object=code,
            score=score,
            evidence_sql=(
                "SELECT started_at, application_name, client_address, sqlstate, error_message, "
                f"text FROM statements WHERE {on_server(row)} AND {known} = {literal(who)} "
                f"AND database = {literal(row['database'])} "
                f"AND starts_with(sqlstate, {literal(code)}) "
                f"AND {between('started_at', from_us, start_us + int(seconds * 1e6))} "
                "ORDER BY started_at LIMIT 100"
            ),
            statement_id=row["id"],
            details=(
                ("expected", f"{row['mean']:.4g}"),
                ("seen", str(count)),
                ("unit", "errors"),
                ("tail", _power(row["figure"])),
                ("usual_extreme_of_a_day", _power(row["expected"])),
                ("window_seconds", f"{seconds:g}"),
                ("statements", str(row["id"])),
                *((CLAIMED,) if code in LOGIN_STATES else ()),
                *history,
            ),
        )


def _failed() -> pl.Expr:
    return ~pl.col("sqlstate").is_in(("", "00000"))


def _power(figure: float) -> str:
    """
    >>> _power(math.log1p(math.log(1000)))
    '1e-3.0'
    """
    return f"1e-{math.expm1(figure) / math.log(10):.1f}"


def _subjects(part: pl.DataFrame) -> pl.DataFrame:
    """Everybody who is there, errors or not: a day without errors counts too."""
    there = by_who(part).agg(
        who_columns(),
        pl.col("identity_kind").first(),
        today=pl.col("day").first(),
        since_us=pl.col("at_us").first(),
        seen_us=pl.col("seen_us").max(),
    )
    return there.with_columns(
        owner=pl.concat_str(pl.lit("="), "identity"),
        group=pl.concat_str(pl.lit("~"), "identity_kind"),
        item=pl.lit("peak"),
        **PRIOR.columns(),
    )


def _added(most: float) -> pl.Expr:
    """What a window adds to the past; of late rows all."""
    capped = pl.col("total").clip(upper_bound=most) - pl.col("before").clip(upper_bound=most)
    return pl.when(pl.col("window") < 0).then("more").otherwise(capped)


def _classes_after(windows: pl.DataFrame, most: float, told: list[dict[str, Any]]) -> pl.DataFrame:
    prompt = pl.col("window") >= 0
    after = windows.group_by(KEY).agg(
        pl.col("day", "n", "said").first(),
        n_today=pl.col("n_today").first() + _added(most).sum(),
        now=pl.when(prompt.any())
        .then(pl.col("total").sort_by("window").last())
        .otherwise(pl.col("now").first()),
        window=pl.max_horizontal(pl.col("last_window").first(), pl.col("window").max()),
        last_us=pl.max_horizontal(pl.col("last_us").first(), pl.col("seen_us").max()),
    )
    return candidates.with_said(after, told, (f"class {row['error_class']}" for row in told))


def _groups_after(state: pl.DataFrame, windows: pl.DataFrame, most: float) -> pl.DataFrame:
    more = (
        windows.with_columns(owner="group", added=_added(most))
        .group_by(KEY)
        .agg(pl.col("today").max(), seen=pl.col("seen_us").max(), added=pl.col("added").sum())
    )
    rolled = extremes.rolled(extremes.known(state, more))
    return rolled.select(
        *KEY,
        "day",
        "n",
        n_today=pl.col("n_today") + pl.col("added"),
        last_us=pl.max_horizontal("last_us", "seen"),
    )


def _surprise(n: pl.Expr) -> pl.Expr:
    """Chernoff exponent of P(N >= n), N negative binomial of size ``r`` and this mean."""
    r, mean = pl.col("r"), pl.col("mean")
    exponent = n * (n / mean).log(math.e) - (n + r) * ((n + r) / (mean + r)).log(math.e)
    return pl.when(n > mean).then(exponent).otherwise(0.0)
