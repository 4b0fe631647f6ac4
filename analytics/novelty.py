"""First-seen reasoning that several detectors share: has this identity met this item before?

An identity meets items (a relation, a statement shape). A meeting is novel when the state does not
know the pair. How rare it is says the share of peers that know the item: the other identities of
the same kind in the same database, filled up from everybody there by two pseudo-peers. How much of
a surprise it is depends on the identity's own days: someone who meets something new every day
surprises nobody with one thing more (``analytics.extremes``). Counts are exact at each row, so it
does not matter how the stream was cut into batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import polars as pl

from analytics import candidates, days, extremes, keyed
from analytics.extremes import KEY, Prior
from analytics.frames import by_who, who_columns

if TYPE_CHECKING:
    from analytics.alike import Dated

OWNER = KEY[:-1]
WHO = ("agent", "cluster", "identity")
MEMBER = ""
"""The item that stands for the identity itself, in a database or ('' as database) in a cluster."""
DATABASE = "database "
PEAK, TODAY = "peak", "novel today"
PEAK_APART = "peak apart"
PSEUDO_PEERS = 2.0
NEWCOMERS = 5.0
"""In a database of which a first day is known, so many peers are taken to know whatever is new."""
HOUR_US = 3_600_000_000
PRIOR = Prior(0.3, 0.6, 0.2)
"""Of the daily maxima of ``figure``: most days bring nothing new."""
PRIOR_APART = Prior(0.2, 0.6, 0.2)
"""Of those of news that are seldom by their nature."""
ROW = (
    "row", "at_us", "seen_us", "id", "day", "late", "identity", "identity_name", "identity_kind",
    "user_name", "agent", "cluster", "database", "who",
)  # fmt: skip


@dataclass(frozen=True)
class NoveltySettings:
    min_bits: float = 1.0
    day_seconds: float = 86_400
    """The span whose extremes are compared, and at whose start what is usual is frozen."""
    max_keys: int = 400_000
    max_keys_per_identity: int = 20_000


@dataclass(frozen=True)
class Meetings:
    """What a part of a batch brought: ``novel`` meetings, and the rows of the state after it."""

    novel: pl.DataFrame
    """ROW, ``item``, ``have`` of ``peers`` (and of ``all_peers``), ``nth`` novel one of the day,
    ``rarity`` (-log10 of the share of peers that know it), ``history`` (days of the identity); in
    the order of rows."""
    subjects: pl.DataFrame
    parents: pl.DataFrame
    changed: pl.DataFrame
    members: pl.DataFrame
    """What ``subjects`` were asked with."""


def empty_state() -> pl.DataFrame:
    return keyed.empty(dict.fromkeys(KEY, pl.String), extremes.VALUES)


def put(
    state: pl.DataFrame, changes: Iterable[pl.DataFrame], settings: NoveltySettings
) -> pl.DataFrame:
    """All of ``changes`` at once: a put has a price of its own."""
    bound = keyed.GroupBound(OWNER, settings.max_keys_per_identity)
    return keyed.put(state, days.filled(changes, state), settings.max_keys, bound)


def meet(state: pl.DataFrame, statements: pl.DataFrame, items: pl.DataFrame) -> Meetings:
    """``statements`` of one day (ROW), or one for all alike; ``items``: row and item, in order."""
    visits, members = _memberships(statements)
    met = pl.concat([visits, _met(statements, items)])
    got = keyed.get(state, met, ["last_us"])
    seen = pl.col("seen_us") // HOUR_US * HOUR_US
    # Coarse, or every batch would write every key again.
    touched = got.filter(pl.col("last_us").is_null() | (seen > pl.col("last_us")))
    after = touched.select(*KEY, "day", last_us=seen, n=pl.lit(0.0), sum=pl.lit(0.0))
    novel = got.filter(pl.col("last_us").is_null()).sort("row", maintain_order=True)
    subjects, parents = extremes.baselines(state, members)
    if novel.is_empty():
        return Meetings(novel.drop("last_us"), subjects, parents, after, members)
    counted, counts = _counted(state, novel)
    told, today = _numbered(state, counted.filter(_is_news()))
    changed = pl.concat([after, counts, today])
    rows = statements.select(name for name in ROW if name not in ("database", "day", "seen_us"))
    own = subjects.select(*WHO, history="n")
    full = told.join(rows.drop("agent", "cluster", "at_us", "identity"), on="row", how="left").join(
        own, on=WHO, how="left"
    )
    return Meetings(full.sort("row", maintain_order=True), subjects, parents, changed, members)


def judged(meetings: Meetings, least_bits: float) -> tuple[list[dict[str, Any]], pl.DataFrame]:
    """What is said of ``meetings.novel`` (with ``figure`` and whether to be ``quiet`` about it),
    and the subjects' rows after it."""
    novel, subjects = meetings.novel, meetings.subjects
    if novel.is_empty():
        return [], subjects.with_columns(top=0.0)
    prompt = novel.filter(~pl.col("late"))
    tops = prompt.group_by(WHO).agg(top=pl.col("figure").max())
    topped = subjects.join(tops, on=WHO, how="left").with_columns(pl.col("top").fill_null(0.0))
    expected = candidates.expected(subjects, WHO).drop("history")
    bits = extremes.bits(pl.col("figure"), pl.col("expected"), pl.col("expected_spread"))
    due = (
        prompt.join(expected, on=WHO, how="inner", maintain_order="left")
        .with_columns(bits=bits, said=0.0)
        .with_columns(level=candidates.level(pl.col("bits")))
        .filter((pl.col("level") >= least_bits) & ~pl.col("quiet"))
    )
    told = candidates.told(due, (*WHO, "database", "item"), WHO)
    return told, candidates.with_told(topped, told, WHO)


