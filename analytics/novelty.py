"""First-seen reasoning that several detectors share: has this subject met this item before?

A subject (an identity, a role) meets items (a relation, a statement shape). A meeting is novel
when the state does not know the pair. How surprising it is has two independent sides: how seldom
this subject meets anything new (own rate), and how few of its peers, the other subjects of the
same database, know the item (peer rate). Both are shrunk by half a pseudo-observation: with exact
rates a pair that never occurred would score infinity, or zero, whatever the history.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import polars as pl

from analytics.frames import SCOPE, keep_latest

SUBJECT = (*SCOPE, "subject")
KEY = (*SUBJECT, "item")
STATE_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    **dict.fromkeys(KEY, pl.String),
    "first_us": pl.Int64,
    "last_us": pl.Int64,
    "count": pl.Int64,
}
PSEUDO = 0.5


@dataclass(frozen=True)
class NoveltySettings:
    learn_seconds: float
    """A subject younger than this only teaches."""
    learn_statements: int
    """A subject with fewer statements than this only teaches."""
    min_score: float
    max_peer_rate: float = 0.5
    """What this share of the peers (two or more) do is not news."""
    max_keys: int = 200_000


def empty_state() -> pl.DataFrame:
    """One row a known (subject, item); ``item`` '' is the subject itself, its statements."""
    return pl.DataFrame(schema=STATE_SCHEMA)


def observe(
    state: pl.DataFrame, statements: pl.DataFrame, items: pl.DataFrame, settings: NoveltySettings
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The state after ``statements`` and the surprising meetings among them.

    ``statements``: SUBJECT, ``row`` (ascending), ``at_us`` and whatever else the caller wants
    back; ``items``: ``row`` and ``item``, in the order of rows. The result has the columns of
    statements with ``item``, ``score``, ``peers_have``, ``peers``, ``statements_before`` and
    ``items_before``; it is empty, without the latter columns, when nothing surprises.
    """
    if statements.is_empty():
        return state, statements
    subjects = state.filter(pl.col("item") == "")
    numbered = _with_history(statements, subjects)
    pairs = items.filter(pl.col("item") != "").join(
        statements, on="row", how="inner", maintain_order="left"
    )
    firsts = pairs.unique(KEY, keep="first", maintain_order=True)
    novel = firsts.join(state, on=KEY, how="anti", maintain_order="left")
    after = _advance(state, statements, pairs, settings.max_keys)
    if novel.is_empty():
        return after, novel
    history = numbered.select("row", "statements_before", "since_us")
    novel = novel.join(history, on="row", how="left", maintain_order="left")
    return after, _surprising(novel, state, subjects, numbered, settings)


def _with_history(statements: pl.DataFrame, subjects: pl.DataFrame) -> pl.DataFrame:
    """Adds ``statements_before`` and ``since_us`` of each statement's subject."""
    known = subjects.select(*SUBJECT, "first_us", known="count")
    return (
        statements.join(known, on=SUBJECT, how="left", maintain_order="left")
        .with_columns(
            statements_before=pl.col("known").fill_null(0) + pl.int_range(pl.len()).over(SUBJECT),
            since_us=pl.col("first_us").fill_null(pl.col("at_us").first().over(SUBJECT)),
        )
        .drop("known", "first_us")
    )


def _surprising(
    novel: pl.DataFrame,
    state: pl.DataFrame,
    subjects: pl.DataFrame,
    numbered: pl.DataFrame,
    settings: NoveltySettings,
) -> pl.DataFrame:
    items = state.filter(pl.col("item") != "")
    per_subject = items.group_by(SUBJECT).agg(known_items=pl.len())
    per_item = items.group_by(*SCOPE, "item").agg(known_by=pl.len())
    learned = (pl.col("statements_before") >= settings.learn_statements) & (
        pl.col("at_us") - pl.col("since_us") >= int(settings.learn_seconds * 1e6)
    )
    # Ranks before the filter: what a subject met while it learned counts as history too.
    candidates = (
        novel.with_columns(
            novel_before=pl.int_range(pl.len()).over(SUBJECT),
            met_before=pl.int_range(pl.len()).over(*SCOPE, "item"),
        )
        .filter(learned)
        .join(per_subject, on=SUBJECT, how="left", maintain_order="left")
        .join(per_item, on=(*SCOPE, "item"), how="left", maintain_order="left")
    )
    if candidates.is_empty():
        return candidates
    return (
        _with_peers(candidates, subjects, numbered)
        .with_columns(
            items_before=pl.col("known_items").fill_null(0) + pl.col("novel_before"),
            peers_have=pl.col("known_by").fill_null(0) + pl.col("met_before"),
        )
        .with_columns(score=_rarity("items_before", "statements_before"))
        .with_columns(score=pl.col("score") + _rarity("peers_have", "peers"))
        .filter(
            (pl.col("score") >= settings.min_score)
            & (
                (pl.col("peers") < 2)
                | (pl.col("peers_have") < pl.col("peers") * settings.max_peer_rate)
            )
        )
    )


def _rarity(hits: str, of: str) -> pl.Expr:
    """-log of a shrunk rate, never negative."""
    rate = (pl.col(hits) + PSEUDO) / (pl.col(of) + 2 * PSEUDO)
    return (-rate.log(math.e)).clip(lower_bound=0.0)


def _with_peers(
    candidates: pl.DataFrame, subjects: pl.DataFrame, numbered: pl.DataFrame
) -> pl.DataFrame:
    """Adds ``peers``: subjects of the same database met before this row, without its own."""
    known = subjects.group_by(SCOPE).agg(known_subjects=pl.len())
    arrivals = (
        numbered.unique(SUBJECT, keep="first", maintain_order=True)
        .join(subjects, on=SUBJECT, how="anti", maintain_order="left")
        .select(*SCOPE, "row", arrived=pl.int_range(1, pl.len() + 1).over(SCOPE))
    )
    return (
        candidates.sort("row", maintain_order=True)
        .join_asof(arrivals.sort("row"), on="row", by=list(SCOPE), check_sortedness=False)
        .join(known, on=SCOPE, how="left", maintain_order="left")
        .with_columns(
            # Its own subject is among the known or among the arrivals: once in either case.
            peers=pl.col("known_subjects").fill_null(0) + pl.col("arrived").fill_null(0) - 1
        )
    )


def _advance(
    state: pl.DataFrame, statements: pl.DataFrame, pairs: pl.DataFrame, max_keys: int
) -> pl.DataFrame:
    parts = [
        frame.group_by(KEY).agg(
            first_us=pl.col("at_us").first(),
            last_us=pl.col("at_us").max(),
            count=pl.len().cast(pl.Int64),
        )
        for frame in (statements.with_columns(item=pl.lit("")), pairs)
    ]
    seen = pl.concat(parts)
    updated = state.join(seen, on=KEY, how="left", maintain_order="left", suffix="_new").select(
        *KEY,
        "first_us",
        pl.max_horizontal("last_us", "last_us_new").alias("last_us"),
        pl.col("count") + pl.col("count_new").fill_null(0),
    )
    new = seen.join(state, on=KEY, how="anti").select(STATE_SCHEMA.keys())
    return keep_latest(pl.concat([updated, new]), max_keys, KEY)
