"""Edge burst: in a few minutes, far more of an edge, or far more edges at once, than is usual.

Edges lead from an identity to the relations it uses, and from an address to the identities that
come from it. As in MIDAS-F, the count of an edge in the current tick is compared with its mean
over past ticks by a chi-square, and a tick counts as no more than a multiple of the mean, so a
burst does not become usual. A never-seen edge has a small mean instead of none (with exact means
it would score 0). What a tick's chi-square is worth is measured on the daily extremes of its
source (``analytics.extremes``): a nightly job bursts every night. Dumps open all tables and are a
source of their own (``analytics.ways``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl

from analytics import alike, candidates, days, extremes, keyed, ways
from analytics.alike import Dated
from analytics.candidates import in_order, level, risen, shortened, told, worth_a_look
from analytics.extremes import KEY, Prior
from analytics.findings import between, finding_id, literal, on_server
from analytics.frames import SCOPE, top_level
from model.finding import Finding, FindingKind

NAME = "edge_burst"
SOURCE = (*SCOPE, "owner", "kind")
TICK = (*SOURCE, "target", "tick")
VALUES = {**extremes.VALUES, "tick": pl.Int64, "now": pl.Float64}
LEAST_RATE = 0.2
"""Of an edge per active tick of its source: what was never seen counts as so seldom."""
MOST_OF_USUAL, MOST_OF_UNUSUAL = 10.0, 10.0
"""A tick adds at most ten times the mean, and ten, to the past."""
DULL_RELATION = r"^(pg_catalog\.|information_schema\.|pg_toast\.|pg_temp|pg_)"
SENSITIVE_RELATION = r"^(pg_catalog\.)?(pg_authid|pg_shadow|pg_user_mapping|pg_statistic)"
"""A client program reads a dozen catalogs when it connects: that opens no tables."""
PRIORS = {"edge": Prior(6.0, 3.0, 0.6), "fan": Prior(3.0, 1.5, 0.3), "new": Prior(3.0, 2.0, 1.3)}


@dataclass(frozen=True)
class EdgeBurstSettings:
    tick_seconds: float = 300
    day_seconds: float = 86_400
    """The span whose extremes are compared, and at whose start what is usual is frozen."""
    min_bits: float = 0.75
    max_keys: int = 400_000
    max_keys_per_source: int = 20_000


@dataclass(frozen=True)
class EdgeBurst:
    """Score: -log10 of the chance that the source has such a tick in a day."""

    settings: EdgeBurstSettings = EdgeBurstSettings()
    name: str = NAME

    def empty_state(self) -> pl.DataFrame:
        return keyed.empty(dict.fromkeys(KEY, pl.String), VALUES)

    def observe(
        self, state: pl.DataFrame, batch: pl.DataFrame
    ) -> tuple[pl.DataFrame, list[Finding]]:
        wanted = top_level() & (pl.col("identity") != "")
        day_us = int(self.settings.day_seconds * 1e6)
        dated = alike.dated(batch, wanted, state, day_us, self._tick_us)
        if dated.clocks is None:
            return state, []
        found: list[Finding] = []
        for part in dated.parts():
            changed, news = self._observe_day(state, dated, self._edges(part))
            state = self._put(state, [*changed, dated.clocks])
            found += news
        return state, found

    def _observe_day(
        self, state: pl.DataFrame, dated: Dated, edges: pl.DataFrame
    ) -> tuple[list[pl.DataFrame], list[Finding]]:
        """Rows of the state that change, and what is new."""
        if edges.is_empty():
            return [], []
        counted = _counted(edges)
        nodes = _nodes(state, counted)
        ticks = _edge_ticks(state, counted, nodes)
        opened = _opened(ticks)
        fans = _fan_ticks(opened, nodes)
        peaks, parents = _peaks(state, ticks, fans)
        bursts = self._told(lambda hot: self._single(dated, edges, hot), ticks, peaks, "edge")
        wide = self._told(lambda _: _opening(edges, opened), fans, peaks, "fan")
        changed = [
            _edges_after(ticks, bursts),
            _nodes_after(fans, wide),
            candidates.with_told(peaks, [*bursts, *wide], (*SOURCE, "metric")),
            parents,
        ]
        found = [(row["row"], self._finding(row)) for row in (*bursts, *wide)]
        return changed, in_order(found)

    @property
    def _tick_us(self) -> int:
        return int(self.settings.tick_seconds * 1e6)

    def _single(self, dated: Dated, edges: pl.DataFrame, hot: pl.DataFrame) -> pl.DataFrame:
        """Every row of the edges and ticks that are ``hot``."""
        some = edges.join(hot.select(TICK), on=TICK, how="semi")
        chosen = some.drop("tick").rename({"own_tick": alike.TICK})
        return self._edges(dated.rows(chosen, _SINGLE).with_columns(alike.ONE))

    def _edges(self, rows: pl.DataFrame) -> pl.DataFrame:
        tick = pl.when("late").then(-1).otherwise("tick").alias("tick")
        kept = (*SCOPE, *_ROW, tick, pl.col("tick").alias("own_tick"))
        # Nothing else is carried along: an explode copies all that it has.
        access = rows.with_columns(ways.dump_or_not()).select(
            *kept, owner=ways.owner(), group=ways.group(), kind=pl.lit("access"),
            target=pl.concat_list("reads", "writes"),
        ).explode("target", empty_as_null=True)  # fmt: skip
        relation = pl.col("target")
        secret = relation.str.contains(SENSITIVE_RELATION)
        dull = relation.str.contains(DULL_RELATION) & ~secret
        known = (pl.col("client_address") != "") & (pl.col("operation") != "login")
        login = rows.filter(known).select(
            *kept,
            owner=pl.concat_str(pl.lit("@"), "client_address"),
            group=pl.lit("@"),
            kind=pl.lit("login"),
            target="identity",
        )
        columns = (*TICK, "group", *_ROW, "own_tick")
        both = pl.concat([access.filter(~dull).select(columns), login.select(columns)])
        return both.with_row_index("edge")

    def _told(
        self,
        rows_of: Callable[[pl.DataFrame], pl.DataFrame],
        ticks: pl.DataFrame,
        peaks: pl.DataFrame,
        metric: str,
    ) -> list[dict[str, Any]]:
        """What is said of one metric, with the figures behind it. ``rows_of``: hot ticks."""
        least = self.settings.min_bits
        bits = extremes.bits(pl.col("figure"), pl.col("expected"), pl.col("expected_spread"))
        of = [name for name in TICK if name in ticks.columns]
        expected = candidates.expected(peaks.filter(pl.col("metric") == metric), SOURCE)
        hot = (
            ticks.filter(pl.col("tick") >= 0)
            .select(*of, "before", "rate", "figure", "said")
            .join(expected, on=SOURCE, how="inner")
            .filter(worth_a_look(bits, least))
        )
        if hot.is_empty():
            return []
        cause = [name for name in of if name != "tick"]
        risen_rows = (
            rows_of(hot)
            .join(hot.drop("figure"), on=of, how="inner", maintain_order="left")
            .sort("row", maintain_order=True)
            .with_columns(total=pl.col("before") + pl.int_range(1, pl.len() + 1).over(of))
            .with_columns(figure=_figure())
            .with_columns(bits=bits, metric=pl.lit(metric))
            .with_columns(level=level(pl.col("bits")))
            .filter(pl.col("level") >= least)
            .filter(risen(cause))
        )
        return told(risen_rows, cause, SOURCE)

    def _put(self, state: pl.DataFrame, parts: list[pl.DataFrame]) -> pl.DataFrame:
        rows = days.filled(parts, state)
        bound = keyed.GroupBound((*SCOPE, "owner"), self.settings.max_keys_per_source)
        return keyed.put(state, rows, self.settings.max_keys, bound)

    def _finding(self, row: dict[str, Any]) -> Finding:
        what = _words(row)
        kind, dump, _ = row["group"].removeprefix("~").partition(ways.SUFFIX[ways.DUMP])
        seconds = self.settings.tick_seconds
        suffix, history = candidates.history(row["history"])
        start_us = min(int(row["tick"] * seconds * 1e6), row["at_us"])
        cause = what.cause or row["target"]
        source = row["owner"][1:]
        who = row["identity"]
        score = round(max(row["bits"], 0.001), 3)
        return Finding(
            id=finding_id(
                row["at_us"], NAME, *(row[name] for name in SCOPE), row["owner"], who, cause
            ),
            kind=FindingKind.ANOMALY,
            detector=NAME,
            severity=candidates.severity(score),
            title=f"Burst: {shortened(source)}, {what.title}",
            sentence=f"{what.sentence} in {seconds:g} s; usual {what.usual}{suffix}",
            at_us=row["at_us"],
            agent=row["agent"],
            cluster=row["cluster"],
            database=row["database"],
            user=row["user_name"],
            identity=who,
            object=cause,
            score=score,
            evidence_sql=(
                "SELECT started_at, user_name, client_address, rows, sqlstate, text "
                f"FROM statements WHERE {on_server(row)} AND {what.condition} "
                f"AND database = {literal(row['database'])} "
                f"AND {between('started_at', start_us, start_us + int(seconds * 1e6))} "
                "ORDER BY started_at LIMIT 200"
            ),
            statement_id=row["id"],
            details=(
                ("identity_kind", kind),
                ("expected", what.usual),
                ("seen", f"{row['total']:.0f}"),
                ("unit", what.unit),
                ("chi_square", f"{math.expm1(row['figure']):.4g}"),
                ("usual_extreme_of_a_day", f"{math.expm1(row['expected']):.4g}"),
                ("window_seconds", f"{seconds:g}"),
                ("statements", str(row["id"])),
                *ways.detail(ways.DUMP if dump else ways.READ),
                *history,
            ),
        )


_ROW = (
    "row", "at_us", "seen_us", "times", "id", "day", "late", "segment", "alike", "identity",
    "identity_name", "user_name",
)  # fmt: skip
_SINGLE = (
    *SCOPE, *alike.OF_ONE, "row", "id", "alike", "identity", "identity_name", "identity_kind",
    "user_name", "client_address", "operation", "reads", "writes", "application_name",
)  # fmt: skip


@dataclass(frozen=True)
class _Words:
    title: str
    sentence: str
    usual: str
    unit: str
    cause: str
    condition: str


def _words(row: dict[str, Any]) -> _Words:
    who, source = shortened(row["identity"]), shortened(row["owner"][1:])
    target, count, rate = shortened(row["target"]), f"{row['total']:.0f}", row["rate"]
    known = "identity_name" if row["identity_name"] else "user_name"
    mine = f"{known} = {literal(row['identity'])}"
    from_here = f"client_address = {literal(row['owner'][1:])}"
    usual = f"{rate:.0f}" if rate >= 1 else f"{rate:.1g}"
    if row["kind"] == "access" and row["metric"] == "edge":
        relation = literal(row["target"])
        touches = f"list_contains(list_concat(reads, writes), {relation})"
        sentence = f"{who} used {target} {count} times"
        return _Words(target, sentence, usual, "statements", "", f"{mine} AND {touches}")
    if row["kind"] == "access":
        sentence = f"{who} opened {count} tables"
        return _Words(f"{count} tables", sentence, usual, "relations", "relations", mine)
    if row["kind"] == "new":
        sentence = f"{who} opened {count} tables that it never used"
        return _Words(f"{count} new tables", sentence, "none", "new relations", "new", mine)
    sentence = f"{count} identities came from {source}, {who} the last,"
    return _Words(f"{count} identities", sentence, usual, "identities", "identities", from_here)


def _figure() -> pl.Expr:
    """Log of MIDAS's chi-square; 0 for less than usual."""
    excess = (pl.col("total") - pl.col("rate")).clip(lower_bound=0)
    return (excess**2 / pl.col("rate")).log1p()


