"""Slow drip: somebody takes a relation in many small pieces, for days.

Per identity and relation the rows of the last seven days are kept. Two things make a drip: days
that bring more than usual one after the other (a CUSUM over the logarithm of daily rows), and a
growing share of the relation (rows beyond the usual, against its size). How large a relation is
nobody tells the collector: the most rows that one statement of anybody took from it alone is the
estimate. The figure is compared with the extremes of the identity's days (``analytics.extremes``).

A day counts as little more than usual for what is usual, less so while the CUSUM is high. Dumps
have days of their own (``analytics.ways``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl

from analytics import alike, candidates, days, extremes, keyed, ways
from analytics.alike import Dated
from analytics.candidates import in_order, level, risen, shortened, told, worth_a_look
from analytics.extremes import KEY, Prior
from analytics.findings import DAY_US, between, finding_id, literal, on_server
from analytics.frames import SCOPE, succeeded, top_level
from analytics.ways import WAY
from model.finding import Finding, FindingKind

NAME = "slow_drip"
OWNER = (*SCOPE, "owner")
PEAK = "peak drip"
WEEK = 7
ROWS = [f"d{age}" for age in range(WEEK)]
"""Rows taken today, yesterday ..."""
VALUES = {
    **extremes.VALUES,
    **dict.fromkeys(ROWS, pl.Float64),
    "cusum": pl.Float64,
    "usual_sum": pl.Float64,
    "usual_days": pl.Float64,
}
DULL_RELATION = r"^(pg_catalog\.|information_schema\.|pg_toast\.|pg_temp|pg_)"
PRIOR_MEAN, PRIOR_SPREAD, LEAST_SPREAD = 5.0, 3.0, 0.5
"""Of the logarithm of daily rows."""
SLACK = 0.5
MOST_Z = 2.5
HIGH_CUSUM = 2.0
WINSOR, WINSOR_WHILE_HIGH = 2.0, 0.5
LEAST_SIZE = 10_000.0
"""Where nobody ever took more, a relation may well be as large as this: 1,000 rows are a page."""
MARGIN = 1.3
PART_THAT_COUNTS = 0.01
PRIOR = Prior(3.0, 2.0, 0.5)


@dataclass(frozen=True)
class SlowDripSettings:
    day_seconds: float = 86_400
    floor_rows: int = 1000
    """Fewer rows of a relation in seven days are never remarkable."""
    min_bits: float = 0.75
    max_keys: int = 400_000
    max_keys_per_identity: int = 20_000


@dataclass(frozen=True)
class SlowDrip:
    """Score: -log10 of the chance of such a CUSUM and share on a day of this identity."""

    settings: SlowDripSettings = SlowDripSettings()
    name: str = NAME

    def empty_state(self) -> pl.DataFrame:
        """Rows of an identity and relation: ``mean`` and ``spread`` are of log daily rows."""
        return keyed.empty(dict.fromkeys(KEY, pl.String), VALUES)

    def observe(
        self, state: pl.DataFrame, batch: pl.DataFrame
    ) -> tuple[pl.DataFrame, list[Finding]]:
        wanted = (
            top_level()
            & succeeded()
            & (pl.col("identity") != "")
            & pl.col("any_rows")
            & (pl.col("reads").list.len() > 0)
        )
        dated = alike.dated(batch, wanted, state, int(self.settings.day_seconds * 1e6))
        if dated.clocks is None:
            return state, []
        found: list[Finding] = []
        for part in dated.parts():
            changed, news = self._observe_day(state, dated, _reads(part))
            state = self._put(state, [*changed, dated.clocks])
            found += news
        return state, found

    def _observe_day(
        self, state: pl.DataFrame, dated: Dated, reads: pl.DataFrame
    ) -> tuple[list[pl.DataFrame], list[Finding]]:
        """Rows of the state that change, and what is new."""
        if reads.is_empty():
            return [], []
        sizes = _sizes(state, reads)
        pairs, pooled = _pairs(state, reads, sizes)
        peaks, parents = _peaks(state, pairs)
        chosen = self._told(lambda hot: _single(dated, reads, hot), pairs, peaks)
        after = pairs.with_columns(
            n_today=pl.col("n_today") + pl.col("statements"),
            d0=pl.col("d0") + pl.col("more"),
            last_us=pl.max_horizontal("last_us", "seen_us"),
        )
        changed = [
            candidates.with_said(after, chosen, (row["item"] for row in chosen)),
            *pooled,
            _sizes_after(sizes),
            candidates.with_told(peaks, chosen),
            parents,
        ]
        return changed, in_order((row["row"], self._finding(row)) for row in chosen)

    def _told(
        self,
        reads_of: Callable[[pl.DataFrame], pl.DataFrame],
        pairs: pl.DataFrame,
        peaks: pl.DataFrame,
    ) -> list[dict[str, Any]]:
        """What is said, by the very statements that make it so."""
        bits = extremes.bits(pl.col("figure"), pl.col("expected"), pl.col("expected_spread"))
        least, cause = self.settings.min_bits, (*OWNER, "item")
        enough = _week(pl.col("total")) >= self.settings.floor_rows
        known = (*OWNER, "item", "said", "cusum", "mean", "spread", "size", *ROWS,
                 "usual", "n_today")  # fmt: skip
        hot = (
            pairs.with_columns(total=pl.col("d0") + pl.col("more"))
            .join(candidates.expected(peaks), on=OWNER, how="left")
            .filter(enough & worth_a_look(bits, least))
        )
        if hot.is_empty():
            return []
        rows = (
            reads_of(hot)
            .filter(~pl.col("late"))
            .join(
                hot.select(*known, *candidates.EXPECTED), on=cause, how="inner",
                maintain_order="left",
            )
            .with_columns(
                total=pl.col("d0") + pl.col("rows").cum_sum().over(cause),
                times=pl.col("n_today") + pl.int_range(1, pl.len() + 1).over(cause),
            )
            .with_columns(figure=_figure(pl.col("total")))
            .with_columns(bits=bits)
            .with_columns(level=level(pl.col("bits")))
            .filter(enough & (pl.col("level") >= least))
            .filter(risen(cause))
        )  # fmt: skip
        return told(rows, cause, OWNER)

    def _put(self, state: pl.DataFrame, parts: list[pl.DataFrame]) -> pl.DataFrame:
        rows = days.filled(parts, state)
        bound = keyed.GroupBound(OWNER, self.settings.max_keys_per_identity)
        return keyed.put(state, rows, self.settings.max_keys, bound)

    def _finding(self, row: dict[str, Any]) -> Finding:
        who, relation = row["identity"], row["relation"]
        week = row["total"] + sum(row[name] for name in ROWS[1:])
        active = 1 + sum(row[name] > 0 for name in ROWS[1:])
        share, each = min(1.0, week / row["size"]), row["total"] / row["times"]
        suffix, history = candidates.history(row["history"])
        known = "identity_name" if row["identity_name"] else "user_name"
        score = round(max(row["bits"], 0.001), 3)
        end_us = (row["at_us"] // DAY_US + 1) * DAY_US
        name = shortened(relation)
        by = ways.SUFFIX[row[WAY]]
        return Finding(
            id=finding_id(row["at_us"], NAME, *(row[n] for n in SCOPE), who + by, relation),
            kind=FindingKind.ANOMALY,
            detector=NAME,
            severity=candidates.severity(score),
            title=f"Slow drip: {shortened(who)} from {name}",
            sentence=f"{shortened(who)} took {week:,.0f} rows of {name}{by} in {active} of the "
            f"last {WEEK} days, {share:.2g} of its size as far as known, {each:,.1f} rows a query; "
            f"usual {WEEK * row['usual']:,.0f}{suffix}",
            at_us=row["at_us"],
            agent=row["agent"],
            cluster=row["cluster"],
            database=row["database"],
            user=row["user_name"],
            identity=who,
            object=relation,
            score=score,
            evidence_sql=(
                "SELECT started_at, client_address, rows, text FROM statements "
                f"WHERE {on_server(row)} "
                f"AND {known} = {literal(who)} AND database = {literal(row['database'])} "
                f"AND list_contains(reads, {literal(relation)}) "
                f"AND {ways.condition(row[WAY])} "
                f"AND {between('started_at', end_us - WEEK * DAY_US, end_us)} "
                "ORDER BY started_at LIMIT 500"
            ),
            statement_id=row["id"],
            details=(
                ("expected", f"{WEEK * row['usual']:.0f}"),
                ("seen", f"{week:.0f}"),
                ("unit", "rows in seven days"),
                ("size", f"{row['size']:.0f}"),
                ("share", f"{share:.4f}"),
                ("share_of_a_query", f"{min(1.0, each / row['size']):.5f}"),
                ("rows_today", f"{row['total']:.0f}"),
                ("cusum", f"{row['cusum']:.2f}"),
                ("window_seconds", str(WEEK * 86_400)),
                ("statements", str(row["id"])),
                *ways.detail(row[WAY]),
                *history,
            ),
        )


def _week(today: pl.Expr) -> pl.Expr:
    return today + pl.sum_horizontal(ROWS[1:])


def _z(today: pl.Expr) -> pl.Expr:
    return ((today.log1p() - pl.col("mean")) / pl.col("spread")).clip(-MOST_Z, MOST_Z)


def _figure(today: pl.Expr) -> pl.Expr:
    """CUSUM with today's rows, plus the logarithm of the share beyond what is usual."""
    usual = MARGIN * WEEK * pl.col("usual")
    taken, before = ((rows / pl.col("size")).clip(0.0, 1.0) for rows in (_week(today), usual))
    # Who goes through the whole relation every week takes nothing more by going through it again.
    share = (taken - before).clip(lower_bound=0)
    cusum = (pl.col("cusum") + _z(today) - SLACK).clip(lower_bound=0)
    return cusum + (share / PART_THAT_COUNTS).log1p()