def first_times(
    state: pl.DataFrame,
    dated: Dated,
    items: Callable[[pl.DataFrame], pl.DataFrame],
    wanted: pl.Expr,
    settings: NoveltySettings,
    apart: pl.Expr | None = None,
    habits: pl.Expr | None = None,
) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
    """The state after a batch, and what is said of ``items`` of it that are ``wanted``.

    The more has been new today, the stranger is one thing more. What is new and ``apart`` is
    compared with the days' news of that sort alone: of somebody who meets things every day the
    first of another sort is as strange as of anybody. ``habits`` are of a person, not of a place:
    whoever has one in another database or on another server brings it along.
    """
    if dated.clocks is None:
        return state, []
    changes = [dated.clocks]
    found: list[dict[str, Any]] = []
    for part in dated.parts():
        meetings = meet(state, kept(part), items(part))
        novel = meetings.novel.filter(wanted)
        if habits is not None and not novel.is_empty():
            novel, carried = _without_habits(state, novel, habits)
            changes.append(carried)
        if not novel.is_empty():
            novel = novel.with_columns(figure=pl.col("rarity") + crowd(), quiet=pl.lit(value=False))
        usual = novel if apart is None or novel.is_empty() else novel.filter(~apart)
        told, subjects = judged(replace(meetings, novel=usual), settings.min_bits)
        changes += [meetings.changed, meetings.parents, subjects]
        if apart is not None:
            others = novel if novel.is_empty() else novel.filter(apart)
            more, rows = _judged_apart(state, meetings, others, settings.min_bits)
            told = sorted([*told, *more], key=lambda row: row["row"])
            changes += rows
        state, changes = put(state, changes, settings), []
        found += told
    return state, found


