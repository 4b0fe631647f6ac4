"""The rows that are kept of places: one for each subject, and for each thing that it used."""

from __future__ import annotations

import polars as pl

from analytics import keyed
from analytics.said import NEVER_EVICTED

KEY = ("agent", "cluster", "subject", "item")
"""``subject``: ``of NAME`` an identity, ``all KIND`` its peers, ``from ADDRESS``, '' an agent's
clock. ``item``: '' the subject itself, else what it used, with its sort in front."""
LEVELS = (
    "an address in a network that it uses",
    "an address of a network that is new for it, which others of its kind use",
    "an address of a network that none of its kind uses",
    "an address that is known from people",
    "another program",
    "a program that none of its kind uses",
    "a program that people use",
    "a login that never worked on this server",
    "a login of nobody that is known, which never worked on this server",
)
LEVEL = pl.Array(pl.Int32, len(LEVELS))
VALUES: dict[str, pl.DataType | type[pl.DataType]] = {
    "count": pl.Int64,
    "first_us": pl.Int64,
    "last_us": pl.Int64,
    "day": pl.Int64,
    "odd": pl.Int64,
    "firsts": pl.Float64,
    "lived": pl.Float64,
    "past": LEVEL,
    "today": LEVEL,
    "address_bits": pl.Float64,
    "program_bits": pl.Float64,
    "login_bits": pl.Float64,
    "said": pl.Float64,
    "roles": pl.Float64,
    "tries": pl.Float64,
    "failed_days": pl.Float64,
    "failed_roles": pl.Float64,
    "failed_tries": pl.Float64,
}
"""``past``: days with each level before ``day`` (of peers: summed), ``today``: of today; ``lived``:
days that were watched, by the start of ``day``; ``firsts``: sum of the members' first days."""
NOWHERE = {"agent": pl.lit(""), "cluster": pl.lit("")}
"""Rows of what an identity does on any server."""


def filled(rows: pl.DataFrame) -> pl.DataFrame:
    """KEY and VALUES, with zeros where ``rows`` do not say."""
    columns = rows.columns
    plain = [
        pl.lit(0, kind).alias(name)
        for name, kind in VALUES.items()
        if name not in columns and kind != LEVEL
    ]
    levels = [none().alias(name) for name in ("past", "today") if name not in columns]
    return (
        rows.with_columns(*plain, *levels)
        .with_columns(
            pl.col(name).cast(kind).fill_null(none() if kind == LEVEL else 0)
            for name, kind in VALUES.items()
        )
        .select(*KEY, *VALUES)
    )


def said_today(state: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """``rows`` with ``said`` of their identities, whose day has begun in ``state``."""
    keys = rows.select("agent", "cluster", "subject", item=pl.lit(""))
    return rows.with_columns(keyed.get(state, keys, ["said"])["said"].fill_null(0.0))


def with_said(state: pl.DataFrame, news: pl.DataFrame) -> pl.DataFrame:
    """Identities' rows with what they have said today, to be put."""
    keys = news.select("agent", "cluster", "subject", "news", item=pl.lit(""))
    return filled(keyed.get(state, keys).with_columns(said="news"))


def clock_rows(clocks: pl.DataFrame) -> pl.DataFrame:
    """A clock is the row of no subject."""
    nobody = {name: pl.lit("") for name in KEY[1:]}
    return filled(clocks.with_columns(**nobody, last_us=pl.lit(NEVER_EVICTED)))


def none() -> pl.Expr:
    return pl.lit(pl.Series([[0] * len(LEVELS)], dtype=LEVEL)).first()
