"""Workload mix: an identity's statements are of other shapes, or in other shares, than usual.

A block of an identity's statements is compared with what it ran on the days before, by the
Jensen-Shannon divergence of the shares of shapes (0: the same, 1: nothing in common). What a block
of this size moves by chance, and what the hours of a day do, is in the largest divergence of each
day: their distribution (``analytics.peaks``) gives the p-value. A block that alarms counts for
a quarter in what is usual.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from analytics import alike, blocks, candidates, keyed, peaks, said
from analytics.alike import Dated
from analytics.detectors.new_shape import DULL_OPERATIONS
from analytics.findings import between, finding_id, literal, on_server
from analytics.frames import ALIKE, SCOPE, top_level
from analytics.peaks import OWNER, Prior
from model.finding import Finding, FindingKind

NAME = "workload_mix"
VALUES: dict[str, pl.DataType | type[pl.DataType]] = {
    **peaks.VALUES,
    "usual_shapes": pl.List(pl.String),
    "usual": pl.List(pl.Float64),
    "usual_total": pl.Float64,
    "today_shapes": pl.List(pl.String),
    "today_counts": pl.List(pl.Float64),
    "today_total": pl.Float64,
    "block_shapes": pl.List(pl.String),
    "block_counts": pl.List(pl.Int64),
    "block_names": pl.List(pl.String),
    "filled": pl.Int64,
}
PRIOR = Prior(mean=0.45, spread=0.15, least_spread=0.03)
"""Of a day's largest root of the divergence."""
ALARMED_WORTH = 0.25
KEPT = (
    "row", "at_us", "id", *SCOPE, "identity", "identity_kind", "identity_name", "user_name",
    "fingerprint", "summary", "operation",
)  # fmt: skip


@dataclass(frozen=True)
class WorkloadMixSettings:
    block_statements: int = 50
    day_seconds: float = 86_400
    """What is usual is frozen at the start of each such span."""
    memory_days: float = 14
    learn_statements: int = 100
    """Of earlier days; with fewer there is nothing to compare with."""
    top_shapes: int = 48
    most_a_day: float = 2_000
    """Statements that one day counts for at most in what is usual."""
    min_bits: float = 1.0
    alarm_bits: float = 2.5
    max_keys: int = 30_000


