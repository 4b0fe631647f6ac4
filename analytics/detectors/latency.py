"""Latency: an identity's statements of one shape take longer than they did, and go on doing so.

Blocks of executions of one shape are reduced to their median and 95th percentile. Each is compared
with its usual value on earlier days as the logarithm of the ratio; two blocks in succession have
to be slower, and the lesser ratio counts. The largest of each day has a distribution
(``analytics.peaks``), filled up from all who run the shape, that says how unusual today is. A DDL
statement on a relation of the shape that came before is named: nothing slows one shape so often.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import polars as pl

from analytics import alike, blocks, candidates, keyed, peaks, said
from analytics.alike import Dated
from analytics.findings import between, finding_id, literal, on_server
from analytics.frames import SCOPE, succeeded, top_level
from analytics.peaks import OWNER, Prior
from model.finding import Finding, FindingKind

NAME = "latency"
VALUES: dict[str, pl.DataType | type[pl.DataType]] = {
    **peaks.VALUES,
    "blocks": pl.Float64,
    "p50": pl.Float64,
    "p95": pl.Float64,
    "today_blocks": pl.Float64,
    "today_p50": pl.Float64,
    "today_p95": pl.Float64,
    "last_p50": pl.Float64,
    "last_p95": pl.Float64,
    "open": pl.List(pl.Float32),
    "who": pl.String,
    "what": pl.String,
}
"""``p50``, ``p95``: of the logarithm of microseconds, summed over ``blocks``; ``last_...``: of the
block before; ``open``: the block that is being filled. ``who`` and ``what``: of a DDL statement,
whose owner is ``ddl NAME``."""
PRIOR = Prior(mean=0.25, spread=0.2, least_spread=0.08)
"""Of a day's largest logarithm of a ratio."""
ALARMED_WORTH = 0.25
DDL = ("drop", "create", "alter", "truncate", "reindex", "cluster", "vacuum", "analyze")
KEPT = (
    "row", "at_us", "id", *SCOPE, "identity", "identity_name", "user_name", "fingerprint",
    "summary", "operation", "duration_us", "reads", "writes",
)  # fmt: skip


@dataclass(frozen=True)
class LatencySettings:
    block_statements: int = 40
    day_seconds: float = 86_400
    """What is usual is frozen at the start of each such span."""
    memory_days: float = 14
    learn_blocks: float = 2
    """Of earlier days, before a shape is judged."""
    floor_us: int = 1_000
    """A 95th percentile below it is never remarkable."""
    ddl_seconds: float = 86_400
    min_bits: float = 2.0
    """An identity has many shapes, each with its own chance of a strange day."""
    alarm_bits: float = 3.0
    max_keys: int = 100_000


