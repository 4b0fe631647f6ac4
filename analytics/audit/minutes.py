"""Minutes of backends: what both sources saw of each, complete once nothing more can come for it.

The agent has matched the two sources statement by statement; here what is left over is matched once
more, because a log that is read late gives the same statement twice: once from each source.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

import polars as pl

from analytics.audit.pairing import may_pair, paired
from analytics.audit.statements import (
    BACKEND,
    EXEMPT,
    MATCHED,
    ONLY_EBPF,
    ONLY_PGAUDIT,
    SERVER,
    SPARE,
)
from analytics.frames import ALIKE, mixed

SIDES = ("pgaudit", "ebpf")
LEFTOVER = {"pgaudit": ONLY_EBPF, "ebpf": ONLY_PGAUDIT}
"""What a side missed."""
ONLY = {"pgaudit": ONLY_PGAUDIT, "ebpf": ONLY_EBPF}
SECOND_US = 1_000_000
WINDOW, HEARD, LOSS = "window", "heard", "loss"
KEY = ("kind", *BACKEND, "window", "outcome", "reason", "digest")
SCHEMA: dict[str, Any] = {
    **dict.fromkeys(("kind", "agent", "cluster", "database", "user_name", "identity"), pl.String),
    "pid": pl.Int64, "backend_second": pl.Int64, "window": pl.Int64,
    **dict.fromkeys(("outcome", "reason", "digest"), pl.String),
    "count": pl.Int64, "first_us": pl.Int64, "last_us": pl.Int64,
    "id": pl.UInt64, "text": pl.String,
}  # fmt: skip
"""One row a backend, window and outcome; a text of its own for what lacks its other half.