@dataclass(frozen=True)
class WorkloadMix:
    """Score: -log10 of the chance that a day of this identity has a block so far from usual."""

    settings: WorkloadMixSettings = WorkloadMixSettings()
    name: str = NAME

    def empty_state(self) -> pl.DataFrame:
        return keyed.empty(dict.fromkeys(OWNER, pl.String), VALUES)

    def observe(
        self, state: pl.DataFrame, batch: pl.DataFrame
    ) -> tuple[pl.DataFrame, list[Finding]]:
        wanted = (
            top_level()
            & (pl.col("fingerprint") != "")
            & (pl.col("identity") != "")
            & ~pl.col("operation").is_in(DULL_OPERATIONS)
        )
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
        own, parents = peaks.opened(state, part, PRIOR)
        own = self._with_mix(own)
        rows = blocks.numbered(dated, part, own, self.settings.block_statements, ())
        counts = _counts(rows, part, own)
        ended = blocks.completed(rows)
        done = counts.join(ended.select("n", "block"), on=("n", "block"), how="semi")
        moved = self._moved(done, ended, own)
        due = said.due(moved, self.settings.min_bits)
        named = _owned(dated.prepared(due["row"], KEPT)).hstack(due.drop("row", ALIKE))
        told = said.told(named, OWNER)
        own = self._learnt(own, counts, done, moved)
        own = said.with_said(own, said.scores(told, OWNER))
        state = self._put(state, blocks.together((parents, own), state))
        return state, [self._finding(row) for row in told]

    def _with_mix(self, own: pl.DataFrame) -> pl.DataFrame:
        """The LISTS as of today: at the start of a day today's join what is usual."""
        whole = own.with_columns(
            pl.col("filled").fill_null(0), pl.col("usual_total", "today_total").fill_null(0.0)
        )
        turned = pl.col("was") != pl.col("today")
        old = whole.filter(turned.fill_null(value=False))
        if old.is_empty():
            return whole
        number = old.with_row_index("m").with_columns(
            gap=(pl.col("today") - pl.col("was")).abs().clip(1, 60),
        ).with_columns(
            keep=(-pl.col("gap") / self.settings.memory_days).exp(),
            worth=(self.settings.most_a_day / pl.col("today_total").clip(1.0)).clip(
                upper_bound=1.0
            ),
        )  # fmt: skip
        weights = pl.concat(
            [
                _exploded(number, "m", "usual_shapes", "usual", "keep"),
                _exploded(number, "m", "today_shapes", "today_counts", "worth"),
            ]
        )
        usual = _listed(weights, "m", number["m"], self.settings.top_shapes)
        merged = number.drop("usual_shapes", "usual", "today_shapes", "today_counts").with_columns(
            usual["shapes"].alias("usual_shapes"),
            usual["weights"].alias("usual"),
            usual_total=pl.col("usual_total") * pl.col("keep")
            + pl.col("today_total") * pl.col("worth"),
            today_total=pl.lit(0.0),
            today_shapes=pl.lit(None, pl.List(pl.String)),
            today_counts=pl.lit(None, pl.List(pl.Float64)),
        )
        kept = whole.filter(~turned.fill_null(value=False))
        return pl.concat([kept, merged.select(whole.columns)])

    def _moved(self, done: pl.DataFrame, ended: pl.DataFrame, own: pl.DataFrame) -> pl.DataFrame:
        """The rows that end a block, with how far it is from usual and what makes that."""
        known = own.with_row_index("n").select(
            "n", "usual_shapes", "usual", "usual_total", "mean", "spread", "said", history="days"
        )  # fmt: skip
        touched = known.join(done.select("n").unique(), on="n", how="semi")
        usual = _exploded(touched.with_columns(one=1.0), "n", "usual_shapes", "usual", "one")
        size = self.settings.block_statements
        shares = (
            done.join(usual, on=("n", "shape"), how="left", maintain_order="left")
            .join(known.select("n", "usual_total"), on="n", how="left", maintain_order="left")
            .with_columns(
                p=pl.col("count") / size,
                q=(pl.col("weight").fill_null(0.0) / pl.col("usual_total").clip(1.0)),
            )
        )
        middle = (pl.col("p") + pl.col("q")) / 2
        parts = shares.with_columns(part=_entropy("p", middle) + _entropy("q", middle)).sort(
            "n", "block", "part", descending=[False, False, True], maintain_order=True
        )
        distance = parts.group_by("n", "block", maintain_order=True).agg(
            part=pl.col("part").sum(),
            present=pl.col("q").sum(),
            two=pl.col("part").head(2).sum(),
            names=pl.col("name").head(2),
            shapes=pl.col("shape").head(2),
            first_share=pl.col("p").first(),
            first_usual=pl.col("q").first(),
        )
        return (
            ended.join(distance, on=("n", "block"), how="left", maintain_order="left")
            .join(known.drop("usual_shapes", "usual"), on="n", how="left", maintain_order="left")
            .with_columns(
                distance=(pl.col("part") + (1 - pl.col("present")).clip(0.0, 1.0) / 2).clip(0, 1)
            )
            .with_columns(
                figure=pl.when(pl.col("usual_total") >= self.settings.learn_statements).then(
                    pl.col("distance").sqrt()
                )
            )
            .with_columns(score=peaks.bits())
        )

    def _learnt(
        self, own: pl.DataFrame, counts: pl.DataFrame, done: pl.DataFrame, moved: pl.DataFrame
    ) -> pl.DataFrame:
        """What today has so far, the block that is open, and the day's largest figure."""
        size = self.settings.block_statements
        ids = own.with_row_index("n")
        alarmed = pl.col("score") >= self.settings.alarm_bits
        worth = moved.select(
            "n", "block", worth=pl.when(alarmed).then(ALARMED_WORTH).otherwise(1.0)
        )
        today = pl.concat(
            [
                _exploded(ids.with_columns(one=1.0), "n", "today_shapes", "today_counts", "one"),
                done.join(worth, on=("n", "block")).select(
                    "n", "shape", weight=pl.col("count") * pl.col("worth")
                ),
            ]
        )
        lists = _listed(today, "n", ids["n"], self.settings.top_shapes)
        more = worth.group_by("n").agg(more=pl.col("worth").sum() * size)
        top = moved.group_by("n").agg(top=pl.col("figure").max())
        opened = counts.join(moved.select("n", "block"), on=("n", "block"), how="anti")
        rest = opened.group_by("n", maintain_order=True).agg(
            block_shapes="shape", block_counts="count", block_names="name",
            filled=pl.col("count").sum(),
        )  # fmt: skip
        return (
            ids.drop(
                "today_shapes", "today_counts", "block_shapes", "block_counts", "block_names",
                "filled",
            )
            .with_columns(
                lists["shapes"].alias("today_shapes"), lists["weights"].alias("today_counts")
            )
            .join(more, on="n", how="left", maintain_order="left")
            .join(top, on="n", how="left", maintain_order="left")
            .join(rest, on="n", how="left", maintain_order="left")
            .with_columns(
                today_total=pl.col("today_total") + pl.col("more").fill_null(0.0),
                peak=pl.max_horizontal("peak", "top"),
                filled=pl.col("filled").fill_null(0),
            )
            .drop("n")
        )  # fmt: skip

    def _finding(self, row: dict[str, Any]) -> Finding:
        who = candidates.shortened(row["identity"])
        ending, history = candidates.history(row["history"])
        known = "identity_name" if row["identity_name"] else "user_name"
        share = row["two"] / max(row["distance"], 1e-9)
        names = [candidates.shortened(name or shape, 40) for name, shape in
                 zip(row["names"], row["shapes"], strict=True)]  # fmt: skip
        usual = row["mean"] ** 2
        size = self.settings.block_statements
        shapes = ", ".join(literal(shape) for shape in row["shapes"])
        return Finding(
            id=finding_id(row["at_us"], NAME, *(row[name] for name in SCOPE), row["identity"]),
            kind=FindingKind.ANOMALY,
            detector=NAME,
            severity=candidates.severity(row["score"]),
            title=f"Other workload: {who}",
            sentence=f"{who}'s mix moved {row['distance']:.2f} over {size} statements, "
            f"{share:.0%} of it from {len(names)} shapes ({', '.join(names)}); the most of a usual "
            f"day is {usual:.2f}{ending}",
            at_us=row["at_us"],
            agent=row["agent"],
            cluster=row["cluster"],
            database=row["database"],
            user=row["user_name"],
            identity=row["identity"],
            object=row["shapes"][0],
            score=round(row["score"], 3),
            evidence_sql=(
                "SELECT started_at, fingerprint, summary, client_address, rows, text "
                f"FROM statements WHERE {on_server(row)} AND {known} = {literal(row['identity'])} "
                f"AND database = {literal(row['database'])} AND fingerprint IN ({shapes}) "
                f"AND {between('started_at', row['at_us'] - 86_400_000_000, row['at_us'] + 1)} "
                "ORDER BY started_at DESC LIMIT 100"
            ),
            statement_id=row["id"],
            details=(
                ("identity_kind", row["identity_kind"]),
                ("expected", f"{usual:.3f}"),
                ("seen", f"{row['distance']:.3f}"),
                ("unit", "Jensen-Shannon divergence, 0 to 1"),
                ("p_of_a_day", f"{10 ** -row['score']:.2g}"),
                ("first_shape_share", f"{row['first_share']:.2f}"),
                ("first_shape_usual", f"{row['first_usual']:.2f}"),
                ("statements", str(row["id"])),
                *history,
            ),
        )


