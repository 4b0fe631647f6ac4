"""Which of many strange moments become candidate findings: the first, and then new extremes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from analytics.extremes import KEY
from model.finding import Finding
from model.verdict import Severity

STEP = 0.25
"""Scores are compared in such steps, so that of a slow rise few rows need a look."""
NEW_EXTREME = 1.0
MOST_CAUSES = 5
YOUNG_DAYS = 7
NOTEWORTHY_BITS = 4.0


def level(bits: pl.Expr) -> pl.Expr:
    return (bits / STEP).floor() * STEP


def worth_a_look(bits: pl.Expr, least: float) -> pl.Expr:
    """Whether the moment's key, which already said ``said`` today, may say something new."""
    return (level(bits) >= least) & _may_be_said(level(bits))


def _may_be_said(level_: pl.Expr) -> pl.Expr:
    new = (pl.col("said") == 0) | (level_ >= pl.col("said") + NEW_EXTREME)
    heard = (pl.col("causes_told") < MOST_CAUSES) | (level_ >= pl.col("most_told") + NEW_EXTREME)
    return new & heard


def risen(cause: Iterable[str]) -> pl.Expr:
    """The first row of each level that is higher than all before it of the same cause."""
    before = pl.col("level").cum_max().shift(1).over(list(cause))
    return before.is_null() | (pl.col("level") > before)


def told(rows: pl.DataFrame, cause: Sequence[str], owner: Sequence[str]) -> list[dict[str, Any]]:
    """Rows (in order) that are said: the first of a cause, and then each new extreme.

    Rows have ``level``, ``said``, ``causes_told`` and ``most_told``: an owner that said MOST_CAUSES
    things today has to become more extreme to be heard again, whatever the cause.
    """
    rows = rows.filter(_may_be_said(pl.col("level")))
    names = {*cause, *owner, "level", "said", "causes_told", "most_told"}
    said: dict[tuple[Any, ...], float] = {}
    heard: dict[tuple[Any, ...], tuple[float, float]] = {}
    chosen = []
    for number, row in enumerate(rows.select(names).iter_rows(named=True)):
        key, who = tuple(row[name] for name in cause), tuple(row[name] for name in owner)
        last = said.get(key, row["said"])
        count, most = heard.get(who, (row["causes_told"], row["most_told"]))
        if last > 0 and row["level"] < last + NEW_EXTREME:
            continue
        if count >= MOST_CAUSES and row["level"] < most + NEW_EXTREME:
            continue
        said[key] = row["level"]
        heard[who] = count + 1, max(most, row["level"])
        chosen.append(number)
    return rows[chosen].to_dicts() if chosen else []


def expected(peaks: pl.DataFrame, owner: Iterable[str] = KEY[:-1]) -> pl.DataFrame:
    """What a row of an owner is compared with, from its row of ``extremes.baselines``."""
    return peaks.select(
        *owner,
        expected="mean",
        expected_spread="spread",
        history="n",
        causes_told="n_today",
        most_told="said",
    )


EXPECTED = ("expected", "expected_spread", "history", "causes_told", "most_told")


def with_told(
    peaks: pl.DataFrame, told_rows: Iterable[dict[str, Any]], owner: Iterable[str] = KEY[:-1]
) -> pl.DataFrame:
    """Rows of ``extremes.baselines`` after a batch: its extreme, and what was said."""
    names = list(owner)
    after = peaks.with_columns(peak=pl.max_horizontal("peak", "top"))
    said = [(*(row[name] for name in names), row["level"]) for row in told_rows]
    if not said:
        return after
    schema = {**dict.fromkeys(names, pl.String), "level": pl.Float64}
    news = (
        pl.DataFrame(said, schema, orient="row")
        .group_by(names)
        .agg(pl.col("level").max(), times=pl.len().cast(pl.Float64))
    )
    return after.join(news, on=names, how="left").with_columns(
        said=pl.max_horizontal("said", "level"),
        n_today=pl.col("n_today") + pl.col("times").fill_null(0.0),
    )


def with_said(
    rows: pl.DataFrame, told_rows: Iterable[dict[str, Any]], items: Iterable[str]
) -> pl.DataFrame:
    """State rows in which ``said`` is the highest level told of ``item`` of the same owner."""
    news = [(*(row[name] for name in KEY[:-1]), item, row["level"])
            for row, item in zip(told_rows, items, strict=True)]  # fmt: skip
    if not news:
        return rows
    schema = {**dict.fromkeys(KEY, pl.String), "level": pl.Float64}
    said = pl.DataFrame(news, schema, orient="row").group_by(KEY).agg(pl.col("level").max())
    return (
        rows.join(said, on=KEY, how="left", maintain_order="left")
        .with_columns(said=pl.max_horizontal("said", "level"))
        .drop("level")
    )


def history(days: float) -> tuple[str, tuple[tuple[str, str], ...]]:
    """What a sentence ends with while its subject is young, and the details on its history."""
    whole = round(days)
    details: tuple[tuple[str, str], ...] = (("history_days", str(whole)),)
    if days >= YOUNG_DAYS - 0.5:
        return "", details
    return f" ({whole} days of history)", (
        *details,
        ("warm_up", f"{whole} of {YOUNG_DAYS} days; its peers' days fill up"),
    )


def severity(score: float) -> Severity:
    return Severity.MEDIUM if score >= NOTEWORTHY_BITS else Severity.LOW


def shortened(name: str, most: int = 60) -> str:
    """One line of at most ``most`` characters.

    >>> shortened("a" * 100, 10), shortened("line\\nbreak")
    ('aaaaaaaaa…', 'line break')
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def in_order(findings: Iterable[tuple[int, Finding]]) -> list[Finding]:
    """By number of row, then by id."""
    return [finding for _, finding in sorted(findings, key=lambda pair: (pair[0], pair[1].id))]
