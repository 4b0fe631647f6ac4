"""Repetition: somebody runs a statement that is new to them, and to everybody, again and again.

People write a statement and refine it; AI agents ask one thing and go on to the next. Whoever runs
a shape dozens of times within the hour in which they first used it works through a list: person by
person, page by page, bit by bit. How often a new shape was run in an hour is compared with the
extremes of the identity's days (``analytics.extremes``).

A shape that others in the database ran before is no news: whoever is new in a job runs what their
colleagues run. Programs are left out, as all that a release brings is repeated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl

from analytics import alike, candidates, days, extremes, keyed
from analytics.alike import Dated
from analytics.candidates import in_order, level, risen, shortened, told, worth_a_look
from analytics.extremes import KEY, Prior
from analytics.findings import between, finding_id, literal, on_server
from analytics.frames import SCOPE, by_who, top_level, who_columns
from model.finding import Finding, FindingKind

NAME = "repetition"
OWNER = KEY[:-1]
SHAPE, PEAK, EVERYBODY = "shape ", "peak repetition", "*"
TICK = (*OWNER, "item", "tick")
PROGRAM = "service"
HOUR_US = 3_600_000_000
DULL_RELATION = r"^(pg_catalog\.|information_schema\.|pg_toast\.|pg_temp|pg_)"
"""Tools ask the catalog the same whenever they connect."""
PRIOR = Prior(0.8, 0.5, 0.35)
"""Of the logarithm of a day's largest count."""
VALUES = {
    **extremes.VALUES,
    "born": pl.Int64,
    "alone": pl.Float64,
    "tick": pl.Int64,
    "now": pl.Float64,
}


@dataclass(frozen=True)
class RepetitionSettings:
    window_seconds: float = 3600
    floor: int = 6
    """So often a new statement is run by whoever tries it out."""
    day_seconds: float = 86_400
    min_bits: float = 1.0
    max_keys: int = 400_000
    max_keys_per_identity: int = 20_000


