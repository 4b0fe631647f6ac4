"""Harvest: within an hour somebody takes results as large as they hardly ever take, from one
relation after the other.

One large export is work; how large it may be nobody can tell of somebody whose exports vary a
hundredfold. Several that are each among an identity's largest, from several relations, within an
hour, are what a theft looks like, also one in slices. So the figure of an hour adds up, over what
was read, how seldom this identity has a result as large (-log10 of the share of its statements,
beyond the first tenth). It is compared with the extremes of the identity's days
(``analytics.extremes``): a nightly job takes much from everywhere, every night.

Dumps and statements that write are left out (``analytics.ways``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import polars as pl

from analytics import alike, candidates, days, extremes, keyed
from analytics.alike import Dated
from analytics.candidates import in_order, shortened
from analytics.extremes import KEY, Prior
from analytics.findings import between, finding_id, literal, on_server
from analytics.frames import SCOPE, by_who, succeeded, top_level, who_columns
from analytics.ways import is_dump
from model.finding import Finding, FindingKind

NAME = "harvest"
OWNER = KEY[:-1]
HOUR, PEAK, ALL = "hour", "peak harvest", "size 0"
STEPS = 2.0
"""Sizes are told apart in steps, so many for each doubling."""
LARGEST = 80
ORDINARY_BITS = 1.0
"""As large as a tenth of all results is no large one."""
PRIOR = Prior(1.0, 1.2, 0.5)
VALUES = {
    **extremes.VALUES,
    "tick": pl.Int64,
    "now": pl.Float64,
    "sources": pl.Float64,
    "taken": pl.Float64,
}
_OF_HOUR = ("now", "sources", "taken")


@dataclass(frozen=True)
class HarvestSettings:
    window_seconds: float = 3600
    floor_rows: int = 100
    """A result of fewer rows is never a large one."""
    floor_of_hour: int = 1_000
    """Nor is an hour in which all of them together have fewer."""
    day_seconds: float = 86_400
    min_bits: float = 1.0
    max_keys: int = 400_000
    max_keys_per_identity: int = 5_000

    @property
    def least_size(self) -> int:
        return int(STEPS * math.log2(self.floor_rows + 1))


@dataclass(frozen=True)
class Harvest:
    """Score: -log10 of the chance that a day of this identity has such an hour."""

    settings: HarvestSettings = HarvestSettings()
    name: str = NAME

    def empty_state(self) -> pl.DataFrame:
        return keyed.empty(dict.fromkeys(KEY, pl.String), VALUES)

    def observe(
        self, state: pl.DataFrame, batch: pl.DataFrame
    ) -> tuple[pl.DataFrame, list[Finding]]:
        day_us, window_us = (
            int(each * 1e6) for each in (self.settings.day_seconds, self.settings.window_seconds)
        )
        dated = alike.dated(batch, _WANTED, state, day_us, window_us)
        if dated.clocks is None:
            return state, []
        changes = [dated.clocks]
        found: list[Finding] = []
        for part in dated.parts():
            changed, news = self._observe_day(state, dated, part.filter(~pl.col("late")))
            state = self._put(state, [*changes, *changed])
            found, changes = found + news, []
        return state, found

    def _observe_day(
        self, state: pl.DataFrame, dated: Dated, part: pl.DataFrame
    ) -> tuple[list[pl.DataFrame], list[Finding]]:
        """Rows of the state that change, and what is new."""
        if part.is_empty():
            return [], []
        owners = _owners(part)
        totals = _sizes(state, owners.with_columns(item=pl.lit(ALL)))
        large, sizes = self._large(state, _single(dated, part, self.settings), totals)
        taken = _accumulated(state, large)
        peaks, parents = extremes.baselines(state, _subjects(owners, taken))
        told = self._told(taken, peaks)
        changed = [
            _counted(totals.with_columns(more="statements")),
            sizes,
            *_hours_after(taken),
            parents,
            candidates.with_told(peaks, told, OWNER),
        ]
        return changed, in_order((row["row"], self._finding(row)) for row in told)

    def _large(
        self, state: pl.DataFrame, singles: pl.DataFrame, totals: pl.DataFrame
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Results with their ``excess`` and how many earlier ones of the identity were ``above``;
        the state's rows of sizes."""
        sizes = _sizes_met(singles, self.settings.least_size)
        known = _sizes(state, sizes)
        shares = known.join(totals.select(*OWNER, all=pl.col("n")), on=OWNER, how="left").select(
            *OWNER, "size", "all", above="n"
        )
        seldom = ((pl.col("all") + 1) / (pl.col("above") + 0.5)).log(10)
        large = (
            singles.join(shares, on=(*OWNER, "size"), how="left", maintain_order="left")
            .with_columns(excess=(seldom - ORDINARY_BITS).clip(lower_bound=0.0))
            .filter(pl.col("excess") > 0)
        )
        return large, _counted(known)

    def _told(self, taken: pl.DataFrame, peaks: pl.DataFrame) -> list[dict[str, Any]]:
        bits = extremes.bits(pl.col("figure"), pl.col("expected"), pl.col("expected_spread"))
        expected = candidates.expected(peaks, OWNER).with_columns(said="most_told")
        rows = (
            taken.join(expected, on=OWNER, how="inner", maintain_order="left")
            .with_columns(bits=bits)
            .with_columns(level=candidates.level(pl.col("bits")))
            .filter(
                (pl.col("level") >= self.settings.min_bits)
                & (pl.col("taken") >= self.settings.floor_of_hour)
            )
            .filter(candidates.risen(OWNER))
        )
        return candidates.told(rows, OWNER, OWNER)

    def _put(self, state: pl.DataFrame, changes: list[pl.DataFrame]) -> pl.DataFrame:
        bound = keyed.GroupBound(OWNER, self.settings.max_keys_per_identity)
        return keyed.put(state, days.filled(changes, state), self.settings.max_keys, bound)

    def _finding(self, row: dict[str, Any]) -> Finding:
        who, seconds = row["identity"], self.settings.window_seconds
        known = "identity_name" if row["identity_name"] else "user_name"
        start_us = min(int(row["tick"] * seconds * 1e6), row["at_us"])
        sources, last = int(row["sources"]), shortened(row["source"], 50)
        suffix, history = candidates.history(row["history"])
        seldom = max(1.0, (row["all"] + 1) / (row["above"] + 0.5))
        score = round(max(row["bits"], 0.001), 3)
        of = last if sources == 1 else f"{sources} sources, the last {last},"
        return Finding(
            id=finding_id(row["at_us"], NAME, *(row[name] for name in SCOPE), who),
            kind=FindingKind.ANOMALY,
            detector=NAME,
            severity=candidates.severity(score),
            title=f"Harvest: {shortened(who)}, large results of {sources}",
            sentence=f"{shortened(who)} took {row['taken']:,.0f} rows of {of} in large results "
            f"within {seconds:g} s; one in {seldom:,.0f} of its statements returns as many as "
            f"the last, {row['rows_taken']:,.0f}{suffix}",
            at_us=row["at_us"],
            agent=row["agent"],
            cluster=row["cluster"],
            database=row["database"],
            user=row["user_name"],
            identity=who,
            object="results",
            score=score,
            evidence_sql=(
                "SELECT started_at, client_address, rows, reads, text FROM statements "
                f"WHERE {on_server(row)} "
                f"AND {known} = {literal(who)} AND database = {literal(row['database'])} "
                f"AND rows >= {self.settings.floor_rows} "
                f"AND {between('started_at', start_us, start_us + int(seconds * 1e6))} "
                "ORDER BY rows DESC LIMIT 100"
            ),
            statement_id=row["id"],
            details=(
                ("identity_kind", row["identity_kind"]),
                ("expected", f"{row['expected']:.2f}"),
                ("seen", f"{row['figure']:.2f}"),
                ("unit", "rarity of the hour's results, added up by what was read"),
                ("sources", str(sources)),
                ("rows", f"{row['taken']:.0f}"),
                ("window_seconds", f"{seconds:g}"),
                ("statements", str(row["id"])),
                *history,
            ),
        )


