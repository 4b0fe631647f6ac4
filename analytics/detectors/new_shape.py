"""New statement shape: an identity runs one that it never ran, and that few others know.

How strange it is grows with the share of its parts (relations, columns, functions, verbs) that the
identity never used in this database. Of a program only the first new shape of a day is told, as
long as nobody can know that a release is coming: application_change tells of a release, once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from analytics import alike, candidates, extremes, keyed, nearest, novelty
from analytics.candidates import shortened
from analytics.findings import finding_id, literal, on_server
from analytics.frames import SCOPE, succeeded
from analytics.novelty import OWNER, WHO, NoveltySettings
from model.finding import Finding, FindingKind
from model.verdict import Severity

NAME = "new_shape"
# Drivers and poolers wrap these around everything; their shapes say nothing of intent.
DULL_OPERATIONS = (
    "begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release",
    "discard", "deallocate", "close", "fetch", "show", "set", "reset", "transaction",
)  # fmt: skip
PROGRAMS = ("service", "ai_agent")
NOTEWORTHY_BITS = 3.0
WORTH_OF_NEW_PARTS = 1.5
SHAPES, SLOT, PART = "shapes", "slot ", "part "
HERE = (*WHO, "database")


@dataclass(frozen=True)
class NewShapeSettings(NoveltySettings):
    max_keys: int = 500_000


@dataclass(frozen=True)
class NewShape:
    """Score: -log10 of the chance of a day with a shape as strange, of this identity."""

    settings: NewShapeSettings = NewShapeSettings()
    name: str = NAME

    def empty_state(self) -> pl.DataFrame:
        values = extremes.VALUES | {"features": pl.String}
        return keyed.empty(dict.fromkeys(extremes.KEY, pl.String), values)

    def observe(
        self, state: pl.DataFrame, batch: pl.DataFrame
    ) -> tuple[pl.DataFrame, list[Finding]]:
        wanted = (
            succeeded()
            & (pl.col("identity") != "")
            & (pl.col("fingerprint") != "")
            & ~pl.col("operation").is_in(DULL_OPERATIONS)
        )
        dated = alike.dated(batch, wanted, state, int(self.settings.day_seconds * 1e6))
        if dated.clocks is None:
            return state, []
        changes = [dated.clocks]
        found: list[Finding] = []
        for part in dated.parts():
            state, news = self._observe_day(state, part, changes)
            found, changes = found + news, []
        return state, found

    def _observe_day(
        self, state: pl.DataFrame, part: pl.DataFrame, clocks: list[pl.DataFrame]
    ) -> tuple[pl.DataFrame, list[Finding]]:
        before = state
        meetings = novelty.meet(
            state,
            novelty.kept(part),
            part.select("row", item=pl.concat_str(pl.lit("shape "), "fingerprint")),
        )
        shapes = meetings.novel.filter(pl.col("item").str.starts_with("shape "))
        made, used = _made(before, part, shapes)
        quiet = pl.col("identity_kind").is_in(PROGRAMS) & (pl.col("nth") > 1)
        told, subjects = novelty.judged(
            replace(meetings, novel=_figures(made, quiet)), self.settings.min_bits
        )
        slots = _slots(before, made)
        met = [meetings.changed, meetings.parents, subjects, used, *_slots_after(slots)]
        state = novelty.put(state, [*clocks, *met], self.settings)
        words = part.select("row", "summary", "operation")
        return state, _findings(before, told, slots, words)


def _made(
    state: pl.DataFrame, part: pl.DataFrame, shapes: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Shapes with their ``features`` and the ``share`` of parts new to their identity; the state's
    rows of those parts."""
    if shapes.is_empty():
        nothing = shapes.with_columns(features=pl.lit(""), share=pl.lit(0.0))
        return nothing, state.select(*extremes.KEY, "day", "last_us").clear()
    mine = part.join(shapes.select("row"), on="row", how="semi")
    owned = nearest.parts(mine).join(
        shapes.select("row", *HERE, "owner", "day", "at_us"), on="row", how="left",
        maintain_order="left",
    ).with_columns(item=pl.concat_str(pl.lit(PART), "part"))  # fmt: skip
    firsts = owned.unique([*HERE, "item"], keep="first", maintain_order=True)
    new = keyed.get(state, firsts, ["last_us"]).filter(pl.col("last_us").is_null())
    counts = owned.group_by("row").agg(parts=pl.len())
    fresh = new.group_by("row").agg(fresh=pl.len())
    made = (
        shapes.join(nearest.packed(owned), on="row", how="left", maintain_order="left")
        .join(counts, on="row", how="left", maintain_order="left")
        .join(fresh, on="row", how="left", maintain_order="left")
        .with_columns(
            features=pl.col("features").fill_null(""),
            share=(pl.col("fresh").fill_null(0) / pl.col("parts")).fill_null(0.0),
        )
        .drop("parts", "fresh")
    )
    return made, new.select(*extremes.KEY, "day", last_us="at_us")