def _single(dated: Dated, reads: pl.DataFrame, hot: pl.DataFrame) -> pl.DataFrame:
    """Every read of the identities and relations that are ``hot``."""
    on = (*OWNER, "item")
    some = reads.join(hot.select(on), on=on, how="semi")
    return _reads(dated.rows(some, _SINGLE).with_columns(alike.ONE))


_SINGLE = (
    *SCOPE, *alike.OF_ONE, "row", "id", "alike", "identity", "identity_name", "identity_kind",
    "user_name", "reads", "application_name",
)  # fmt: skip


def _reads(rows: pl.DataFrame) -> pl.DataFrame:
    """A row for all statements that are alike and a relation that they read."""
    return (
        rows.with_columns(ways.dump_or_not())
        .select(
            *SCOPE, "row", "at_us", "seen_us", "times", "day", "late", "segment", "alike", "id",
            "most_rows", "identity", "identity_name", "user_name", WAY,
            owner=ways.owner(),
            group=ways.group(),
            rows="rows_taken",
            alone=pl.col("reads").list.len() == 1,
            relation="reads",
        )
        .explode("relation", empty_as_null=True)
        .filter(pl.col("relation").is_not_null() & ~pl.col("relation").str.contains(DULL_RELATION))
        .with_columns(item=pl.concat_str(pl.lit("> "), "relation"))
    )  # fmt: skip