def _entropy(name: str, middle: pl.Expr) -> pl.Expr:
    """Half of a share's bits against the middle of both; what is absent has none."""
    share = pl.col(name)
    return pl.when(share > 0).then(share * (share / middle).log(2) / 2).otherwise(0.0)


def _owned(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(
        owner=pl.concat_str(pl.lit("="), "identity"),
        group=pl.concat_str(pl.lit("~"), "identity_kind"),
    )


def _counts(rows: pl.DataFrame, part: pl.DataFrame, own: pl.DataFrame) -> pl.DataFrame:
    """``n``, ``block``, ``shape``, ``count``, ``name``, with what the open blocks hold already."""
    kept = own.with_row_index("n").filter(pl.col("filled") > 0)
    before = kept.select(
        "n", block=pl.lit(0, pl.Int64), shape="block_shapes", count="block_counts",
        name="block_names",
    ).explode("shape", "count", "name")  # fmt: skip
    name = pl.when(pl.col("summary") == "").then("operation").otherwise("summary")
    shapes = part.select(ALIKE, shape="fingerprint", name=name.str.slice(0, 60))
    fresh = (
        rows.group_by(blocks.place(), ALIKE, maintain_order=True)
        .agg(pl.col("n", "block").first(), count=pl.len().cast(pl.Int64))
        .join(shapes.unique(ALIKE), on=ALIKE, how="left", maintain_order="left")
    )
    return (
        pl.concat([before, fresh.select(before.columns)])
        .group_by("n", "block", "shape", maintain_order=True)
        .agg(pl.col("count").sum(), pl.col("name").first())
    )


def _exploded(
    rows: pl.DataFrame, number: str, shapes: str, weights: str, factor: str
) -> pl.DataFrame:
    listed = rows.filter(pl.col(shapes).list.len().fill_null(0) > 0)
    return (
        listed.select(number, factor, shape=shapes, weight=weights)
        .explode("shape", "weight")
        .select(number, "shape", weight=pl.col("weight") * pl.col(factor))
    )


def _listed(weights: pl.DataFrame, number: str, order: pl.Series, most: int) -> pl.DataFrame:
    """``shapes`` and ``weights`` of each ``number`` in ``order``, the ``most`` heaviest."""
    summed = (
        weights.group_by(number, "shape")
        .agg(pl.col("weight").sum())
        .sort(number, "weight", "shape", descending=[False, True, False])
        .group_by(number, maintain_order=True)
        .agg(shapes=pl.col("shape").head(most), weights=pl.col("weight").head(most))
    )
    return order.to_frame().join(summed, on=number, how="left", maintain_order="left")