@dataclass(frozen=True)
class Repetition:
    """Score: -log10 of the chance that a day of this identity has a new shape as often."""

    settings: RepetitionSettings = RepetitionSettings()
    name: str = NAME

    def empty_state(self) -> pl.DataFrame:
        """Rows of an identity and shape have ``born``, the day when it first ran it, and whether it
        was ``alone`` in that (1); those of EVERYBODY are shapes that anybody ran."""
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
            changed, news = self._observe_day(state, dated, part)
            state = self._put(state, [*changes, *changed])
            found, changes = found + news, []
        return state, found

    def _observe_day(
        self, state: pl.DataFrame, dated: Dated, part: pl.DataFrame
    ) -> tuple[list[pl.DataFrame], list[Finding]]:
        """Rows of the state that change, and what is new."""
        part = part.filter(~pl.col("late"))
        if part.is_empty():
            return [], []
        uses = _uses(part)
        known, shapes = _anybody(state, uses)
        ticks = _ticks(state, uses, known)
        peaks, parents = extremes.baselines(state, _subjects(ticks))
        said = self._told(lambda hot: _single(dated, part, hot), ticks, peaks)
        changed = [_after(ticks), shapes, parents, candidates.with_told(peaks, said, OWNER)]
        return changed, in_order((row["row"], self._finding(row)) for row in said)

    def _told(
        self,
        rows_of: Callable[[pl.DataFrame], pl.DataFrame],
        ticks: pl.DataFrame,
        peaks: pl.DataFrame,
    ) -> list[dict[str, Any]]:
        bits = extremes.bits(pl.col("figure"), pl.col("expected"), pl.col("expected_spread"))
        expected = candidates.expected(peaks, OWNER).with_columns(said="most_told")
        hot = (
            ticks.filter(_is_news() & (pl.col("total") >= self.settings.floor))
            .select(*TICK, "before", "figure")
            .join(expected, on=OWNER, how="inner")
            .filter(worth_a_look(bits, self.settings.min_bits))
            .drop("figure")
        )
        if hot.is_empty():
            return []
        rows = (
            rows_of(hot)
            .join(hot, on=TICK, how="inner", maintain_order="left")
            .with_columns(total=pl.col("before") + pl.int_range(1, pl.len() + 1).over(TICK))
            .with_columns(figure=_figure())
            .with_columns(bits=bits)
            .with_columns(level=level(pl.col("bits")))
            .filter(
                (pl.col("level") >= self.settings.min_bits)
                & (pl.col("total") >= self.settings.floor)
            )
            .filter(risen(OWNER))
        )
        return told(rows, OWNER, OWNER)

    def _put(self, state: pl.DataFrame, changes: list[pl.DataFrame]) -> pl.DataFrame:
        bound = keyed.GroupBound(OWNER, self.settings.max_keys_per_identity)
        full = days.filled(changes, state)
        return keyed.put(state, full, self.settings.max_keys, bound)

    def _finding(self, row: dict[str, Any]) -> Finding:
        who, seconds = row["identity"], self.settings.window_seconds
        shape = row["item"].removeprefix(SHAPE)
        known = "identity_name" if row["identity_name"] else "user_name"
        start_us = min(int(row["tick"] * seconds * 1e6), row["at_us"])
        what = row["summary"] or row["operation"] or "a statement"
        usual = math.exp(row["expected"])
        suffix, history = candidates.history(row["history"])
        score = round(max(row["bits"], 0.001), 3)
        return Finding(
            id=finding_id(row["at_us"], NAME, *(row[name] for name in SCOPE), who, shape),
            kind=FindingKind.ANOMALY,
            detector=NAME,
            severity=candidates.severity(score),
            title=f"Repetition: {shortened(who)}, {shortened(what)}",
            sentence=f"{shortened(who)} ran {shortened(what)}, new to them and to everybody, "
            f"{row['total']:.0f} times within {seconds:g} s; usual of a new statement "
            f"{usual:.1f}{suffix}",
            at_us=row["at_us"],
            agent=row["agent"],
            cluster=row["cluster"],
            database=row["database"],
            user=row["user_name"],
            identity=who,
            object=shape,
            score=score,
            evidence_sql=(
                "SELECT started_at, client_address, rows, sqlstate, text FROM statements "
                f"WHERE {on_server(row)} "
                f"AND {known} = {literal(who)} AND database = {literal(row['database'])} "
                f"AND fingerprint = {literal(shape)} "
                f"AND {between('started_at', start_us, start_us + int(seconds * 1e6))} "
                "ORDER BY started_at LIMIT 200"
            ),
            statement_id=row["id"],
            details=(
                ("identity_kind", row["identity_kind"]),
                ("expected", f"{usual:.2f}"),
                ("seen", f"{row['total']:.0f}"),
                ("unit", "times that a new statement was run in an hour"),
                ("window_seconds", f"{seconds:g}"),
                ("statements", str(row["id"])),
                *history,
            ),
        )


_WANTED = (
    top_level()
    & (pl.col("identity") != "")
    & (pl.col("fingerprint") != "")
    & (pl.col("reads").list.len() + pl.col("writes").list.len() > 0)
)
_SINGLE = (
    *SCOPE, "at_us", "row", "id", "identity", "identity_name", "identity_kind", "user_name",
    "fingerprint", "summary", "operation",
)  # fmt: skip


def _figure() -> pl.Expr:
    return pl.col("total").log()


def _owner() -> pl.Expr:
    return pl.concat_str(pl.lit("="), "identity")


def _item() -> pl.Expr:
    return pl.concat_str(pl.lit(SHAPE), "fingerprint")


def _uses(part: pl.DataFrame) -> pl.DataFrame:
    """A row an identity, shape and tick, in order of their first rows, with how many ``more``."""
    return (
        by_who(part, "fingerprint", "tick")
        .agg(
            who_columns(),
            pl.col("identity_kind", "row", "reads", "writes").first(),
            today=pl.col("day").first(),
            since_us=pl.col("at_us").first(),
            seen_us=pl.col("seen_us").max(),
            more=pl.col("times").sum().cast(pl.Float64),
        )
        .with_columns(
            owner=_owner(), item=_item(), group=pl.concat_str(pl.lit("~"), "identity_kind")
        )
        .drop("who")
    )


