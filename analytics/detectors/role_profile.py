"""Role profile: a statement made of verbs, relations and columns that are not its identity's.

Each identity has counts of the verbs, relations and columns that it uses, smoothed by those of
its peers (the same kind of identity in this database) and of the whole database: a hierarchy of
Dirichlet distributions. The surprise of an item is what its -log P exceeds the identity's own mean
and spread by; so a statement of many ordinary columns does not add up to a strange one. Items of a
class come together: the tenth unknown column of an unknown relation is no news beside the first. So
of each class the strangest counts whole, and of all others only the logarithm of their sum.

The day's most surprising statement is compared with those of earlier days
(``analytics.extremes``). What is known is frozen at the start of a day.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from analytics import alike, candidates, days, extremes, keyed
from analytics.candidates import in_order, level, shortened, told, worth_a_look
from analytics.extremes import KEY, Prior
from analytics.findings import DAY_US, between, finding_id, literal, on_server
from analytics.frames import SCOPE, by_who, top_level, who_columns
from model.finding import Finding, FindingKind

NAME = "role_profile"
OWNER = (*SCOPE, "owner")
SUBJECT = (*SCOPE, "identity")
# Drivers and poolers wrap these around everything.
DULL_OPERATIONS = (
    "", "begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release",
    "discard", "deallocate", "close", "fetch", "show", "set", "reset", "transaction", "login",
)  # fmt: skip
TYPING_ERRORS = ("42P01", "42703", "42601", "42883")
"""Names and words that do not exist: what was never there says nothing of whose work it is."""
ITEM_SHARE = 20.0
"""Uses that the peers' distribution counts for in that of an identity."""
MANY_ITEMS = 25.0
"""Half-uses of items unknown to anybody, together: never-seen is seldom, not impossible."""
MOMENTS_SHARE = 50.0
UNKNOWN_MEAN, UNKNOWN_SPREAD = 4.0, 1.0
"""Of -log P of an item, where there is no history: about that of an item nobody used."""
REMARKABLE = 3.0
"""Bits. Of an item that said so much today only the root of its uses becomes usual."""
PRIOR = Prior(8.0, 5.0, 1.5)
WORDS = {"v": "verb", "r": "reading", "w": "writing", "c": "column"}


@dataclass(frozen=True)
class RoleProfileSettings:
    day_seconds: float = 86_400
    """The span whose extremes are compared, and at whose start what is usual is frozen."""
    min_bits: float = 0.75
    max_keys: int = 400_000
    max_keys_per_identity: int = 20_000


