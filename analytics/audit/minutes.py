"""Minutes of backends: what both sources saw of each, complete once nothing more can come for it.

The agent has matched the two sources statement by statement; here what is left over is matched once
more, because a log that is read late gives the same statement twice: once from each source.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import polars as pl

from analytics.audit.pairing import paired
from analytics.audit.statements import (
    BACKEND,
    EXEMPT,
    MATCHED,
    ONLY_EBPF,
    ONLY_PGAUDIT,
    SERVER,
    SPARE,
)

SIDES = ("pgaudit", "ebpf")
LEFTOVER = {"pgaudit": ONLY_EBPF, "ebpf": ONLY_PGAUDIT}
"""What a side missed."""
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
    rows = statements.select(
        pl.lit(WINDOW).alias("kind"), *BACKEND, "window", "outcome", "reason", "digest",
        "id", "text", pl.lit(1, pl.Int64).alias("count"), first_us="at_us", last_us="end_us",
    )  # fmt: skip
    sources = rows.filter(pl.col("outcome") != EXEMPT).select("outcome", "first_us", "last_us")
    heard = [
        sources.filter(pl.col("outcome").is_in([MATCHED, SPARE, only])).select(
            pl.lit(HEARD).alias("kind"),
            *(pl.lit(statements[name][0]).alias(name) for name in SERVER),
            pl.lit(side).alias("reason"),
            "first_us",
            "last_us",
        )
        for side, only in (("ebpf", ONLY_EBPF), ("pgaudit", ONLY_PGAUDIT))
    ]
    return summed(pl.concat([server, rows, *map(_whole, heard)], how="diagonal"))


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
    rows = server.filter(due).sort(*BACKEND, "window", maintain_order=True)
    minutes = [
        _minute(list(group.iter_rows(named=True)), heard, losses, clock)
        for _, group in rows.group_by(*BACKEND, "window", maintain_order=True)
    ]
    return server.filter(~due), sorted(minutes, key=lambda minute: minute.from_us)


def _heard(server: pl.DataFrame) -> dict[str, int]:
    rows = server.filter(pl.col("kind") == HEARD).select("reason", "first_us")
    return {str(side): int(since) for side, since in rows.iter_rows()}


def _minute(
    rows: list[dict[str, Any]], heard: dict[str, int], losses: pl.DataFrame, clock: Clock
) -> Minute:
    number = rows[0]["window"]
    minute = Minute(
        **{name: rows[0][name] for name in BACKEND},
        from_us=number * clock.window_us,
        until_us=(number + 1) * clock.window_us,
        matched=_count(rows, MATCHED) + _count(rows, SPARE),
        lost=_losses(losses, number),
    )
    for row in rows:
        if row["outcome"] == EXEMPT:
            minute.exempt[row["reason"]] = minute.exempt.get(row["reason"], 0) + row["count"]
    for side in SIDES:
        missing = _count(rows, LEFTOVER[side])
        # What the silent side would have said cannot be known of a time before it first spoke.
        if missing and heard.get(side, minute.until_us) > minute.from_us:
            minute.exempt[f"{side}_not_heard"] = missing
        elif missing:
            minute.missed[side] = missing
            minute.examples[side] = _examples(rows, LEFTOVER[side])
    return minute


def _count(rows: Iterable[dict[str, Any]], outcome: str) -> int:
    return sum(row["count"] for row in rows if row["outcome"] == outcome)


def _examples(rows: list[dict[str, Any]], outcome: str) -> tuple[Example, ...]:
    lacking = [row for row in rows if row["outcome"] == outcome and row["count"] > 0]
    lacking.sort(key=lambda row: (row["first_us"], row["id"]))
    return tuple(Example(row["id"], row["first_us"], row["text"]) for row in lacking[:3])


def _losses(losses: pl.DataFrame, window: int) -> dict[str, int]:
    """Of the window and the next: a loss is counted when it is noticed."""
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