@dataclass(frozen=True)
class Latency:
    """Score: -log10 of the chance that a day of this shape is slowed down so much."""

    settings: LatencySettings = LatencySettings()
    name: str = NAME

    def empty_state(self) -> pl.DataFrame:
        return keyed.empty(dict.fromkeys(OWNER, pl.String), VALUES)

    def observe(
        self, state: pl.DataFrame, batch: pl.DataFrame
    ) -> tuple[pl.DataFrame, list[Finding]]:
        wanted = top_level() & succeeded() & (pl.col("fingerprint") != "") & pl.col("timed")
        day_us = int(self.settings.day_seconds * 1e6)
        dated = alike.dated_by_agent(batch, wanted, state, day_us)
        if dated.clocks is not None:
            state = self._put(state, blocks.filled(blocks.clock_rows(dated.clocks), state))
        found: list[Finding] = []
        for part in dated.parts():
            state, news = self._observe_day(state, dated, _owned(part))
            found += news
        return state, found

    def _put(self, state: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
        return keyed.put(state, rows, self.settings.max_keys)

    def _observe_day(
        self, state: pl.DataFrame, dated: Dated, part: pl.DataFrame
    ) -> tuple[pl.DataFrame, list[Finding]]:
        changes = _changes(dated, part)
        own, groups = peaks.opened(state, part, PRIOR)
        own = self._with_usual(own)
        size = self.settings.block_statements
        rows = blocks.numbered(dated, part, own, size, ("duration_us",))
        values = _values(rows, own)
        slowed = self._slowed(rows, own, values)
        told = said.told(_named(dated, said.due(slowed, self.settings.min_bits)), OWNER)
        known = _known_changes(state, changes) if told else changes
        own = said.with_said(self._learnt(own, values, slowed), said.scores(told, OWNER))
        state = self._put(state, blocks.together((groups, own, _last_changes(changes)), state))
        return state, [self._finding(row, self._change_before(row, known)) for row in told]

    def _with_usual(self, own: pl.DataFrame) -> pl.DataFrame:
        """At the start of a day today's blocks join what is usual."""
        turned = (pl.col("was") != pl.col("today")).fill_null(value=False)
        gap = (pl.col("today") - pl.col("was")).abs().clip(1, 60)
        keep = (-gap / self.settings.memory_days).exp()
        names = ("blocks", "p50", "p95")
        return (
            own.with_columns(
                pl.col([*names, *(f"today_{name}" for name in names)]).fill_null(0.0),
                filled=pl.col("open").list.len().fill_null(0).cast(pl.Int64),
            )
            .with_columns(
                pl.when(turned)
                .then((pl.col(name) + pl.col(f"today_{name}")) * keep)
                .otherwise(name)
                .alias(name)
                for name in names
            )
            .with_columns(
                pl.when(turned).then(0.0).otherwise(f"today_{name}").alias(f"today_{name}")
                for name in names
            )
        )

    def _slowed(self, rows: pl.DataFrame, own: pl.DataFrame, values: pl.DataFrame) -> pl.DataFrame:
        """The rows that complete a block, with its quantiles and how much slower it is."""
        ended = blocks.completed(rows)
        known = own.with_row_index("n").select(
            "n", "blocks", "p50", "p95", "last_p50", "last_p95", "mean", "spread", "said",
            history="days",
        )  # fmt: skip
        quantiles = values.join(ended.select(blocks.place()), on="place", how="semi").group_by(
            "place"
        ).agg(
            now_p50=pl.col("value").quantile(0.5, "lower").cast(pl.Float64),
            now_p95=pl.col("value").quantile(0.95, "lower").cast(pl.Float64),
        )  # fmt: skip
        joined = ended.with_columns(blocks.place()).join(
            quantiles, on="place", how="left", maintain_order="left"
        ).join(known, on="n", how="left", maintain_order="left")  # fmt: skip
        ratios = joined.with_columns(
            expression
            for q in ("p50", "p95")
            for expression in (
                (pl.col(q) / pl.col("blocks")).alias(f"usual_{q}"),
                pl.coalesce(pl.col(f"now_{q}").shift(1).over("n"), f"last_{q}").alias(f"prior_{q}"),
            )
        )
        slower = pl.max_horizontal(
            pl.min_horizontal(f"now_{q}", f"prior_{q}") - pl.col(f"usual_{q}")
            for q in ("p50", "p95")
        )
        judged = (
            (pl.col("blocks") >= self.settings.learn_blocks)
            & pl.col("prior_p95").is_not_null()
            & (pl.col("now_p95") >= math.log(self.settings.floor_us))
        )
        return ratios.with_columns(
            figure=pl.when(judged).then(slower.clip(lower_bound=0.001))
        ).with_columns(score=peaks.bits())

    def _learnt(
        self, own: pl.DataFrame, values: pl.DataFrame, slowed: pl.DataFrame
    ) -> pl.DataFrame:
        alarmed = pl.col("score") >= self.settings.alarm_bits
        worth = pl.when(alarmed).then(ALARMED_WORTH).otherwise(1.0)
        more = slowed.with_columns(worth=worth).group_by("n").agg(
            more_blocks=pl.col("worth").sum(),
            more_p50=(pl.col("now_p50") * pl.col("worth")).sum(),
            more_p95=(pl.col("now_p95") * pl.col("worth")).sum(),
            end_p50=pl.col("now_p50").last(),
            end_p95=pl.col("now_p95").last(),
            top=pl.col("figure").max(),
        )  # fmt: skip
        rest = (
            values.join(slowed.select("place"), on="place", how="anti")
            .group_by("n", maintain_order=True)
            .agg(pl.col("value"))
        )
        ids = own.drop("more_days", "more_sum", "more_squares").with_row_index("n")
        return (
            ids.join(more, on="n", how="left", maintain_order="left")
            .join(rest, on="n", how="left", maintain_order="left")
            .with_columns(
                pl.col("value").alias("open"),
                today_blocks=pl.col("today_blocks") + pl.col("more_blocks").fill_null(0.0),
                today_p50=pl.col("today_p50") + pl.col("more_p50").fill_null(0.0),
                today_p95=pl.col("today_p95") + pl.col("more_p95").fill_null(0.0),
                last_p50=pl.coalesce("end_p50", "last_p50"),
                last_p95=pl.coalesce("end_p95", "last_p95"),
                peak=pl.max_horizontal("peak", "top"),
            )
        )

    def _change_before(self, row: dict[str, Any], changes: pl.DataFrame) -> dict[str, Any] | None:
        """The latest DDL on a relation of the shape, or on an index that is named after one."""
        relations = [*(row["reads"] or []), *(row["writes"] or [])]
        if not relations or changes.is_empty():
            return None
        span_us = int(self.settings.ddl_seconds * 1e6)
        near = changes.filter(
            (pl.col("agent") == row["agent"])
            & (pl.col("cluster") == row["cluster"])
            & (pl.col("database") == row["database"])
            & pl.col("last_us").is_between(row["at_us"] - span_us, row["at_us"])
        ).sort("last_us", "owner", descending=True)
        for change in near.iter_rows(named=True):
            name = change["owner"].removeprefix("ddl ")
            if any(_about(name, relation) for relation in relations):
                return change
        return None

    def _finding(self, row: dict[str, Any], change: dict[str, Any] | None) -> Finding:
        who = candidates.shortened(row["identity"], 40)
        shape = candidates.shortened(row["summary"] or row["operation"], 50)
        ending, history = candidates.history(row["history"])
        q = max(("p95", "p50"), key=lambda name: row[f"now_{name}"] - row[f"usual_{name}"])
        usual, now = (_duration(math.exp(row[f"{when}_{q}"])) for when in ("usual", "now"))
        since = (
            f", since {candidates.shortened(change['who'], 40)} ran "
            f"{candidates.shortened(change['what'], 60)}"
            if change
            else ""
        )
        known = "identity_name" if row["identity_name"] else "user_name"
        return Finding(
            id=finding_id(row["at_us"], NAME, *(row[name] for name in OWNER)),
            kind=FindingKind.ANOMALY,
            detector=NAME,
            severity=candidates.severity(row["score"]),
            title=f"Slower: {shape}",
            sentence=f"{shape} of {who} has become slower: {q} {usual} to {now}{since}{ending}",
            at_us=row["at_us"],
            agent=row["agent"],
            cluster=row["cluster"],
            database=row["database"],
            user=row["user_name"],
            identity=row["identity"],
            object=row["fingerprint"],
            score=round(row["score"], 3),
            evidence_sql=(
                "SELECT started_at, duration_us, user_name, client_address, text FROM statements "
                f"WHERE {on_server(row)} AND fingerprint = {literal(row['fingerprint'])} "
                f"AND database = {literal(row['database'])} "
                f"AND {between('started_at', row['at_us'] - 86_400_000_000, row['at_us'] + 1)} "
                "ORDER BY started_at DESC LIMIT 200"
            ),
            statement_id=row["id"],
            details=(
                ("expected", usual),
                ("seen", now),
                ("unit", f"{q} of the duration"),
                ("p50", f"{_duration(math.exp(row['usual_p50']))} to "
                        f"{_duration(math.exp(row['now_p50']))}"),
                ("p95", f"{_duration(math.exp(row['usual_p95']))} to "
                        f"{_duration(math.exp(row['now_p95']))}"),
                ("since", change["what"] if change else ""),
                ("since_by", change["who"] if change else ""),
                ("known_as", known),
                ("statements", str(row["id"])),
                *history,
            ),
        )  # fmt: skip


def _owned(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(
        owner=pl.concat_str(pl.lit("="), "fingerprint", pl.lit(" "), "identity"),
        group=pl.concat_str(pl.lit("~"), "fingerprint"),
    )


def _named(dated: Dated, due: pl.DataFrame) -> pl.DataFrame:
    """Rows with the columns that a finding is made of."""
    return _owned(dated.prepared(due["row"], KEPT)).hstack(due.drop("row", "duration_us"))


def _values(rows: pl.DataFrame, own: pl.DataFrame) -> pl.DataFrame:
    """``n``, ``block`` and ``value`` (log of microseconds) with what the open blocks hold."""
    before = own.with_row_index("n").filter(pl.col("filled") > 0)
    held = before.select("n", block=pl.lit(0, pl.Int64), value="open").explode("value")
    fresh = rows.select("n", "block", value=pl.col("duration_us").log().cast(pl.Float32))
    return pl.concat([held, fresh]).select("n", blocks.place(), "value")


def _changes(dated: Dated, part: pl.DataFrame) -> pl.DataFrame:
    """DDL statements of this part by the relation, or other object, that they are about."""
    ddl = part.filter(pl.col("operation").is_in(DDL))
    if not ddl.is_empty():
        ddl = dated.rows(ddl)
    name = (
        pl.when(pl.col("writes").list.len() > 0)
        .then("writes")
        .otherwise(pl.concat_list(pl.col("summary").str.extract(r"^\S+(?: \S+)*? (\S+)$")))
    )
    return (
        ddl.with_columns(name=name)
        .explode("name", empty_as_null=True)
        .filter(pl.col("name").fill_null("") != "")
        .select(
            *SCOPE,
            owner=pl.concat_str(pl.lit("ddl "), "name"),
            last_us="at_us",
            first_us="at_us",
            who="identity",
            what=pl.when(pl.col("summary") == "").then("operation").otherwise("summary"),
        )
    )


def _last_changes(changes: pl.DataFrame) -> pl.DataFrame:
    return changes.unique(OWNER, keep="last", maintain_order=True)


def _known_changes(state: pl.DataFrame, changes: pl.DataFrame) -> pl.DataFrame:
    """Those of this part and those before it."""
    stored = state.filter(pl.col("owner").str.starts_with("ddl ")).select(changes.columns)
    return pl.concat([stored, changes])


def _about(name: str, relation: str) -> bool:
    """
    >>> _about("shop.orders", "shop.orders"), _about("orders_email_idx", "shop.orders")
    (True, True)
    >>> _about("shop.borders_idx", "shop.orders")
    False
    """
    if name == relation:
        return True
    bare, index = relation.rpartition(".")[2], name.rpartition(".")[2]
    return bool(bare) and (bare in index.split("_")[:-1] or index.startswith(f"{bare}_"))


def _duration(us: float) -> str:
    """
    >>> _duration(640), _duration(94_000), _duration(3.2e6)
    ('0.64 ms', '94 ms', '3.2 s')
    """
    if us >= 1e6:
        return f"{us / 1e6:.1f} s"
    return f"{us / 1e3:.0f} ms" if us >= 1e4 else f"{us / 1e3:.2g} ms"
