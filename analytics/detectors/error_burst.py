"""Error burst: more errors of one class in a window than the user's own past explains.

Counts in a window are Poisson with a Gamma-distributed rate, learnt from past windows that decay
with ``memory_seconds``. The predictive tail is negative binomial; its Chernoff bound needs no
special functions and is never smaller than the tail, so an alarm is never due to the bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import polars as pl

from analytics.findings import between, finding_id, literal
from analytics.frames import SCOPE, keep_latest, prepare, top_level
from model.finding import Finding, FindingKind
from model.verdict import Severity

NAME = "error_burst"
KEY = (*SCOPE, "user_name", "error_class")
PRIOR_ERRORS = 0.5
PRIOR_WINDOWS = 1.0
QUIET_CLASSES = ("", "00", "01", "02")
# 42 is "syntax or access rule": refused access is a signal of its own, a typing error is not.
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
SAFE_EXPONENT = 600.0


@dataclass(frozen=True)
class ErrorBurstSettings:
    window_seconds: float = 60
    floor: int = 10
    """Fewer errors in a window are never a burst."""
    memory_seconds: float = 7 * 86_400
    min_score: float = 14.0
    """-log of the tail probability: one window in a million."""
    max_keys: int = 50_000


@dataclass(frozen=True)
class ErrorBurst:
    """Score: -log of (a bound of) the chance of as many errors in this window."""

    settings: ErrorBurstSettings = ErrorBurstSettings()
    name: str = NAME

    def empty_state(self) -> pl.DataFrame:
        """One row a (user, class): ``past`` decayed to the start of ``window``; ``now`` in it.

        Class '' is the user, whose ``first_window`` is where observation began.
        """
        return pl.DataFrame(
            schema={
                **dict.fromkeys(KEY, pl.String),
                "first_window": pl.Int64,
                "window": pl.Int64,
                "past": pl.Float64,
                "now": pl.Int64,
                "last_us": pl.Int64,
            }
        )

    def observe(
        self, state: pl.DataFrame, batch: pl.DataFrame
    ) -> tuple[pl.DataFrame, list[Finding]]:
        statements = self._classified(batch)
        if statements.is_empty():
            return state, []
        users = self._users(state, statements)
        errors = statements.filter(~pl.col("error_class").is_in(QUIET_CLASSES))
        known = state.filter(pl.col("error_class") != "")
        if errors.is_empty():
            after = pl.concat([users.select(state.columns), known])
            return keep_latest(after, self.settings.max_keys, KEY), []
        windows = self._windows(known, errors)
        findings = self._bursts(known, windows, errors, users)
        after = pl.concat([users.select(state.columns), self._latest(known, windows, errors)])
        return keep_latest(after, self.settings.max_keys, KEY), findings

    def _classified(self, batch: pl.DataFrame) -> pl.DataFrame:
        code = pl.col("sqlstate")
        window_us = int(self.settings.window_seconds * 1e6)
        return (
            prepare(batch)
            .filter(top_level())
            .with_columns(
                error_class=pl.when(code.is_in(list(OWN_CLASS)))
                .then(code)
                .otherwise(code.str.slice(0, 2)),
                window=pl.col("at_us") // window_us,
            )
        )

    def _users(self, state: pl.DataFrame, statements: pl.DataFrame) -> pl.DataFrame:
        """The state's rows of class '', with the users of this batch."""
        user = KEY[:-1]
        met = statements.group_by(user).agg(
            error_class=pl.lit(""),
            first_window=pl.col("window").first(),
            window=pl.col("window").max(),
            past=pl.lit(0.0),
            now=pl.lit(0, dtype=pl.Int64),
            last_us=pl.col("at_us").max(),
        )
        known = state.filter(pl.col("error_class") == "")
        return (
            pl.concat([known, met.select(state.columns)])
            .group_by(KEY, maintain_order=True)
            .agg(
                pl.col("first_window").first(),
                pl.col("window").max(),
                pl.lit(0.0).alias("past"),
                pl.lit(0, dtype=pl.Int64).alias("now"),
                pl.col("last_us").max(),
            )
        )

    def _windows(self, known: pl.DataFrame, errors: pl.DataFrame) -> pl.DataFrame:
        """A row a (key, window) with errors in it: ``n`` in it, ``past`` decayed to its start.

        Past windows count at most ``4 * floor`` errors each: a burst must not become normal.
        """
        touched = known.join(errors.select(KEY).unique(), on=KEY, how="semi")
        counts = pl.concat(
            [
                touched.select(*KEY, "window", "past", n="now"),
                errors.group_by(*KEY, "window").agg(n=pl.len().cast(pl.Int64)).select(
                    *KEY, "window", pl.lit(0.0).alias("past"), "n"
                ),
            ]
        ).group_by(*KEY, "window").agg(pl.col("past").sum(), pl.col("n").sum())  # fmt: skip
        age = (pl.col("window") - pl.col("window").min().over(KEY)) * self._decay()
        growth = age.clip(upper_bound=SAFE_EXPONENT).exp()
        worth = pl.col("n").clip(upper_bound=4 * self.settings.floor) + pl.col("past")
        return (
            counts.sort(*KEY, "window")
            .with_columns(growth=growth)
            .with_columns(carried=(worth * pl.col("growth")).cum_sum().over(KEY))
            .with_columns(
                past=(pl.col("carried").shift(1, fill_value=0).over(KEY) / pl.col("growth"))
                + pl.col("past")
            )
            .select(*KEY, "window", "n", "past")
        )

    def _bursts(
        self,
        known: pl.DataFrame,
        windows: pl.DataFrame,
        errors: pl.DataFrame,
        users: pl.DataFrame,
    ) -> list[Finding]:
        since = users.select(*KEY[:-1], "first_window")
        before = known.select(*KEY, "window", before="now")
        counted = (
            errors.join(before, on=(*KEY, "window"), how="left", maintain_order="left")
            .with_columns(
                n=pl.col("before").fill_null(0) + pl.int_range(1, pl.len() + 1).over(*KEY, "window")
            )
            .filter(pl.col("n") >= self.settings.floor)
        )
        if counted.is_empty():
            return []
        scored = (
            counted.join(windows.drop("n"), on=(*KEY, "window"), how="left", maintain_order="left")
            .join(since, on=KEY[:-1], how="left", maintain_order="left")
            .with_columns(r=PRIOR_ERRORS + pl.col("past"), windows=self._exposure())
            .with_columns(expected=pl.col("r") / pl.col("windows"))
        )
        floor, limit = self.settings.floor, self.settings.min_score
        due = scored.with_columns(score=_surprise(pl.col("n"))).filter(
            (pl.col("score") >= limit)
            # Its predecessor was not yet a burst: a window raises its voice once.
            & ((pl.col("n") == floor) | (_surprise(pl.col("n") - 1) < limit))
        )
        return [self._finding(row) for row in due.iter_rows(named=True)]

    def _decay(self) -> float:
        return self.settings.window_seconds / self.settings.memory_seconds

    def _exposure(self) -> pl.Expr:
        """Decayed number of windows that were watched before this one."""
        rate = self._decay()
        watched = (pl.col("window") - pl.col("first_window")).clip(lower_bound=0)
        return PRIOR_WINDOWS + (1 - (-rate * watched).exp()) * (
            math.exp(-rate) / (1 - math.exp(-rate))
        )

    def _latest(
        self, known: pl.DataFrame, windows: pl.DataFrame, errors: pl.DataFrame
    ) -> pl.DataFrame:
        seen = errors.group_by(KEY).agg(
            first_new=pl.col("window").first(), last_new=pl.col("at_us").max()
        )
        fresh = (
            windows.group_by(KEY, maintain_order=True)
            .agg(pl.col("window", "past").last(), now=pl.col("n").last())
            .join(seen, on=KEY, how="left")
            .join(known.select(*KEY, "first_window", "last_us"), on=KEY, how="left")
            .select(
                *KEY,
                pl.coalesce("first_window", "first_new").alias("first_window"),
                "window",
                "past",
                "now",
                pl.max_horizontal("last_us", "last_new").alias("last_us"),
            )
        )
        return pl.concat([known.join(fresh.select(KEY), on=KEY, how="anti"), fresh])

    def _finding(self, row: dict[str, Any]) -> Finding:
        user, code = row["user_name"], row["error_class"]
        what = OWN_CLASS.get(code) or CLASS_NAMES.get(code) or f"errors of class {code}"
        seconds = self.settings.window_seconds
        start_us = int(row["window"] * seconds * 1e6)
        return Finding(
            id=finding_id(row["at_us"], NAME, *(row[name] for name in KEY)),
            kind=FindingKind.ANOMALY,
            detector=NAME,
            severity=Severity.HIGH if code in OWN_CLASS else Severity.MEDIUM,
            title=f"Error burst: {what} by {user}",
            sentence=f"{row['n']} x {what} by {user} within {seconds:g} s "
            f"(expected {row['expected']:.2g})",
            at_us=row["at_us"],
            agent=row["agent"],
            cluster=row["cluster"],
            database=row["database"],
            user=user,
            identity=row["identity"],
            object=code,
            score=round(row["score"], 3),
            evidence_sql=(
                "SELECT started_at, application_name, client_address, sqlstate, error_message, "
                f"text FROM statements WHERE user_name = {literal(user)} "
                f"AND database = {literal(row['database'])} "
                f"AND starts_with(sqlstate, {literal(code)}) "
                f"AND {between('started_at', start_us, start_us + int(seconds * 1e6))} "
                "ORDER BY started_at LIMIT 100"
            ),
            statement_id=row["id"],
            details=(("errors", str(row["n"])), ("expected", f"{row['expected']:.4g}")),
        )


def _surprise(n: pl.Expr) -> pl.Expr:
    """Chernoff exponent of P(N >= n), N negative binomial of size ``r``, mean ``expected``."""
    r, mean = pl.col("r"), pl.col("expected")
    exponent = n * (n / mean).log(math.e) - (n + r) * ((n + r) / (mean + r)).log(math.e)
    return pl.when(n > mean).then(exponent).otherwise(0.0)