def _counted(edges: pl.DataFrame) -> pl.DataFrame:
    """A row an edge and tick."""
    return edges.group_by(TICK).agg(
        pl.col("group").first(),
        first_edge=pl.col("edge").first(),
        since_us=pl.col("at_us").first(),
        today=pl.col("day").first(),
        seen_us=pl.col("seen_us").max(),
        more=pl.col("times").sum().cast(pl.Float64),
    )


def _nodes(state: pl.DataFrame, counted: pl.DataFrame) -> pl.DataFrame:
    """A row a source: its active ticks so far (``n``), targets in them (``sum``), current tick."""
    keys = counted.group_by(SOURCE).agg(pl.col("group", "today").sort_by("first_edge").first())
    novel = keys.filter(pl.col("kind") == "access").with_columns(kind=pl.lit("new"))
    both = pl.concat([keys, novel]).with_columns(item=pl.concat_str(pl.lit("node "), "kind"))
    return extremes.rolled(extremes.known(state, both))


def _edge_ticks(state: pl.DataFrame, counted: pl.DataFrame, nodes: pl.DataFrame) -> pl.DataFrame:
    """A row an edge and tick (-1: of late rows): counts ``before`` this batch and in ``total``."""
    keys = counted.rename({"tick": "at_tick"}).with_columns(
        item=pl.concat_str("kind", pl.lit(" "), "target")
    )
    there = pl.col("tick") == pl.col("at_tick")
    return (
        extremes.rolled(extremes.known(state, keys))
        .join(nodes.select(*SOURCE, active=pl.col("n")), on=SOURCE, how="left")
        .with_columns(
            before=pl.when(there).then("now").otherwise(0.0),
            rate=((pl.col("n") + LEAST_RATE) / (pl.col("active") + 1)).clip(LEAST_RATE),
        )
        .with_columns(total=pl.col("before") + pl.col("more"))
        .with_columns(figure=_figure(), last_tick="tick", tick=pl.col("at_tick"))
        .drop("at_tick")
    )