@dataclass(frozen=True)
class RoleProfile:
    """Score: -log10 of the chance of so surprising a statement in a day of this identity."""

    settings: RoleProfileSettings = RoleProfileSettings()
    name: str = NAME

    def empty_state(self) -> pl.DataFrame:
        """Of an identity's item, ``spread`` is its -log P of today, ``mean`` what exceeds."""
        return keyed.empty(dict.fromkeys(KEY, pl.String), extremes.VALUES)

    def observe(
        self, state: pl.DataFrame, batch: pl.DataFrame
    ) -> tuple[pl.DataFrame, list[Finding]]:
        wanted = (
            top_level()
            & ~pl.col("operation").is_in(DULL_OPERATIONS)
            & ~pl.col("sqlstate").is_in(TYPING_ERRORS)
            & (pl.col("identity") != "")
        )
        dated = alike.dated(batch, wanted, state, int(self.settings.day_seconds * 1e6))
        if dated.clocks is None:
            return state, []
        found: list[Finding] = []
        for part in dated.parts():
            changed, news = self._observe_day(state, _shapes(part))
            state = self._put(state, [*changed, dated.clocks])
            found += news
        return state, found

    def _observe_day(
        self, state: pl.DataFrame, shapes: pl.DataFrame
    ) -> tuple[list[pl.DataFrame], list[Finding]]:
        """Rows of the state that change, and what is new."""
        parts = _parts(shapes)
        classes, changed = _classes(state, parts)
        items, pushed = _items(state, parts, classes)
        surprising = _surprising(shapes, parts, items)
        peaks, parents = _peaks(state, surprising)
        chosen = self._told(surprising, peaks)
        rows = [
            *changed,
            *pushed,
            _classes_after(classes, items),
            candidates.with_said(items, chosen, (row["item"] for row in chosen)),
            candidates.with_told(peaks, chosen),
            parents,
        ]
        found = [(row["row"], self._finding(row, parts, items)) for row in chosen]
        return rows, in_order(found)

    def _told(self, surprising: pl.DataFrame, peaks: pl.DataFrame) -> list[dict[str, Any]]:
        bits = extremes.bits(pl.col("figure"), pl.col("expected"), pl.col("expected_spread"))
        hot = (
            surprising.filter(~pl.col("late"))
            .join(candidates.expected(peaks), on=OWNER, how="left")
            .filter(worth_a_look(bits, self.settings.min_bits))
            .with_columns(bits=bits)
            .with_columns(level=level(pl.col("bits")))
            .sort("row", maintain_order=True)
        )
        return told(hot, (*OWNER, "item"), OWNER)

    def _put(self, state: pl.DataFrame, parts: list[pl.DataFrame]) -> pl.DataFrame:
        rows = days.filled(parts, state)
        bound = keyed.GroupBound((*SCOPE, "owner"), self.settings.max_keys_per_identity)
        return keyed.put(state, rows, self.settings.max_keys, bound)

    def _finding(self, row: dict[str, Any], parts: pl.DataFrame, items: pl.DataFrame) -> Finding:
        who, item = row["identity"], row["item"]
        of_shape = parts.filter(pl.col("number") == row["number"]).select(*KEY)
        shares = (
            of_shape.join(items.select(*KEY, excess="mean", logp="spread"), on=KEY, how="inner")
            .filter(pl.col("excess") > 0)
            .sort(["excess", "item"], descending=[True, False])
            .select("item", "excess", "logp")
            .head(5)
            .rows()
        )
        share = row["most"] / row["figure"]
        suffix, history = candidates.history(row["history"])
        score = round(max(row["bits"], 0.001), 3)
        known = "identity_name" if row["identity_name"] else "user_name"
        start_us = row["at_us"] // DAY_US * DAY_US
        return Finding(
            id=finding_id(row["at_us"], NAME, *(row[name] for name in SCOPE), who, item),
            kind=FindingKind.ANOMALY,
            detector=NAME,
            severity=candidates.severity(score),
            title=f"Unlike its profile: {shortened(who)}, {_named(item)}",
            sentence=f"{shortened(who)} ran a {shortened(row['operation'], 20)} unlike its "
            f"profile: {share:.0%} of the surprise is {_named(item)}{suffix}",
            at_us=row["at_us"],
            agent=row["agent"],
            cluster=row["cluster"],
            database=row["database"],
            user=row["user_name"],
            identity=who,
            object=item[2:],
            score=score,
            evidence_sql=(
                "SELECT started_at, application_name, client_address, rows, text FROM statements "
                f"WHERE {on_server(row)} "
                f"AND {known} = {literal(who)} AND database = {literal(row['database'])} "
                f"AND {_condition(item)} "
                f"AND {between('started_at', start_us, start_us + DAY_US)} "
                "ORDER BY started_at LIMIT 100"
            ),
            statement_id=row["id"],
            details=(
                ("identity_kind", row["identity_kind"]),
                ("expected", f"{row['expected']:.3g}"),
                ("seen", f"{row['figure']:.3g}"),
                ("unit", "nats above its own mean and spread, most of a day"),
                *((f"surprise of {_named(name)}", f"{excess:.3g}") for name, excess, _ in shares),
                ("statements", str(row["id"])),
                *history,
            ),
        )


def _named(item: str) -> str:
    """
    >>> _named("c ssn")
    'column ssn'
    """
    return f"{WORDS[item[0]]} {shortened(item[2:])}"


def _condition(item: str) -> str:
    name = literal(item[2:])
    if item[0] == "v":
        return f"operation = {name}"
    column = {"r": "reads", "w": "writes", "c": "columns_used"}[item[0]]
    return f"list_contains({column}, {name})"