_WANTED = (
    top_level()
    & succeeded()
    & (pl.col("identity") != "")
    & (pl.col("reads").list.len() > 0)
    & (pl.col("writes").list.len() == 0)
    & ~is_dump()
)
_SINGLE = (
    *SCOPE, *alike.OF_ONE, "row", "id", "who", "identity", "identity_name", "identity_kind",
    "user_name", "reads",
)  # fmt: skip


def _owner() -> pl.Expr:
    return pl.concat_str(pl.lit("="), "identity")


def _owners(part: pl.DataFrame) -> pl.DataFrame:
    """A row an identity, with its number of ``statements``."""
    return (
        by_who(part)
        .agg(
            who_columns(),
            pl.col("identity_kind").first(),
            today=pl.col("day").first(),
            since_us=pl.col("at_us").first(),
            seen_us=pl.col("seen_us").max(),
            statements=pl.col("times").sum().cast(pl.Float64),
        )
        .with_columns(owner=_owner(), group=pl.concat_str(pl.lit("~"), "identity_kind"))
        .drop("who")
    )


def _single(dated: Dated, part: pl.DataFrame, settings: HarvestSettings) -> pl.DataFrame:
    """Every result of at least ``floor_rows``, in order, with its ``size`` and ``source``."""
    some = part.filter(pl.col("most_rows") >= settings.floor_rows)
    rows = dated.rows(some, _SINGLE).with_columns(alike.ONE)
    size = ((pl.col("rows_taken") + 1).log(2) * STEPS).floor().cast(pl.Int64)
    return rows.filter(pl.col("rows_taken") >= settings.floor_rows).with_columns(
        owner=_owner(),
        size=size.clip(upper_bound=LARGEST),
        source=pl.col("reads").list.sort().list.join(", "),
    )