def _opened(ticks: pl.DataFrame) -> pl.DataFrame:
    """Edges at their first use in a tick; as kind ``new`` those never used before today."""
    firsts = ticks.filter((pl.col("tick") >= 0) & (pl.col("before") == 0)).sort("first_edge")
    novel = firsts.filter(
        (pl.col("kind") == "access") & (pl.col("n") == 0) & (pl.col("active") > 0)
    )
    return pl.concat([firsts, novel.with_columns(kind=pl.lit("new"))])


def _opening(edges: pl.DataFrame, opened: pl.DataFrame) -> pl.DataFrame:
    """The rows that open those edges."""
    rows = edges[opened["first_edge"]].with_columns(kind=opened["kind"])
    return rows.sort("edge", "kind")


def _fan_ticks(opened: pl.DataFrame, nodes: pl.DataFrame) -> pl.DataFrame:
    """A row a source and tick: how many targets it used."""
    fans = opened.group_by(*SOURCE, "tick").agg(
        more=pl.len().cast(pl.Float64), seen_us=pl.col("since_us").max()
    )
    there = pl.col("last_tick") == pl.col("tick")
    return (
        fans.join(nodes.rename({"tick": "last_tick"}), on=SOURCE, how="left")
        .with_columns(
            before=pl.when(there).then("now").otherwise(0.0),
            rate=pl.when(pl.col("kind") == "new")
            .then(LEAST_RATE)
            .otherwise((pl.col("sum") + 1) / (pl.col("n") + 1)),
        )
        .with_columns(total=pl.col("before") + pl.col("more"))
        .with_columns(figure=_figure())
    )