def _shapes(rows: pl.DataFrame) -> pl.DataFrame:
    """A row an identity and shape of statement: its first row, and the number of its ``uses``."""
    texts = [pl.col(name).list.join("\0", ignore_nulls=True).fill_null("") for name in _LISTS]
    spelled = pl.concat_str(pl.lit("\0\\0"), "operation", *texts, separator="\0")
    shape = pl.when(pl.col("fingerprint") != "").then("fingerprint").otherwise(spelled)
    return (
        by_who(rows.with_columns(shape=shape), "shape", "late")
        .agg(
            who_columns(),
            pl.col(*_FIRST).first(),
            since_us=pl.col("at_us").first(),
            seen_us=pl.col("seen_us").max(),
            uses=pl.col("times").sum().cast(pl.Float64),
        )
        .with_columns(
            owner=pl.concat_str(pl.lit("="), "identity"),
            group=pl.concat_str(pl.lit("~"), "identity_kind"),
            today=pl.col("day"),
        )
        .with_row_index("number")
    )


_LISTS = ("reads", "writes", "columns_used")
_FIRST = (
    "row", "at_us", "id", "day", "identity_kind", "identity_name", "user_name", "operation",
    *_LISTS,
)  # fmt: skip


def _parts(shapes: pl.DataFrame) -> pl.DataFrame:
    """A row an item of each shape, each once."""
    base = (
        "number", *SCOPE, "owner", "group", "today", "since_us", "seen_us", "uses",
    )  # fmt: skip
    verbs = shapes.select(*base, klass=pl.lit("v"), name="operation")
    lists = [
        shapes.select(*base, klass=pl.lit(klass), name=column).explode("name", empty_as_null=True)
        for klass, column in zip("rwc", _LISTS, strict=True)
    ]
    return (
        pl.concat([verbs, *lists])
        .filter(pl.col("name").fill_null("") != "")
        .unique(["number", "klass", "name"], keep="first", maintain_order=True)
        .with_columns(item=pl.concat_str("klass", pl.lit(" "), "name"))
    )


def _summed(parts: pl.DataFrame, *by: str) -> pl.DataFrame:
    return parts.group_by(*SCOPE, "owner", *by).agg(
        pl.col("group", "today").first(),
        pl.col("since_us").min(),
        pl.col("seen_us").max(),
        pl.col("uses").sum(),
    )


def _classes(state: pl.DataFrame, parts: pl.DataFrame) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """Of each identity and class its uses and moments of -log P; and the levels above, pushed.

    ``of_group`` and ``of_database``: uses there.
    """
    keys = _summed(parts, "klass").with_columns(item="klass")
    own = extremes.known(state, keys)
    group, database = extremes.levels(state, extremes.above(own)[:2])
    stale = pl.col("day").is_null() | (pl.col("today") > pl.col("day"))
    mean = pl.repeat(UNKNOWN_MEAN, own.height, eager=True)
    second = mean**2 + UNKNOWN_SPREAD**2
    for of in (database, group):
        weight = of["n"] + MOMENTS_SHARE
        mean = (of["sum"] + MOMENTS_SHARE * mean) / weight
        second = (of["sq"] + MOMENTS_SHARE * second) / weight
    moved = extremes.rolled(own).with_columns(
        day=pl.col("today"),
        of_group=group["n"],
        of_database=database["n"],
        mean=(pl.col("sum") + MOMENTS_SHARE * mean) / (pl.col("n") + MOMENTS_SHARE),
        second=(pl.col("sq") + MOMENTS_SHARE * second) / (pl.col("n") + MOMENTS_SHARE),
    )
    spread = (pl.col("second") - pl.col("mean") ** 2).clip(lower_bound=0).sqrt()
    moments = {name: pl.when(stale).then(name).otherwise(0.0) for name in extremes.TODAY}
    ended = own.select("since_us", **moments).with_columns(stale=own.select(stale).to_series())
    pushed = [extremes.pushed(of, ended) for of in (group, database)]
    return moved.with_columns(spread=spread), pushed


def _items(
    state: pl.DataFrame, parts: pl.DataFrame, classes: pl.DataFrame
) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """Of each identity and item its -log P of today, with this batch's uses; and those above."""
    own = extremes.known(state, _summed(parts, "klass", "item"))
    current, stale = extremes.by_day(own)
    pushed: list[pl.DataFrame] = []
    if not stale.is_empty():
        judged, pushed = _judged(state, stale, classes)
        current = pl.concat([current, judged.select(current.columns)])
    return current.with_columns(
        n_today=pl.col("n_today") + pl.col("uses"),
        last_us=pl.max_horizontal("last_us", "seen_us"),
    ), pushed


