"""Activity time: somebody is active at an hour of the week at which they never are.

What is usual is frozen at the start of a day: 168 hours of the week with fading counts of the weeks
in which an identity was active in them, smoothed (``analytics.week``). Not statements are counted
but hours with any: a nightly load of a million rows is one hour. An hour that alarms counts for a
quarter, so who works at night from now on becomes usual, only slowly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import polars as pl

from analytics import alike, candidates, days, keyed, said, week
from analytics.findings import between, finding_id, literal, on_server
from analytics.frames import top_level
from model.finding import Finding, FindingKind

NAME = "activity_time"
KEY = ("agent", "cluster", "subject")
"""``subject``: ``of NAME`` an identity, ``all KIND`` its peers, '' the clock of the agent."""
VALUES: dict[str, pl.DataType | type[pl.DataType]] = {
    "usual": week.WEEK,
    "weeks": pl.Float64,
    "weeks_today": pl.Float64,
    "today": week.DAY,
    "day": pl.Int64,
    "odd": pl.Int64,
    "members": pl.Int64,
    "first_us": pl.Int64,
    "last_us": pl.Int64,
    "said": pl.Float64,
}
"""``today``: hours of ``day`` with activity (of peers: how many's); the rest is from before it.
``weeks``: of exposure; what the peers gained of it today counts from tomorrow on."""
ALARMED_WORTH = 0.25
MOST_DAYS_SAID = 90
LONGEST_WEEKS = 2.0
"""A longer absence counts as so long: a holiday is no habit."""


@dataclass(frozen=True)
class ActivityTimeSettings:
    day_seconds: float = 86_400
    """Of 24 hours; seven of them are a week."""
    memory_days: float = 90
    min_bits: float = 1.0
    alarm_bits: float = 2.5
    """From here on an hour is learnt with a quarter of its weight."""
    max_keys: int = 50_000


@dataclass(frozen=True)
class ActivityTime:
    """Score: -log10 of the expected hours a day that are as unlikely for this identity."""

    settings: ActivityTimeSettings = ActivityTimeSettings()
    name: str = NAME

    def empty_state(self) -> pl.DataFrame:
        return keyed.empty(dict.fromkeys(KEY, pl.String), VALUES)

    def observe(
        self, state: pl.DataFrame, batch: pl.DataFrame
    ) -> tuple[pl.DataFrame, list[Finding]]:
        wanted = top_level() & (pl.col("identity") != "") & (pl.col("operation") != "login")
        dated = alike.dated_by_agent(batch, wanted, state, self._day_us, week.OF_DAY)
        if dated.alike.is_empty():
            return state, []
        if dated.clocks is not None:
            state = self._put(state, _clock_rows(dated.clocks))
        hours = dated.alike.select(
            *_KEPT, hour=pl.col("at_us") % self._day_us * week.OF_DAY // self._day_us
        ).unique(
            ("agent", "cluster", "identity", "day", "hour", "late"),
            keep="first",
            maintain_order=True,
        )
        found: list[Finding] = []
        for part in days.segments(hours):
            state, news = self._observe_day(state, part)
            found += news
        return state, found

    def _observe_day(
        self, state: pl.DataFrame, part: pl.DataFrame
    ) -> tuple[pl.DataFrame, list[Finding]]:
        """``part``: an identity's hours of one day of its agent, not all of them new."""
        hours = part.with_columns(
            subject=pl.lit("of ") + pl.col("identity"),
            above=pl.lit("all ") + pl.col("identity_kind").first().over((*KEY[:2], "identity")),
        )
        brief = keyed.get(
            state, hours.select(*KEY, new_day="day").unique(maintain_order=True), ["day", "today"]
        )
        fresh = _unseen(hours, brief)
        if fresh.is_empty():
            return state, []
        subjects = fresh.group_by(KEY, maintain_order=True).agg(
            pl.col("above").first(),
            new_day=pl.col("day").first(),
            met_us=pl.col("at_us").first(),
            seen_us=pl.col("at_us").max(),
        )
        own = keyed.get(state, subjects)
        closing = pl.col("day").is_null() | (pl.col("day") != pl.col("new_day"))
        peers = self._peers(state, own.with_columns(gained=self._gained(), closing=closing))
        own = self._opened(own, closing)
        scored = self._scored(fresh, own, peers)
        told = said.told(said.due(scored, self.settings.min_bits), KEY)
        after = self._advanced(own, scored, told)
        grown = self._with_hours(peers, fresh.rename({"subject": "member", "above": "subject"}))
        state = self._put(state, pl.concat([grown, after]))
        return state, [_finding(row, self._day_us) for row in told]

    @property
    def _day_us(self) -> int:
        return int(self.settings.day_seconds * 1e6)

    def _put(self, state: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
        return keyed.put(state, rows, self.settings.max_keys)

    def _gained(self) -> pl.Expr:
        """Weeks of exposure since the day before this one began."""
        weeks = (pl.col("new_day") - pl.col("day")).abs() / 7
        return weeks.clip(upper_bound=LONGEST_WEEKS).fill_null(0.0)

    def _keep(self) -> pl.Expr:
        return (-self._gained() * 7 / self.settings.memory_days).exp()

    def _peers(self, state: pl.DataFrame, own: pl.DataFrame) -> pl.DataFrame:
        """The peers' rows for today, with the exposure that their members gained."""
        groups = own.group_by("agent", "cluster", subject="above", maintain_order=True).agg(
            pl.col("new_day").first(), pl.col("seen_us").max(),
            more=pl.col("gained").filter("closing").sum(),
            joined=pl.col("day").is_null().sum().cast(pl.Int64),
        )  # fmt: skip
        known = keyed.get(state, groups)
        changed = pl.col("day").is_null() | (pl.col("day") != pl.col("new_day"))
        kept, old = known.filter(~changed), known.filter(changed)
        if not old.is_empty():
            usual = week.folded(old.with_columns(keep=pl.lit(1.0)))
            old = old.with_columns(
                usual,
                today=_nothing(week.OF_DAY),
                day="new_day",
                weeks=pl.col("weeks").fill_null(0.0) + pl.col("weeks_today").fill_null(0.0),
                weeks_today=pl.lit(0.0),
            )
        return pl.concat([kept, old.select(kept.columns)]).with_columns(
            weeks_today=pl.col("weeks_today") + pl.col("more"),
            members=pl.col("members").fill_null(0) + pl.col("joined"),
            last_us=pl.max_horizontal("last_us", "seen_us"),
            first_us=pl.coalesce("first_us", "seen_us"),
            odd=pl.lit(0, pl.Int64),
            said=pl.lit(0.0),
        )

    def _opened(self, own: pl.DataFrame, closing: pl.Expr) -> pl.DataFrame:
        """Identities with what is usual by the start of today."""
        own = own.with_columns(last_us=pl.max_horizontal("last_us", "seen_us"))
        kept, old = own.filter(~closing), own.filter(closing)
        if old.is_empty():
            return kept
        folded = old.with_columns(
            week.folded(old.with_columns(keep=self._keep())),
            weeks=pl.col("weeks").fill_null(0.0) * self._keep() + self._gained(),
        )
        opened = folded.with_columns(
            day="new_day",
            today=_nothing(week.OF_DAY),
            odd=pl.lit(0, pl.Int64),
            weeks_today=pl.lit(0.0),
            members=pl.lit(0, pl.Int64),
            first_us=pl.coalesce("first_us", "met_us"),
            said=pl.lit(0.0),
        )
        return pl.concat([kept, opened.select(kept.columns)])

    def _scored(self, fresh: pl.DataFrame, own: pl.DataFrame, peers: pl.DataFrame) -> pl.DataFrame:
        """What identities and peers know is of the start of the day all day: it is reckoned again
        for each new hour rather than kept, as that took three quarters of the state."""
        above = peers.select(
            "agent", "cluster", above="subject", usual_above="usual", weeks_above="weeks"
        )
        whole = own.join(above, on=("agent", "cluster", "above"), how="left", maintain_order="left")
        rate, bits, peer_rate = week.tails(whole)
        known = own.select(*KEY, "usual", "said", "first_us", "weeks").with_columns(
            rate.alias("rate"), bits.alias("bits"), peer_rate.alias("peer_rate")
        )
        at = week.hour_of_week(pl.col("day"), pl.col("hour"))
        return (
            fresh.join(known, on=KEY, how="left", maintain_order="left")
            .with_columns(at=at)
            .with_columns(
                score=pl.col("bits").arr.get(pl.col("at")).cast(pl.Float64),
                expected=pl.col("rate").arr.get(pl.col("at")).cast(pl.Float64),
                before=pl.col("usual").arr.get(pl.col("at")).cast(pl.Float64),
                among=pl.col("peer_rate").arr.get(pl.col("at")).cast(pl.Float64),
            )
            .drop("usual", "bits", "rate", "peer_rate")
        )

    def _advanced(
        self, own: pl.DataFrame, scored: pl.DataFrame, told: list[dict[str, Any]]
    ) -> pl.DataFrame:
        alarming = pl.col("score") >= self.settings.alarm_bits
        weighed = scored.with_columns(worth=pl.when(alarming).then(ALARMED_WORTH).otherwise(1.0))
        grown = said.with_said(self._with_hours(own, weighed), said.scores(told, KEY))
        return grown.select(*KEY, *VALUES)

    def _with_hours(self, rows: pl.DataFrame, hours: pl.DataFrame) -> pl.DataFrame:
        """``today`` of each row plus the hours of its subject."""
        worth = pl.col("worth") if "worth" in hours.columns else pl.lit(1.0)
        more = hours.group_by(KEY, maintain_order=True).agg(
            pl.when(pl.col("hour") == hour).then(worth).otherwise(0.0).sum().alias(f"h{hour}")
            for hour in range(week.OF_DAY)
        )
        added = rows.join(more, on=KEY, how="left", maintain_order="left").with_columns(
            more=pl.concat_list(
                pl.col(f"h{hour}").fill_null(0.0).cast(pl.Float32) for hour in range(week.OF_DAY)
            ).list.to_array(week.OF_DAY)
        )
        summed = (pl.col("today") + pl.col("more")).cast(week.DAY)
        return added.with_columns(summed.alias("today")).select(*KEY, *VALUES)


_KEPT = (
    "row", "at_us", "id", "agent", "cluster", "database", "user_name", "identity",
    "identity_kind", "identity_name", "day", "late", "segment",
)  # fmt: skip


def _zeros(length: int) -> pl.Series:
    return pl.Series([[0.0] * length], dtype=pl.Array(pl.Float32, length))


def _nothing(length: int) -> pl.Expr:
    return pl.lit(_zeros(length)).first()


def _unseen(hours: pl.DataFrame, brief: pl.DataFrame) -> pl.DataFrame:
    """The first row of each hour of today that its identity was not yet seen in."""
    known = brief.select(*KEY, "today", known_day="day")
    joined = hours.join(known, on=KEY, how="left", maintain_order="left")
    seen = (pl.col("known_day") == pl.col("day")) & (
        pl.col("today").arr.get(pl.col("hour")).fill_null(0.0) > 0
    )
    return (
        joined.filter(~seen.fill_null(value=False))
        .drop("today", "known_day")
        .unique((*KEY, "hour"), keep="first", maintain_order=True)
    )


def _clock_rows(clocks: pl.DataFrame) -> pl.DataFrame:
    """``last_us`` changes only with the day: a clock is one row of few thousand keys."""
    zero = pl.lit(0, pl.Int64)
    known = clocks.with_columns(
        cluster=pl.lit(""), subject=pl.lit(""), first_us=zero, last_us=pl.lit(said.NEVER_EVICTED),
        weeks=pl.lit(0.0), weeks_today=pl.lit(0.0), members=zero, said=pl.lit(0.0),
        usual=_nothing(week.HOURS), today=_nothing(week.OF_DAY),
    )  # fmt: skip
    return known.select(*KEY, *VALUES)


def _finding(row: dict[str, Any], day_us: int) -> Finding:
    who, hour = row["identity"], week.said(row["at"])
    lived = max(0.0, (row["at_us"] - row["first_us"]) / day_us)
    ending, details = candidates.history(lived)
    recent = min(lived, MOST_DAYS_SAID)
    never = row["before"] < week.OWN * ALARMED_WORTH * math.exp(-recent / MOST_DAYS_SAID)
    first = f"the first {hour} (UTC) in {recent:.0f} days" if never else f"on {hour} (UTC)"
    known = "identity_name" if row["identity_name"] else "user_name"
    hour_us = day_us // week.OF_DAY
    start_us = row["at_us"] - row["at_us"] % hour_us
    return Finding(
        id=finding_id(row["at_us"], NAME, *(row[name] for name in KEY)),
        kind=FindingKind.ANOMALY,
        detector=NAME,
        severity=candidates.severity(row["score"]),
        title=f"Unusual hour: {candidates.shortened(who)} on {hour}",
        sentence=f"{candidates.shortened(who)} was active {first}; it is then in "
        f"{_share(row['expected'])} of weeks, others of its kind in {_share(row['among'])}{ending}",
        at_us=row["at_us"],
        agent=row["agent"],
        cluster=row["cluster"],
        database=row["database"],
        user=row["user_name"],
        identity=who,
        object=hour,
        score=round(max(row["score"], 0.001), 3),
        evidence_sql=(
            "SELECT started_at, database, application_name, client_address, text FROM statements "
            f"WHERE {on_server(row)} AND {known} = {literal(who)} "
            f"AND {between('started_at', start_us, start_us + hour_us)} "
            "ORDER BY started_at LIMIT 100"
        ),
        statement_id=row["id"],
        details=(
            ("expected", f"{row['expected']:.4f}"),
            ("seen", "1"),
            ("unit", "share of weeks with activity in this hour"),
            ("peers", row["above"].removeprefix("all ")),
            ("peers_have", f"{row['among']:.4f}"),
            ("statements", str(row["id"])),
            ("window_seconds", f"{hour_us / 1e6:g}"),
            *details,
        ),
    )


def _share(rate: float) -> str:
    """
    >>> _share(0.0004), _share(0.31)
    ('under 0.1 %', '31 %')
    """
    if rate < 0.001 or math.isnan(rate):
        return "under 0.1 %"
    return f"{rate * 100:.1f} %" if rate < 0.1 else f"{rate * 100:.0f} %"