def _sizes_met(singles: pl.DataFrame, least: int) -> pl.DataFrame:
    """A row an identity and size up to its largest, with how many ``more`` were as large."""
    counted = singles.group_by(*OWNER, "size").agg(
        today=pl.col("day").first(),
        seen_us=pl.col("at_us").max(),
        more=pl.len().cast(pl.Float64),
    )
    return (
        counted.with_columns(size=pl.int_ranges(least, pl.col("size") + 1))
        .explode("size")
        .group_by(*OWNER, "size")
        .agg(pl.col("today").first(), pl.col("seen_us").max(), pl.col("more").sum())
        .with_columns(item=pl.concat_str(pl.lit("size "), "size"))
    )


def _sizes(state: pl.DataFrame, keys: pl.DataFrame) -> pl.DataFrame:
    """With ``n``: how many of them there were on the days before."""
    return extremes.rolled(extremes.known(state, keys))


def _counted(known: pl.DataFrame) -> pl.DataFrame:
    return known.select(
        *KEY,
        "day",
        "n",
        n_today=pl.col("n_today") + pl.col("more"),
        last_us=pl.max_horizontal("last_us", "seen_us"),
    )


def _accumulated(state: pl.DataFrame, large: pl.DataFrame) -> pl.DataFrame:
    """Results with what their hour has come to with them: its ``figure``, ``sources``, ``taken``.

    Of each source only the largest counts, as far as it is larger than those before it.
    """
    of_source, of_hour = (*OWNER, "item", "at_tick"), (*OWNER, "at_tick")
    keyed_rows = large.rename({"tick": "at_tick"}).with_columns(
        item=pl.concat_str(pl.lit("from "), "source")
    )
    stored = keyed.get(state, keyed_rows, ["tick", "now"])
    best = pl.max_horizontal(
        pl.when(pl.col("tick") == pl.col("at_tick")).then("now").fill_null(0.0),
        pl.col("excess").cum_max().shift(1).over(of_source).fill_null(0.0),
    )
    gained = (
        stored.with_columns(best=best)
        .drop("tick", "now")
        .with_columns(
            gain=(pl.col("excess") - pl.col("best")).clip(lower_bound=0.0),
            fresh=(pl.col("best") == 0).cast(pl.Float64),
            source_item="item",
            item=pl.lit(HOUR),
        )
    )
    hours = keyed.get(state, gained, ["tick", *_OF_HOUR])
    same = (pl.col("tick") == pl.col("at_tick")).fill_null(value=False)
    added = {"now": "gain", "sources": "fresh", "taken": "rows_taken"}
    return (
        hours.with_columns(
            pl.when(same).then(name).otherwise(0.0) + pl.col(more).cum_sum().over(of_hour)
            for name, more in added.items()
        )
        .drop("tick")
        .rename({"at_tick": "tick"})
        .with_columns(figure="now")
    )


def _hours_after(taken: pl.DataFrame) -> list[pl.DataFrame]:
    last = taken.group_by(OWNER).agg(
        pl.col("tick", *_OF_HOUR, "day").last(), last_us=pl.col("at_us").max()
    )
    latest = pl.col("tick") == pl.col("tick").max().over(*OWNER, "source_item")
    sources = (
        taken.filter(latest)
        .group_by(*OWNER, item="source_item")
        .agg(
            pl.col("tick", "day").last(),
            now=pl.max_horizontal("best", "excess").max(),
            last_us=pl.col("at_us").max(),
        )
    )
    return [last.with_columns(item=pl.lit(HOUR)), sources]


def _subjects(owners: pl.DataFrame, taken: pl.DataFrame) -> pl.DataFrame:
    tops = taken.group_by(OWNER).agg(top=pl.col("figure").max())
    return (
        owners.select(*OWNER, "group", "today", "since_us", "seen_us")
        .join(tops, on=OWNER, how="left")
        .with_columns(pl.col("top").fill_null(0.0), item=pl.lit(PEAK), **PRIOR.columns())
    )