def _judged(
    state: pl.DataFrame, stale: pl.DataFrame, classes: pl.DataFrame
) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """Items at their first use of the day: -log P by what was known before it."""
    group, database = extremes.levels(state, extremes.above(stale)[:2])
    of_class = stale.select(*SCOPE, "owner", "klass").join(
        classes.select(*SCOPE, "owner", "klass", "n", "of_group", "of_database", "mean", "spread"),
        on=(*SCOPE, "owner", "klass"),
        how="left",
        maintain_order="left",
    )
    known_uses = pl.when(pl.col("said") >= REMARKABLE).then(pl.col("n_today").sqrt())
    tempered = stale.with_columns(n_today=known_uses.otherwise("n_today"))
    rolled = extremes.rolled(tempered)
    anywhere = (database["n"] + 0.5) / (of_class["of_database"] + MANY_ITEMS)
    among_peers = (group["n"] + ITEM_SHARE * anywhere) / (of_class["of_group"] + ITEM_SHARE)
    mine = (rolled["n"] + ITEM_SHARE * among_peers) / (of_class["n"] + ITEM_SHARE)
    surprise = -mine.log()
    judged = rolled.with_columns(
        day=pl.col("today"),
        spread=surprise,
        mean=(surprise - of_class["mean"] - of_class["spread"]).clip(lower_bound=0),
        # Of how many the item is known, for the person who reads.
        sum=database["sum"],
        sq=group["sum"],
    )
    new = stale["day"].is_null()
    ended = tempered.select(
        "since_us",
        "n_today",
        sum_today=new.cast(pl.Float64),
        sq_today=pl.lit(0.0),
        stale=pl.lit(value=True),
    )
    return judged, [extremes.pushed(of, ended) for of in (group, database)]


def _surprising(shapes: pl.DataFrame, parts: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """Shapes with their ``figure``, and the item that has the ``most`` of it (and ``said``)."""
    valued = parts.select("number", *KEY).join(
        items.select(*KEY, "said", excess="mean"), on=KEY, how="left", maintain_order="left"
    )
    summed = (
        valued.sort(["number", "excess", "item"], descending=[False, True, False])
        .group_by("number", maintain_order=True)
        .agg(
            pl.col("item", "said").first(),
            most=pl.col("excess").first(),
            figure=_of_classes(pl.col("excess"), pl.col("item")),
        )
    )
    return shapes.join(summed, on="number", how="inner", maintain_order="left")


def _of_classes(excess: pl.Expr, item: pl.Expr) -> pl.Expr:
    """``excess`` of the items of a statement, largest first."""
    klass = item.str.slice(0, 1)
    figures = []
    for name in WORDS:
        mine = excess.filter(klass == name)
        largest = mine.first().fill_null(0.0)
        figures.append(largest + (mine.sum() - largest).clip(lower_bound=0).log1p())
    return pl.sum_horizontal(figures)


def _peaks(state: pl.DataFrame, surprising: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    top = pl.when("late").then(0.0).otherwise("figure").max()
    subjects = (
        surprising.group_by(*SCOPE, "owner")
        .agg(
            pl.col("group", "today").first(),
            pl.col("since_us").first(),
            seen_us=pl.col("seen_us").max(),
            top=top,
        )
        .with_columns(item=pl.lit("peak statement"), **PRIOR.columns())
    )
    return extremes.baselines(state, subjects)


def _classes_after(classes: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    surprise = pl.col("spread")
    used = items.group_by(*SCOPE, "owner", "klass").agg(
        n_more=pl.col("uses").sum(),
        sum_more=(pl.col("uses") * surprise).sum(),
        sq_more=(pl.col("uses") * surprise**2).sum(),
    )
    return classes.join(used, on=(*SCOPE, "owner", "klass"), how="left").with_columns(
        n_today=pl.col("n_today") + pl.col("n_more"),
        sum_today=pl.col("sum_today") + pl.col("sum_more"),
        sq_today=pl.col("sq_today") + pl.col("sq_more"),
        last_us=pl.max_horizontal("last_us", "seen_us"),
    )