def _sizes(state: pl.DataFrame, reads: pl.DataFrame) -> pl.DataFrame:
    """Of each relation the ``size`` as known at the start of the day, and today's ``largest``."""
    keys = (
        reads.group_by(*SCOPE, "relation")
        .agg(
            today=pl.col("day").first(),
            seen_us=pl.col("seen_us").max(),
            largest=pl.when("alone").then("most_rows").otherwise(0.0).max(),
        )
        .with_columns(owner=pl.lit("*"), item=pl.concat_str(pl.lit("size "), "relation"))
    )
    known = extremes.known(state, keys)
    new = pl.col("today") > pl.col("day").fill_null(-1)
    so_far = pl.when(new).then(pl.max_horizontal("mean", "peak")).otherwise("mean")
    return known.with_columns(
        mean=so_far, peak=pl.when(new).then(0.0).otherwise("peak"), day="today"
    ).with_columns(size=pl.col("mean").clip(lower_bound=LEAST_SIZE))


def _sizes_after(sizes: pl.DataFrame) -> pl.DataFrame:
    return sizes.with_columns(
        peak=pl.max_horizontal("peak", "largest"),
        last_us=pl.max_horizontal("last_us", "seen_us"),
    )


def _pairs(
    state: pl.DataFrame, reads: pl.DataFrame, sizes: pl.DataFrame
) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """Identities and relations as at the start of the day, with ``more`` of this batch."""
    keys = reads.group_by(*OWNER, "item", "relation").agg(
        pl.col("group").first(),
        today=pl.col("day").first(),
        since_us=pl.col("at_us").first(),
        seen_us=pl.col("seen_us").max(),
        more=pl.col("rows").sum(),
        statements=pl.col("times").sum().cast(pl.Float64),
    )
    own = extremes.known(state, keys)
    current, stale = extremes.by_day(own)
    pooled: list[pl.DataFrame] = []
    if not stale.is_empty():
        renewed, pooled = _new_day(state, stale)
        current = pl.concat([current, renewed.select(current.columns)])
    usual = pl.col("usual_sum") / (pl.col("usual_days") + 1)
    pairs = current.join(
        sizes.select(*SCOPE, "relation", "size"), on=(*SCOPE, "relation"), how="left"
    ).with_columns(usual=usual)
    return pairs.with_columns(figure=_figure(pl.col("d0") + pl.col("more"))), pooled