def _ticks(state: pl.DataFrame, uses: pl.DataFrame, known: pl.Series) -> pl.DataFrame:
    """Of people and AI agents, with ``born`` and ``alone``, and how many there were ``before`` this
    batch and in ``total``. ``known``: whether anybody ran the shape of each of ``uses`` before.

    Of several ticks in a batch only the first goes on from the state.
    """
    shape = (*OWNER, "item")
    earlier = pl.col("row") > pl.col("row").min().over(*SCOPE, "item")
    people = uses.with_columns(shared=known | uses.select(earlier).to_series()).filter(_NO_PROGRAM)
    own = keyed.get(
        state, people.rename({"tick": "at_tick"}), ["born", "alone", "tick", "now", "last_us"]
    ).rename({"tick": "last_tick", "at_tick": "tick"})
    goes_on = (pl.col("last_tick") == pl.col("tick")).fill_null(value=False)
    first_alone = ((~pl.col("shared")).any() & ~_is_dull().first()).over(shape)
    return (
        own.with_columns(
            born=pl.coalesce("born", pl.col("today").min().over(shape)),
            alone=pl.coalesce("alone", first_alone.cast(pl.Float64)),
            before=pl.when(goes_on).then("now").otherwise(0.0),
        )
        .with_columns(total=pl.col("before") + pl.col("more"))
        .with_columns(figure=pl.when(_is_news()).then(_figure()).otherwise(0.0))
    )


_NO_PROGRAM = pl.col("identity_kind") != PROGRAM


def _is_news() -> pl.Expr:
    return (pl.col("alone") > 0) & (pl.col("born") == pl.col("today"))


def _is_dull() -> pl.Expr:
    """Of statements on nothing but catalogs."""
    relations = pl.concat_list("reads", "writes")
    return relations.list.eval(pl.element().str.contains(DULL_RELATION)).list.all()


def _single(dated: Dated, part: pl.DataFrame, hot: pl.DataFrame) -> pl.DataFrame:
    """Every row of the shapes and ticks that are ``hot``, in order."""
    named = part.with_columns(owner=_owner(), item=_item())
    some = named.join(hot.select(TICK), on=TICK, how="semi").select(part.columns)
    return dated.rows(some, _SINGLE).with_columns(owner=_owner(), item=_item())


def _subjects(ticks: pl.DataFrame) -> pl.DataFrame:
    return (
        ticks.group_by(OWNER, maintain_order=True)
        .agg(
            pl.col("group", "today", "since_us").first(),
            pl.col("seen_us").max(),
            top=pl.col("figure").max(),
        )
        .with_columns(item=pl.lit(PEAK), **PRIOR.columns())
    )


_USED = pl.max_horizontal(
    pl.coalesce(pl.col("last_us").first(), pl.col("since_us").first()),
    pl.col("seen_us").max() // HOUR_US * HOUR_US,
)
"""Coarse after the first use, or every batch would write every key again."""


def _after(ticks: pl.DataFrame) -> pl.DataFrame:
    """Rows of the state of shapes that are counted, or whose last use was long ago."""
    after = ticks.group_by(*OWNER, "item").agg(
        pl.col("born", "alone").first(),
        news=_is_news().any(),
        known_us=pl.col("last_us").first(),
        tick=pl.col("tick").max(),
        now=pl.col("total").sort_by("tick").last(),
        used_us=_USED,
    )
    return after.filter(pl.col("news") | _touched("used_us")).select(
        *KEY,
        "born",
        "alone",
        day="born",
        tick=pl.when("news").then("tick").otherwise(pl.lit(0, pl.Int64)),
        now=pl.when("news").then("now").otherwise(0.0),
        last_us="used_us",
    )


def _touched(used_us: str) -> pl.Expr:
    return pl.col("known_us").is_null() | (pl.col(used_us) > pl.col("known_us"))


def _anybody(state: pl.DataFrame, uses: pl.DataFrame) -> tuple[pl.Series, pl.DataFrame]:
    """Whether anybody ran the shape of each of ``uses`` before; the state's rows of that."""
    asked = uses.with_columns(owner=pl.lit(EVERYBODY))
    got = keyed.get(state, asked, ["day", "last_us"])
    after = got.group_by(KEY).agg(
        day=pl.coalesce(pl.col("day").first(), pl.col("today").min()),
        known_us=pl.col("last_us").first(),
        last_us=_USED,
    )
    rows = after.filter(_touched("last_us")).select(*KEY, "day", "last_us", born="day")
    return got["day"].is_not_null(), rows