def _peaks(
    state: pl.DataFrame, ticks: pl.DataFrame, fans: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A row a source and metric: what its day's extreme is expected to be, and ``top`` so far."""
    top = pl.when(pl.col("tick") >= 0).then("figure").otherwise(0.0).max()
    sources = (
        ticks.sort("first_edge")
        .group_by(SOURCE)
        .agg(pl.col("group", "today", "since_us").first(), pl.col("seen_us").max(), top=top)
    )
    access = sources.filter(pl.col("kind") == "access")
    novel = access.with_columns(kind=pl.lit("new"))
    widest = fans.group_by(SOURCE).agg(top=pl.col("figure").max())
    # A day without anything new is a day as well: its extreme is 0.
    wide, newest = (
        frame.drop("top")
        .join(widest, on=SOURCE, how="left")
        .with_columns(pl.col("top").fill_null(0.0))
        for frame in (sources, novel)
    )
    # Addresses come and go: how much one carries says little of the identity behind it.
    subjects = pl.concat(
        frame.select(*SOURCE, "group", "today", "since_us", "seen_us", "top").with_columns(
            metric=pl.lit(metric),
            item=pl.concat_str(pl.lit(f"peak {metric} "), "kind"),
            **PRIORS[prior].columns(),
        )
        for metric, prior, frame in (
            ("edge", "edge", access),
            ("fan", "fan", wide),
            ("fan", "new", newest),
        )
    )
    return extremes.baselines(state, subjects)


def _capped(name: str) -> pl.Expr:
    """A tick of an edge adds no more than this to what is usual. Late rows just count."""
    most = MOST_OF_USUAL * pl.col("rate") + MOST_OF_UNUSUAL
    return pl.when(pl.col("tick") < 0).then(name).otherwise(pl.min_horizontal(name, most))


def _edges_after(ticks: pl.DataFrame, told_rows: list[dict[str, Any]]) -> pl.DataFrame:
    prompt = pl.col("tick") >= 0
    last = pl.col("total").sort_by("tick").last()
    after = ticks.group_by(KEY).agg(
        *(pl.col(name).first() for name in _CARRIED),
        n_today=pl.col("n_today").first() + (_capped("total") - _capped("before")).sum(),
        now=pl.when(prompt.any()).then(last).otherwise(pl.col("now").first()),
        tick=pl.max_horizontal(pl.col("last_tick").first(), pl.col("tick").max()),
        last_us=pl.max_horizontal(pl.col("last_us").first(), pl.col("seen_us").max()),
    )
    items = (f"{row['kind']} {row['target']}" for row in told_rows)
    return candidates.with_said(after, told_rows, items)


def _nodes_after(fans: pl.DataFrame, told_rows: list[dict[str, Any]]) -> pl.DataFrame:
    fresh = (pl.col("tick") != pl.col("last_tick")).cast(pl.Float64)
    after = fans.group_by(KEY).agg(
        *(pl.col(name).first() for name in _CARRIED),
        n_today=pl.col("n_today").first() + fresh.sum(),
        sum_today=pl.col("sum_today").first() + (_capped("total") - _capped("before")).sum(),
        now=pl.col("total").sort_by("tick").last(),
        tick=pl.col("tick").max(),
        last_us=pl.max_horizontal(pl.col("last_us").first(), pl.col("seen_us").max()),
    )
    items = (f"node {row['kind']}" for row in told_rows)
    return candidates.with_said(after, told_rows, items)


_CARRIED = ("day", "n", "sum", "said")