def _without_habits(
    state: pl.DataFrame, novel: pl.DataFrame, habits: pl.Expr
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """``novel`` without what its identity did elsewhere before; rows of the state.

    Only of those whom an identity rule knows: one login on two servers may be two people.
    """
    nowhere = {name: pl.lit("") for name in ("agent", "cluster", "database")}
    keys = novel.select(*KEY, "day", "seen_us").with_columns(**nowhere)
    known = keyed.get(state, keys, ["last_us"])["last_us"].is_not_null()
    again = pl.int_range(pl.len()).over("owner", "item") > 0
    told = novel.with_columns(
        carried=habits & (pl.col("identity_name") != ""),
        elsewhere=known | novel.select(again).to_series(),
    )
    after = keys.filter(told["carried"]).unique(KEY, keep="first", maintain_order=True)
    rows = after.select(*KEY, "day", n=pl.lit(0.0), sum=pl.lit(0.0), last_us="seen_us")
    fresh = told.filter(~(pl.col("carried") & pl.col("elsewhere")))
    return fresh.drop("carried", "elsewhere"), rows


def _judged_apart(
    state: pl.DataFrame, meetings: Meetings, novel: pl.DataFrame, least_bits: float
) -> tuple[list[dict[str, Any]], list[pl.DataFrame]]:
    """As ``judged``, by days of their own; also the rows of the state that change."""
    members = meetings.members.with_columns(item=pl.lit(PEAK_APART), **PRIOR_APART.columns())
    subjects, parents = extremes.baselines(state, members)
    told, after = judged(replace(meetings, novel=novel, subjects=subjects), least_bits)
    return told, [parents, after]


def crowd() -> pl.Expr:
    """What it adds to a surprise that so many things have been new today; nothing on first days."""
    known = pl.col("history") / (pl.col("history") + 1)
    return (1 + (pl.col("nth") - 1) * known).log(10)


def _memberships(statements: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Who works where (as meetings), and a row an identity for what its days are like."""
    visits = by_who(statements).agg(
        who_columns(),
        pl.col("row", "at_us", "day", "identity_kind").first(),
        pl.col("seen_us").max(),
    )
    named = _owned(visits)
    clusters = named.group_by(WHO, maintain_order=True).agg(
        pl.col("row", "at_us", "day", "owner", "group").first(),
        pl.col("seen_us").max(),
        database=pl.lit(""),
    )
    columns = (*KEY, "group", "identity", "row", "at_us", "day", "seen_us")
    meetings = pl.concat(
        [
            clusters.with_columns(item=pl.lit(MEMBER)).select(columns),
            named.with_columns(item=pl.lit(MEMBER)).select(columns),
            named.with_columns(
                item=pl.concat_str(pl.lit(DATABASE), "database"), database=pl.lit("")
            ).select(columns),
        ]
    )
    members = clusters.select(
        *WHO, "database", "owner", "group", "seen_us",
        today="day", since_us="at_us", item=pl.lit(PEAK), **PRIOR.columns(),
    )  # fmt: skip
    return meetings, members


def _owned(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(
        owner=pl.concat_str(pl.lit("="), "identity"),
        group=pl.concat_str(pl.lit("~"), "identity_kind"),
    )


def _met(statements: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    who = statements.select(
        *WHO, "database", "identity_kind", "row", "at_us", "seen_us", "day", "who"
    )
    pairs = by_who(items.join(who, on="row", how="inner", maintain_order="left"), "item").agg(
        who_columns(), pl.col("row", "at_us", "day", "identity_kind").first(),
        pl.col("seen_us").max(),
    )  # fmt: skip
    return _owned(pairs).select(*KEY, "group", "identity", "row", "at_us", "day", "seen_us")


def _is_news() -> pl.Expr:
    return pl.col("item") != MEMBER


def _counted(state: pl.DataFrame, novel: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Adds what the peers know at each row; also the rows of the counts after all of them."""
    scope = ("agent", "cluster", "database")
    height = novel.height
    of_group = novel.select(*scope, "item", owner="group")
    of_all = of_group.with_columns(owner=pl.lit("*"))
    asked = [of_group, of_all]
    asked += [keys.with_columns(item=pl.lit(MEMBER)) for keys in asked]
    stored = keyed.get(state, pl.concat(asked), ["n", "sum"])
    known = stored["n"].fill_null(0.0)
    own = {"group": pl.col("group"), "all": pl.lit("*")}
    columns = [
        known[number * height : (number + 1) * height].alias(name)
        for number, name in enumerate(("group_known", "all_known", "group_there", "all_there"))
    ]
    novel = novel.with_columns(*columns, born=stored["sum"][3 * height :]).with_columns(
        born=pl.coalesce("born", "day"), member=pl.col("item") == MEMBER
    )
    over = {"group": (*scope, "group"), "all": scope}
    novel = novel.with_columns(
        *(
            (pl.col(f"{name}_known") + pl.int_range(pl.len()).over(*of, "item")).alias(
                f"{name}_have"
            )
            for name, of in over.items()
        ),
        # Whoever meets something is a member already, and no peer of itself.
        *(
            (pl.col(f"{name}_there") + pl.col("member").cum_sum().over(of) - 1)
            .clip(lower_bound=0.0)
            .alias(f"{name}_peers")
            for name, of in over.items()
        ),
    )
    after = pl.concat(
        novel.group_by(*of, "item")
        .agg(
            pl.col("day").max(),
            last_us=pl.col("seen_us").max(),
            n=pl.col(f"{name}_known").first() + pl.len(),
            sum=pl.col("born").min().cast(pl.Float64),
        )
        .with_columns(owner=own[name])
        .select(*KEY, "day", "last_us", "n", "sum")
        for name, of in over.items()
    )
    young = NEWCOMERS / (1 + (pl.col("day") - pl.col("born")).clip(lower_bound=0))
    everybody = (pl.col("all_have") + 0.5 + young) / (pl.col("all_peers") + 1 + young)
    mixed = (pl.col("group_have") + PSEUDO_PEERS * everybody) / (
        pl.col("group_peers") + PSEUDO_PEERS
    )
    rare = novel.select(
        *KEY, "group", "identity", "row", "at_us", "day", "seen_us",
        rarity=(-mixed.log(10)).clip(lower_bound=0.0), have="all_have", peers="all_peers",
    )  # fmt: skip
    return rare, after


def _numbered(state: pl.DataFrame, novel: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Adds ``nth``: which novel one of the identity's day it is."""
    keys = novel.group_by(WHO, maintain_order=True).agg(
        pl.col("owner", "day").first(), seen_us=pl.col("seen_us").max(), more=pl.len()
    ).with_columns(database=pl.lit(""), item=pl.lit(TODAY))  # fmt: skip
    stored = keyed.get(state, keys.rename({"day": "today"}), ["day", "n"]).with_columns(
        before=pl.when(pl.col("day") == pl.col("today")).then("n").otherwise(0.0)
    )
    numbered = novel.join(
        stored.select(*WHO, "before"), on=WHO, how="left", maintain_order="left"
    ).with_columns(nth=pl.col("before") + pl.int_range(1, pl.len() + 1).over(WHO))
    after = stored.select(
        *KEY, day="today", last_us="seen_us", n=pl.col("before") + pl.col("more"), sum=pl.lit(0.0)
    )
    return numbered.drop("before"), after


def kept(rows: pl.DataFrame, columns: Sequence[str] = ()) -> pl.DataFrame:
    return rows.select(*ROW, *columns)
