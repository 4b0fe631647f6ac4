"""What every detector needs for a finding: its id, and quoting for its evidence query."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import polars as pl

DAY_US = 86_400_000_000
CLAIMED = ("claimed", "1")
"""Among the details: the identity is only what somebody without a login said to be."""
TIME = pl.Datetime("us")
"""UTC, as everywhere in the store."""


def finding_id(at_us: int, *cause: str) -> str:
    """The same cause on the same (UTC) day gives the same id, so a replay repeats nothing."""
    text = "\0".join([*cause, str(at_us // DAY_US)])
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:24]


def literal(value: str | int) -> str:
    """A SQL literal for DuckDB; NUL cannot stand in one and is left out.

    >>> literal("O'Brien")
    "'O''Brien'"
    """
    if isinstance(value, int):
        return str(value)
    return "'" + value.replace("\0", "").replace("'", "''") + "'"


def on_server(row: Mapping[str, Any]) -> str:
    """A condition: databases and logins of one name exist on many servers."""
    return f"agent = {literal(row['agent'])} AND cluster = {literal(row['cluster'])}"


def between(column: str, from_us: int, to_us: int) -> str:
    """A half-open stretch of time as a condition that needs no time zone setting."""
    return f"epoch_us({column}) >= {int(from_us)} AND epoch_us({column}) < {int(to_us)}"
