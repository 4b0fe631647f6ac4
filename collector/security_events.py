"""Rows that an auditor may ask a proof for: each is a leaf of a small tree in its ledger entry.

A leaf is the row as canonical JSON without its NULLs, so that it stays the same when the table gets
new columns and when its segment is merged into another one.
"""

import json
from collections.abc import Mapping

import polars as pl

from collector import schema
from collector.ledger_entry import EVENTS, EventsRoot, Note
from model.merkle import leaf_hash, root_of

SECURITY_TABLES = (
    "accesses",
    "approvals",
    "drift",
    "finding_feedback",
    "findings",
    "losses",
    "rules_changes",
    "verdicts",
)
"""In the order of the leaves. ``verdicts`` tell of kills too, ``losses`` are the gaps."""


def sealed_events(
    frames: Mapping[str, pl.DataFrame],
) -> tuple[EventsRoot | None, tuple[Note, ...]]:
    """Of all of them together, None where the frames hold none; and of each table, where they are
    of several."""
    hashes = {
        table: [leaf_hash(event) for event in event_leaves(table, frames[table])]
        for table in SECURITY_TABLES
        if table in frames
    }
    every = [each for of_table in hashes.values() for each in of_table]
    if not every:
        return None, ()
    notes = [
        {"kind": EVENTS, "table": table, "count": len(each), "root": root_of(each).hex()}
        for table, each in hashes.items()
    ]
    return EventsRoot(len(every), root_of(every).hex()), tuple(notes if len(notes) > 1 else ())


def event_leaves(table: str, frame: pl.DataFrame) -> list[bytes]:
    """The rows of one segment as leaf data, in their order."""
    columns = {
        name: _plain(frame.get_column(name)).to_list()
        for name in schema.TABLES[table].dtypes
        if name in frame.columns
    }
    columns["table"] = [table] * frame.height
    names = sorted(columns)
    return [
        _ENCODE({n: v for n, v in zip(names, row, strict=True) if v is not None}).encode()
        for row in zip(*(columns[name] for name in names), strict=True)
    ]


_ENCODE = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
"""Keys are in order already. Not a faster library: the bytes must stay for years."""


def _plain(column: pl.Series) -> pl.Series:
    """Times as microseconds since 1970."""
    return column.cast(pl.Int64) if column.dtype == schema.TIME else column