def _figures(made: pl.DataFrame, quiet: pl.Expr) -> pl.DataFrame:
    if made.is_empty():
        return made
    known = pl.col("history") / (pl.col("history") + 1)
    strange = WORTH_OF_NEW_PARTS * pl.col("share") * known
    figure = pl.col("rarity") + novelty.crowd() + strange
    return made.with_columns(figure=figure, quiet=quiet)


def _slots(state: pl.DataFrame, made: pl.DataFrame) -> pl.DataFrame:
    """Shapes with the ``slot`` that each takes, one after the other, the oldest first."""
    if made.is_empty():
        return made
    keys = made.select(*OWNER, item=pl.lit(SHAPES))
    known = keyed.get(state, keys, ["n"])["n"].fill_null(0.0)
    return made.with_columns(known.alias("shapes_before")).with_columns(
        number=pl.col("shapes_before").cast(pl.Int64) + pl.int_range(pl.len()).over(OWNER)
    ).with_columns(slot=pl.col("number") % nearest.SLOTS)  # fmt: skip


def _slots_after(slots: pl.DataFrame) -> list[pl.DataFrame]:
    if slots.is_empty():
        return []
    latest = slots.unique([*OWNER, "slot"], keep="last", maintain_order=True)
    filled = latest.select(
        *OWNER, item=pl.concat_str(pl.lit(SLOT), "slot"), day="day", last_us="at_us",
        features="features",
    )  # fmt: skip
    counts = slots.group_by(OWNER).agg(
        pl.col("day").max(), last_us=pl.col("at_us").max(), n=pl.col("number").max() + 1.0
    )
    return [filled, counts.with_columns(item=pl.lit(SHAPES))]


def _findings(
    state: pl.DataFrame, told: list[dict[str, Any]], slots: pl.DataFrame, words: pl.DataFrame
) -> list[Finding]:
    found = []
    for row in told:
        mine = slots.filter(
            pl.all_horizontal(pl.col(name) == row[name] for name in OWNER)
            & (pl.col("row") < row["row"])
        )
        known = _known(state, row) | dict(mine.select("slot", "features").iter_rows())
        gap, differs = nearest.nearest(row["features"], known)
        _, summary, operation = words.row(by_predicate=pl.col("row") == row["row"])
        found.append(_finding(row, summary or operation or "a statement", gap, differs))
    return found


def _known(state: pl.DataFrame, row: dict[str, Any]) -> dict[int, str]:
    slots = pl.int_range(nearest.SLOTS, dtype=pl.Int64, eager=True).alias("slot").to_frame()
    keys = slots.with_columns(
        *(pl.lit(row[name]).alias(name) for name in OWNER),
        item=pl.concat_str(pl.lit(SLOT), "slot"),
    )
    stored = keyed.get(state, keys, ["features"]).filter(pl.col("features").is_not_null())
    return dict(stored.select("slot", "features").iter_rows())


def _finding(row: dict[str, Any], what: str, gap: float, differs: str) -> Finding:
    who, shape = row["identity"], row["item"].removeprefix("shape ")
    peers, have = int(row["peers"]), int(row["have"])
    suffix, history = candidates.history(row["history"])
    score = round(max(row["bits"], 0.001), 3)
    known = "identity_name" if row["identity_name"] else "user_name"
    return Finding(
        id=finding_id(row["at_us"], NAME, *(row[name] for name in SCOPE), who, shape),
        kind=FindingKind.ANOMALY,
        detector=NAME,
        severity=Severity.MEDIUM if score >= NOTEWORTHY_BITS else Severity.LOW,
        title=f"New statement shape from {shortened(who)}",
        sentence=f"{shortened(who, 40)} ran a statement of a new shape, {shortened(what, 50)}; "
        f"{shortened(differs, 110)}; {have} of {peers} others run it{suffix}",
        at_us=row["at_us"],
        agent=row["agent"],
        cluster=row["cluster"],
        database=row["database"],
        user=row["user_name"],
        identity=who,
        object=shape,
        score=score,
        evidence_sql=(
            "SELECT started_at, application_name, client_address, rows, text FROM statements "
            f"WHERE {on_server(row)} "
            f"AND {known} = {literal(who)} AND database = {literal(row['database'])} "
            f"AND fingerprint = {literal(shape)} ORDER BY started_at LIMIT 100"
        ),
        statement_id=row["id"],
        details=(
            ("summary", what),
            ("identity_kind", row["identity_kind"]),
            ("nearest", differs),
            ("distance", f"{gap:.2f}"),
            ("new_parts", f"{row['share']:.2f}"),
            ("expected", f"{row['expected']:.2g}"),
            ("seen", f"{row['figure']:.2g}"),
            ("unit", "strangeness of the day's newest shape"),
            ("peers", str(peers)),
            ("peers_have", str(have)),
            ("new_today", str(int(row["nth"]))),
            ("statements", str(row["id"])),
            *history,
        ),
    )