``heard``: since when (``first_us``) and until when a source told of a server. ``loss``: facts that
an agent counted as lost (``reason``) in a window.
"""


@dataclass(frozen=True)
class Example:
    id: int
    at_us: int
    text: str
    """Redacted."""


@dataclass(frozen=True)
class Minute:
    """One backend in one window. ``exempt`` by reason; ``missed`` by side."""

    agent: str
    cluster: str
    database: str
    user_name: str
    identity: str
    pid: int
    backend_second: int
    from_us: int
    until_us: int
    matched: int = 0
    missed: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SIDES, 0))
    exempt: dict[str, int] = field(default_factory=dict)
    examples: dict[str, tuple[Example, ...]] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    """Facts of this agent that were counted as lost then, by reason: they may explain a gap."""

    def ratio(self, side: str) -> float | None:
        """Share of what the other side saw, and this one was to see, that it did see."""
        expected = self.matched + self.missed[side]
        return self.matched / expected if expected else None


Moment = TypeVar("Moment", int, pl.Expr)


class Clock(NamedTuple):
    window_us: int
    grace_us: int
    forget_us: int
    """A source that has not told of a server for so long is no longer expected to."""

    def open_from(self, heard_us: Moment) -> Moment:
        """The oldest window that is still open when statements have been heard up to then."""
        return (heard_us - self.grace_us) // self.window_us


def empty() -> pl.DataFrame:
    return pl.DataFrame(schema=SCHEMA)


def watermark_us(server: pl.DataFrame) -> int | None:
    """The latest end of a statement in what is kept of a server."""
    latest = server.filter(pl.col("kind") == WINDOW)["last_us"].max()
    return int(latest) if isinstance(latest, int) else None


def added(server: pl.DataFrame, statements: pl.DataFrame) -> pl.DataFrame:
    """``statements`` with a ``window`` each, counted into the rows of their server."""
    rows = _rows(_counted(statements))
    sources = rows.select("outcome", "first_us", "last_us")
    heard = [
        sources.filter(_told(side)).select(
            pl.lit(HEARD).alias("kind"),
            *(pl.lit(statements[name][0]).alias(name) for name in SERVER),
            pl.lit(side).alias("reason"),
            "first_us",
            "last_us",
        )
        for side in SIDES
    ]
    return summed(pl.concat([server, rows, *map(_whole, heard)], how="diagonal"))


def _counted(statements: pl.DataFrame) -> pl.DataFrame:
    """By one number: of most statements all but the time is alike."""
    counted = (
        statements.select(_ONE_NUMBER, "at_us", "end_us")
        .with_row_index("place")
        .group_by("of", maintain_order=True)
        .agg(
            pl.col("place").first(),
            count=pl.len().cast(pl.Int64),
            first_us=pl.col("at_us").min(),
            last_us=pl.col("end_us").max(),
        )
    )
    firsts = statements.select(_OF_FIRST)[counted["place"]]
    return counted.drop("of", "place").hstack(firsts)


def _rows(counted: pl.DataFrame) -> pl.DataFrame:
    return counted.select(pl.lit(WINDOW).alias("kind"), pl.exclude("row", "open_from"))


_OF_FIRST = (*BACKEND, "window", "open_from", "outcome", "reason", "digest", "row", "id", "text")
_TOLD_APART_BY = (ALIKE, "pid", "backend_second", "window", "open_from", "digest")
_ONE_NUMBER = mixed([pl.col(name) for name in _TOLD_APART_BY]).alias("of")


def lost(server: pl.DataFrame, losses: pl.DataFrame, clock: Clock) -> pl.DataFrame:
    """Losses of one agent (columns of view ``losses``) counted into what is kept of it."""
    at_us = pl.col("occurred_at").dt.epoch("us")
    rows = losses.select(
        pl.lit(LOSS).alias("kind"),
        "agent",
        window=at_us // clock.window_us,
        reason=pl.concat_str("source", pl.lit(" "), "reason"),
        count=pl.col("count").cast(pl.Int64),
        first_us=at_us,
        last_us=at_us,
    )
    return summed(pl.concat([server, _whole(rows)], how="diagonal"))


def summed(rows: pl.DataFrame) -> pl.DataFrame:
    return (
        rows.group_by(KEY, maintain_order=True)
        .agg(
            pl.col("count").sum(), pl.col("first_us").min(), pl.col("last_us").max(),
            pl.col("id", "text").first(),
        )
        .select(list(SCHEMA))
    )  # fmt: skip


def closed(
    server: pl.DataFrame, losses: pl.DataFrame, before: int, clock: Clock
) -> tuple[pl.DataFrame, list[Minute]]:
    """The windows below ``before`` as Minutes, and what is kept of the server."""
    due = (pl.col("kind") == WINDOW) & (pl.col("window") < before)
    if server.filter(due).is_empty():
        return server, []
    forgotten = pl.col("last_us") < before * clock.window_us - clock.forget_us
    server = paired(server.filter((pl.col("kind") != HEARD) | ~forgotten), before)
    heard = _heard(server)
    rows = server.filter(due).sort(*BACKEND, "window", maintain_order=True).iter_rows(named=True)
    # Rows are few; a group_by of Polars for each of very many windows took most of the time.
    minutes = [
        _minute(list(group), heard, losses, clock)
        for _, group in groupby(rows, key=itemgetter(*BACKEND, "window"))
    ]
    return server.filter(~due), sorted(minutes, key=lambda minute: minute.from_us)


def passed(
    server: pl.DataFrame, losses: pl.DataFrame, statements: pl.DataFrame, clock: Clock
) -> tuple[pl.DataFrame, list[tuple[int, list[Minute]]]]:
    """A server after ``statements`` (with ``row``, ``window`` and ``open_from``, the oldest window
    that is open from that row on, in order); the Minutes that closed, with the row that did it.

    As if each window were closed at its row. A history has a window every few statements, so
    where no half can find its other half, all of them are counted at once.
    """
    if not may_pair({*server["outcome"].unique(), *statements["outcome"].unique()}):
        return _passed_at_once(server, losses, statements, clock)
    done: list[tuple[int, list[Minute]]] = []
    for (open_from,), rows in statements.group_by("open_from", maintain_order=True):
        assert isinstance(open_from, int)
        server, found = closed(server, losses, open_from, clock)
        if found:
            done.append((rows["row"][0], found))
        server = added(server, rows)
    return server, done


def _passed_at_once(
    server: pl.DataFrame, losses: pl.DataFrame, statements: pl.DataFrame, clock: Clock
) -> tuple[pl.DataFrame, list[tuple[int, list[Minute]]]]:
    is_heard = pl.col("kind") == HEARD
    told = server.filter(is_heard).select("reason", "first_us", "last_us")
    heard = {side: (since, until) for side, since, until in told.iter_rows()}
    counted = _counted(statements)
    steps = counted.group_by("open_from", maintain_order=True).agg(
        pl.col("row").first(),
        *(pl.col("first_us").filter(_told(side)).min().alias(f"{side}_since") for side in SIDES),
        *(pl.col("last_us").filter(_told(side)).max().alias(f"{side}_until") for side in SIDES),
    )
    whole = summed(pl.concat([server.filter(~is_heard), _rows(counted)], how="diagonal"))
    due = (pl.col("kind") == WINDOW) & (pl.col("window") < steps["open_from"][-1])
    windows = _by_step(whole.filter(due), steps)
    done: list[tuple[int, list[Minute]]] = []
    for step in steps.iter_rows(named=True):
        closing = windows.get(step["open_from"])
        if closing:
            forgotten_us = step["open_from"] * clock.window_us - clock.forget_us
            heard = {side: span for side, span in heard.items() if span[1] >= forgotten_us}
            since = {side: first for side, (first, _) in heard.items()}
            minutes = [_minute(rows, since, losses, clock) for rows in closing]
            done.append((step["row"], sorted(minutes, key=lambda minute: minute.from_us)))
        for side in SIDES:
            first, last = step[f"{side}_since"], step[f"{side}_until"]
            if first is not None:
                known = heard.get(side, (first, last))
                heard[side] = min(first, known[0]), max(last, known[1])
    server_of = {name: statements[name][0] for name in SERVER}
    sides = [
        server_of | {"kind": HEARD, "reason": side, "first_us": first, "last_us": last}
        for side, (first, last) in heard.items()
    ]
    return pl.concat([whole.filter(~due), _whole(pl.DataFrame(sides, _HEARD))]), done


_HEARD = {name: SCHEMA[name] for name in ("kind", *SERVER, "reason", "first_us", "last_us")}


def _by_step(closing: pl.DataFrame, steps: pl.DataFrame) -> dict[int, list[list[dict[str, Any]]]]:
    """By ``open_from``: the rows of each backend and window that close there."""
    opens = steps["open_from"].to_list()
    windows: dict[int, list[list[dict[str, Any]]]] = {}
    rows = closing.sort(*BACKEND, "window", maintain_order=True).iter_rows(named=True)
    for _, group in groupby(rows, key=itemgetter(*BACKEND, "window")):
        together = list(group)
        step = opens[bisect_right(opens, together[0]["window"])]
        windows.setdefault(step, []).append(together)
    return windows


def _told(side: str) -> pl.Expr:
    """Whether a source told of the statement."""
    return pl.col("outcome").is_in([MATCHED, SPARE, ONLY[side]])


def _heard(server: pl.DataFrame) -> dict[str, int]:
    rows = server.filter(pl.col("kind") == HEARD).select("reason", "first_us")
    return {str(side): int(since) for side, since in rows.iter_rows()}


def _minute(
    rows: list[dict[str, Any]], heard: dict[str, int], losses: pl.DataFrame, clock: Clock
) -> Minute:
    number = rows[0]["window"]
    counts: dict[str, int] = defaultdict(int)
    exempt: dict[str, int] = defaultdict(int)
    for row in rows:
        counts[row["outcome"]] += row["count"]
        if row["outcome"] == EXEMPT:
            exempt[row["reason"]] += row["count"]
    minute = Minute(
        **{name: rows[0][name] for name in BACKEND},
        from_us=number * clock.window_us,
        until_us=(number + 1) * clock.window_us,
        matched=counts[MATCHED] + counts[SPARE],
        exempt=dict(exempt),
        lost=_losses(losses, number),
    )
    for side in SIDES:
        missing = counts[LEFTOVER[side]]
        # What the silent side would have said cannot be known of a time before it first spoke.
        if missing and heard.get(side, minute.until_us) > minute.from_us:
            minute.exempt[f"{side}_not_heard"] = missing
        elif missing:
            minute.missed[side] = missing
            minute.examples[side] = _examples(rows, LEFTOVER[side])
    return minute


def _examples(rows: list[dict[str, Any]], outcome: str) -> tuple[Example, ...]:
    lacking = [row for row in rows if row["outcome"] == outcome and row["count"] > 0]
    lacking.sort(key=lambda row: (row["first_us"], row["id"]))
    return tuple(Example(row["id"], row["first_us"], row["text"]) for row in lacking[:3])


def _losses(losses: pl.DataFrame, window: int) -> dict[str, int]:
    """Of the window and the next: a loss is counted when it is noticed."""
    if losses.is_empty():
        return {}
    near = losses.filter(pl.col("window").is_between(window, window + 1))
    by_reason = near.group_by("reason").agg(pl.col("count").sum()).sort("reason")
    return dict(by_reason.iter_rows())


def _whole(rows: pl.DataFrame) -> pl.DataFrame:
    """With every column of the state; what does not apply is empty or zero."""
    absent = {name: kind for name, kind in SCHEMA.items() if name not in rows.columns}
    return rows.with_columns(
        pl.lit("" if kind == pl.String else 0, dtype=kind).alias(name)
        for name, kind in absent.items()
    ).select(pl.col(name).cast(kind) for name, kind in SCHEMA.items())
