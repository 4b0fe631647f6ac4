"""What a batch costs to take, counted in rows: who sends it chooses how it is made.

A text stands in a batch once, and any number of rows point at it: a megabyte on the wire can be
gigabytes in a segment. A message costs something however little is in it, and so does a byte.
"""

from collections.abc import Iterable, Iterator, Sequence

import polars as pl

from collector.columns import PoisonError
from protos.pgwarden.v1 import uplink_pb2 as pb

MESSAGE_ROWS = 25
"""A message of its own: about 0.1 ms, while a row takes 4 us."""
ROW_WIRE_BYTES = 128
ROW_SPREAD_BYTES = 4096
MOST_PARTS = 250_000
"""An agent's batch of 3.5 MiB has less than half of that: a message of 4 MiB has room for two
million empty ones."""
MOST_SPREAD_BYTES = 512 << 20
ITEM_BYTES = 16
"""Of an item of a list in a frame, beside its text."""
UNCOUNTED_SPREAD_BYTES = 8 << 20
"""What cannot be more is not counted."""


def rows_in(batch: pb.Batch) -> int:
    """About how many rows it will be, before it is decoded."""
    facts = len(batch.verdicts) + len(batch.losses) + len(batch.approvals)
    facts += len(batch.rules_changes)
    items = sum(len(snapshot.items) + 1 for snapshot in batch.snapshots)
    return len(batch.statements.id) + len(batch.sessions.pid) + facts + items


def weight(batch: pb.Batch, wire_bytes: int) -> int:
    """In rows, at least one. Raises PoisonError for more than any agent has to say at once."""
    rows = rows_in(batch)
    parts = rows + len(batch.shapes) + len(batch.strings) + len(batch.digests)
    if parts > MOST_PARTS:
        raise PoisonError(f"{parts} parts in one batch")
    spread = spread_bytes(batch)
    if spread > MOST_SPREAD_BYTES:
        raise PoisonError(f"texts that its rows repeat to {spread} bytes")
    return max(rows, MESSAGE_ROWS, wire_bytes // ROW_WIRE_BYTES, spread // ROW_SPREAD_BYTES)


def spread_bytes(batch: pb.Batch) -> int:
    """Of texts, each as often as rows point at it; 0 where it is certainly no great deal."""
    statements, sessions = batch.statements, batch.sessions
    rows = len(statements.id) + len(sessions.pid)
    strings = max(map(len, batch.strings), default=0) * _MOST_TEXTS  # 4 bytes in each character
    shapes = [_shape_bytes(shape) for shape in batch.shapes]
    if rows * (4 * strings + max(shapes, default=0)) <= UNCOUNTED_SPREAD_BYTES:
        return 0
    lengths = [len(text.encode()) for text in batch.strings]
    of_strings = sum(_pointed_at(lengths, column) for column in _text_columns(batch))
    return of_strings + _pointed_at(shapes, statements.shape)


def _shape_bytes(shape: pb.Shape) -> int:
    items = sum(len(getattr(shape, name)) for name in _SHAPE_LISTS)
    return shape.ByteSize() + ITEM_BYTES * items


def _text_columns(batch: pb.Batch) -> Iterator[Sequence[int]]:
    for columns, names in ((batch.statements, _STATEMENT_TEXTS), (batch.sessions, _SESSION_TEXTS)):
        for name in names:
            yield getattr(columns, name)


def _pointed_at(lengths: Sequence[int], column: Iterable[int]) -> int:
    """Indexes past the end are the decoder's to refuse."""
    places = pl.Series(list(column), dtype=pl.UInt32)
    places = places.filter(places < len(lengths))
    return int(pl.Series(lengths, dtype=pl.Int64)[places].sum()) if len(places) else 0


_STATEMENT_TEXTS = [f.name for f in pb.StatementColumns.DESCRIPTOR.fields if f.name.endswith("_s")]
_SESSION_TEXTS = [f.name for f in pb.SessionColumns.DESCRIPTOR.fields if f.name.endswith("_s")]
_SHAPE_LISTS = [field.name for field in pb.Shape.DESCRIPTOR.fields if field.is_repeated]
_MOST_TEXTS = max(len(_STATEMENT_TEXTS), len(_SESSION_TEXTS))