def _new_day(state: pl.DataFrame, stale: pl.DataFrame) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """Yesterday's rows go into what is usual; the levels above learn of them."""
    ended = stale["day"].is_not_null().cast(pl.Float64)
    cusum = (pl.col("cusum") + _z(pl.col("d0")) - SLACK).clip(lower_bound=0)
    first = pl.when(pl.col("day").is_null()).then(_days_of_owner(state, stale)).otherwise("n")
    yesterday = stale.with_columns(
        n=first,
        one=ended,
        age=(pl.col("today") - pl.col("day")).fill_null(0),
        raised=pl.when(ended > 0).then(cusum).otherwise(0.0),
    )
    margin = pl.when(pl.col("raised") > HIGH_CUSUM).then(WINSOR_WHILE_HIGH).otherwise(WINSOR)
    limit = pl.col("mean") + margin * pl.col("spread")
    log_rows = pl.min_horizontal(pl.col("d0").log1p(), limit)
    worth = yesterday.with_columns(worth=log_rows * pl.col("one"))
    added = {
        "n_today": pl.col("one"),
        "sum_today": pl.col("worth"),
        "sq_today": pl.col("worth") ** 2,
    }
    merged = extremes.rolled(worth.with_columns(**added))
    levels = _levels(state, worth)
    mean = pl.repeat(PRIOR_MEAN, stale.height, eager=True)
    second = mean**2 + PRIOR_SPREAD**2
    for of in reversed(levels):
        weight = of["n"] + extremes.WEIGHT
        mean = (of["sum"] + extremes.WEIGHT * mean) / weight
        second = (of["sq"] + extremes.WEIGHT * second) / weight
    known_days = pl.col("n") + extremes.WEIGHT
    variance = (pl.col("second") - pl.col("mean") ** 2).clip(lower_bound=0) * (1 + 1 / known_days)
    renewed = (
        merged.with_columns(
            *_shifted(),
            day=pl.col("today"),
            n_today=pl.lit(0.0),
            cusum=(
                pl.col("one") * (pl.col("raised") - SLACK * (pl.col("age") - 1))
            ).clip(lower_bound=0),
            usual_sum=(pl.col("usual_sum") + pl.col("worth").exp() * pl.col("one"))
            * extremes.fade_by("age"),
            usual_days=(pl.col("usual_days") + pl.col("age")) * extremes.fade_by("age"),
            mean=(pl.col("sum") + extremes.WEIGHT * mean) / known_days,
            second=(pl.col("sq") + extremes.WEIGHT * second) / known_days,
        )
        .with_columns(spread=variance.sqrt().clip(lower_bound=LEAST_SPREAD))
    )  # fmt: skip
    told_above = worth.select("since_us", **added).with_columns(stale=ended > 0)
    return renewed, [extremes.pushed(of, told_above) for of in levels]


def _days_of_owner(state: pl.DataFrame, rows: pl.DataFrame) -> pl.Series:
    """Days on which the identity was there, and read none of a relation that is new to it."""
    keys = rows.select(*OWNER, "today", item=pl.lit(PEAK))
    known = keyed.get(state, keys, ["day", "n"])
    # Its row may be of an earlier day still, which is over: as many whoever came first today.
    ended = (pl.col("n") + 1) * extremes.fade()
    days_before = pl.when(pl.col("today") > pl.col("day")).then(ended).otherwise("n")
    return known.select(days_before.fill_null(0.0)).to_series()


def _levels(state: pl.DataFrame, rows: pl.DataFrame) -> list[pl.DataFrame]:
    """What is known of log daily rows of the identity whatever the relation, and of all above."""
    whatever = rows.with_columns(item=pl.lit("rows"))
    return extremes.levels(state, [whatever.select(*KEY, "today"), *extremes.above(whatever)])


def _shifted() -> list[pl.Expr]:
    """Rows of the last days, one or more days later."""
    shifted = [pl.when(pl.col("age") > 0).then(0.0).otherwise("d0").alias("d0")]
    for place in range(1, WEEK):
        rows = pl.lit(0.0)
        for age in range(place + 1):
            rows = pl.when(pl.col("age") == age).then(f"d{place - age}").otherwise(rows)
        shifted.append(rows.alias(f"d{place}"))
    return shifted


def _peaks(state: pl.DataFrame, pairs: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    subjects = (
        pairs.sort("since_us")
        .group_by(OWNER)
        .agg(
            pl.col("group", "today", "since_us").first(),
            seen_us=pl.col("seen_us").max(),
            top=pl.col("figure").max(),
        )
        .with_columns(item=pl.lit(PEAK), **PRIOR.columns())
    )
    return extremes.baselines(state, subjects)
