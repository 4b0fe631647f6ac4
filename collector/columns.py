"""Statements and sessions of many batches as whole columns: no Python code runs for each row.

A batch has its own tables of strings, shapes and digests. They are laid end to end, and an index of
a row counts from where its batch's table begins.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from collector import schema
from protos.pgwarden.v1 import uplink_pb2 as pb

DIGEST_BYTES = 32
LATEST_US = 4_102_444_800_000_000
"""The year 2100: a later time is nonsense, and some would not fit a timestamp."""

Sent = tuple[str, pb.Batch]
"""An agent and its batch."""
Columns = pb.StatementColumns | pb.SessionColumns


class PoisonError(ValueError):
    """The batch breaks the wire's rules and would do so again; the message says which."""


def statements_of(sent: Sequence[Sent]) -> pl.DataFrame | None:
    parts = _Parts.of([(agent, batch, batch.statements) for agent, batch in sent])
    if parts is None:
        return None
    shapes = _Shapes(parts.batches)
    shape = shapes.numbers[parts.index("shape", _Tables(shapes.sizes, parts))]
    # Not DataFrame.gather: it hands columns to other threads and waits for them.
    shaped = {column.name: column[shape] for column in shapes.frame.get_columns()}
    text = parts.text
    known = {
        "agent": parts.agent,
        "id": parts.column("id", pl.UInt64),
        "parent_id": parts.column("parent_id", pl.UInt64),
        "started_at": parts.time("started_at_us"),
        "duration_us": parts.number("duration_us"),
        "rows": parts.number("rows"),
        "bytes_sent": parts.number("bytes_sent"),
        "text_bytes": parts.column("text_bytes", pl.UInt64),
        "pid": parts.column("pid", pl.UInt32),
        "backend_started_at": parts.time("backend_started_at_us"),
        "cluster": text("cluster_s"),
        "database": text("database_s"),
        "user_name": text("user_s"),
        "application_name": text("application_name_s"),
        "client_address": text("client_address_s"),
        "identity_kind": text("identity_kind_s"),
        "identity_name": text("identity_name_s"),
        "source": text("source_s"),
        "protocol": text("protocol_s"),
        "tag": text("tag_s"),
        "sqlstate": text("sqlstate_s"),
        "error_message": text("error_message_s"),
        "audit_class": text("audit_class_s"),
        "audit_objects": text("audit_objects_s"),
        "rule": text("rule_s"),
        "preparation_us": parts.number("preparation_us"),
        "transaction": text("transaction_s"),
        "executions": parts.column("executions", pl.UInt64),
        "durations": text("durations_s"),
        "trace_parent": text("trace_parent_s"),
        "parameters": text("parameters_s"),
        "identity_confidence": parts.confidence("confidence"),
        "identity_evidence": text("evidence_s"),
        **shaped,
    }
    known["digest"] = _digests(parts, shaped["digest"])
    return pl.DataFrame({name: known[name] for name in schema.STATEMENTS.dtypes})


def sessions_of(sent: Sequence[Sent]) -> pl.DataFrame | None:
    parts = _Parts.of([(agent, batch, batch.sessions) for agent, batch in sent])
    if parts is None:
        return None
    text = parts.text
    ended = parts.time("ended_at_us")
    return pl.DataFrame(
        {
            "agent": parts.agent,
            "pid": parts.column("pid", pl.UInt32),
            "backend_started_at": parts.time("backend_started_at_us"),
            "cluster": text("cluster_s"),
            "database": text("database_s"),
            "user_name": text("user_s"),
            "application_name": text("application_name_s"),
            "client_address": text("client_address_s"),
            "client_port": parts.column("client_port", pl.UInt32),
            "identity_kind": text("identity_kind_s"),
            "identity_name": text("identity_name_s"),
            "identity_confidence": parts.confidence("identity_confidence"),
            "identity_evidence": text("identity_evidence_s"),
            "ended_at": ended.set(ended.cast(pl.Int64) == 0, None),
            "seen_at": parts.time("seen_at_us"),
            "origin": text("origin_s"),
        }
    )


@dataclass(frozen=True)
class _Parts:
    """Those of the batches that have rows of this kind."""

    agents: Sequence[str]
    batches: Sequence[pb.Batch]
    columns: Sequence[Columns]
    rows: Sequence[int]
    """Of each."""

    @staticmethod
    def of(sent: Iterable[tuple[str, pb.Batch, Columns]]) -> "_Parts | None":
        some = [(*each, rows) for each in sent if (rows := _length(each[2]))]
        if not some:
            return None
        agents, batches, columns, counts = zip(*some, strict=True)
        return _Parts(agents, batches, columns, counts)

    @cached_property
    def part(self) -> pl.Series:
        """Which of them a row is of."""
        numbers: list[int] = []
        for number, rows in enumerate(self.rows):
            numbers += [number] * rows
        return pl.Series(numbers, dtype=pl.UInt32)

    @property
    def agent(self) -> pl.Series:
        if len(self.agents) == 1:
            return pl.Series(self.agents, dtype=pl.String).new_from_index(0, self.rows[0])
        return pl.Series(self.agents, dtype=pl.String)[self.part]

    def column(self, name: str, dtype: pl.DataType | type[pl.DataType]) -> pl.Series:
        values: list[int] = []
        absent = _LATER.get(name, 0)
        for columns, rows in zip(self.columns, self.rows, strict=True):
            values += getattr(columns, name)[:] or [absent] * rows
        return pl.Series(values, dtype=dtype)

    def number(self, name: str) -> pl.Series:
        """-1 on the wire is NULL in the store."""
        series = self.column(name, pl.Int64)
        return series.set(series < 0, None) if (series < 0).any() else series

    def confidence(self, name: str) -> pl.Series:
        """NULL where an older agent sent none. A float of the wire has seven digits: 0.9 is less
        than 0.9 in the store unless they are cut there."""
        series = self.column(name, pl.Float64).round(6)
        return series.set(series < 0, None) if (series < 0).any() else series

    def time(self, name: str) -> pl.Series:
        series = self.column(name, pl.Int64)
        first, last = series.min(), series.max()
        if not (isinstance(first, int) and isinstance(last, int) and 0 <= first <= last):
            raise PoisonError(f"{name} is not between 1970 and 2100")
        if last > LATEST_US:
            raise PoisonError(f"{name} is not between 1970 and 2100")
        return series.cast(pl.Datetime("us"))

    def index(self, name: str, tables: "_Tables") -> pl.Series:
        """Into the tables laid end to end."""
        series = self.column(name, pl.UInt32)
        largest = series.max()
        if not isinstance(largest, int):
            raise PoisonError(f"{name} has no index")
        if largest < tables.smallest:
            return series if tables.alone else series + tables.starts
        if (series >= tables.sizes).any():
            raise PoisonError(f"{name}: index {largest} is past its table's end")
        return series + tables.starts

    def text(self, name: str) -> pl.Series:
        return self._strings[self.index(name, self._string_tables)]

    @cached_property
    def _string_tables(self) -> "_Tables":
        return _Tables([len(batch.strings) for batch in self.batches], self)

    @cached_property
    def _strings(self) -> pl.Series:
        strings: list[str] = []
        for batch in self.batches:
            if not batch.strings or batch.strings[0] != "":
                raise PoisonError("strings[0] is not the empty string")
            strings += batch.strings
        return pl.Series(strings, dtype=pl.String)


class _Tables:
    """One of each batch, laid end to end."""

    def __init__(self, sizes: list[int], parts: _Parts) -> None:
        self._all, self._parts = pl.Series(sizes, dtype=pl.UInt32), parts
        self.smallest = min(sizes)
        self.alone = len(sizes) == 1

    @cached_property
    def sizes(self) -> pl.Series:
        """Of its batch's table, for each row."""
        return self._all[self._parts.part]

    @cached_property
    def starts(self) -> pl.Series:
        begins = (self._all.cum_sum() - self._all).cast(pl.UInt32)
        return begins[self._parts.part]


def _digests(parts: _Parts, of_shapes: pl.Series) -> pl.Series:
    """A digest for each row; the shape's own where an older agent sent no other."""
    table: list[bytes | None] = []
    sizes, absent = [], False
    for batch in parts.batches:
        if any(len(each) != DIGEST_BYTES for each in batch.digests):
            raise PoisonError("a digest that is no SHA-256")
        own = bool(batch.statements.digest_d)
        absent |= not own
        table += [b"" if own else None, *batch.digests]
        sizes.append(len(batch.digests) + 1)
    hexed = pl.Series("digest", table, dtype=pl.Binary).bin.encode("hex")
    told = hexed[parts.index("digest_d", _Tables(sizes, parts))]
    return told.zip_with(told.is_not_null(), of_shapes) if absent else told


class _Shapes:
    """The shapes of many batches, each that is the same to the byte once."""

    def __init__(self, batches: Sequence[pb.Batch]) -> None:
        known: dict[bytes, int] = {}
        shapes: list[pb.Shape] = []
        numbers: list[int] = []
        for batch in batches:
            for shape in batch.shapes:
                number = known.setdefault(shape.SerializeToString(), len(shapes))
                if number == len(shapes):
                    shapes.append(shape)
                numbers.append(number)
        self.sizes = [len(batch.shapes) for batch in batches]
        self.numbers = pl.Series(numbers, dtype=pl.UInt32)
        """In ``frame``, of all shapes laid end to end."""
        self.frame = _shape_frame(shapes)


def _shape_frame(shapes: Sequence[pb.Shape]) -> pl.DataFrame:
    lists = {
        "verbs": [shape.verbs for shape in shapes],
        "objects": [shape.objects for shape in shapes],
        "reads": [shape.reads for shape in shapes],
        "writes": [shape.writes for shape in shapes],
        "columns_used": [shape.columns for shape in shapes],
        "functions": [shape.functions for shape in shapes],
        "settings": [shape.settings for shape in shapes],
        "roles": [shape.roles for shape in shapes],
        "flags": [shape.flags for shape in shapes],
    }
    texts = {
        "parse_status": [shape.status for shape in shapes],
        "digest": [shape.digest for shape in shapes],
        "text": [shape.redacted_text for shape in shapes],
        "operation": [shape.operation for shape in shapes],
        "summary": [shape.summary for shape in shapes],
        "fingerprint": [shape.fingerprint for shape in shapes],
    }
    joined = {name: list(map(_joined, column)) for name, column in lists.items()}
    frame = pl.DataFrame({**texts, **joined}, schema_overrides=_SHAPE_DTYPES)
    return frame.with_columns(_SPLIT)


def _joined(items: Sequence[str]) -> str | None:
    """One text for a list: from nested lists Polars builds a Series for each, 10 times slower.

    Agents escape control characters, so the separator stands in no item.
    """
    if not items:
        return None
    text = _SEPARATOR.join(items)
    if text.count(_SEPARATOR) != len(items) - 1:
        raise PoisonError("a control character in a list")
    return text


_SEPARATOR = "\x1f"
_LISTS = [name for name, dtype in schema.STATEMENTS.dtypes.items() if dtype == schema.TEXTS]
_SHAPE_TEXTS = ("parse_status", "digest", "text", "operation", "summary", "fingerprint")
_SHAPE_DTYPES = dict.fromkeys((*_SHAPE_TEXTS, *_LISTS), pl.String)
_SPLIT = pl.col(_LISTS).str.split(_SEPARATOR).fill_null(pl.lit([], dtype=schema.TEXTS))


def _length(columns: Columns) -> int:
    """Rows; every column must have as many."""
    names = _STATEMENT_NAMES if isinstance(columns, pb.StatementColumns) else _SESSION_NAMES
    lengths = {name: len(getattr(columns, name)) for name in names}
    told = {n for name, n in lengths.items() if n or name not in _LATER}
    if len(told) > 1:
        raise PoisonError(f"columns of different lengths: {lengths}")
    return told.pop()


_STATEMENT_NAMES = tuple(field.name for field in pb.StatementColumns.DESCRIPTOR.fields)
_SESSION_NAMES = tuple(field.name for field in pb.SessionColumns.DESCRIPTOR.fields)
_LATER = {
    "trace_parent_s": 0,
    "parameters_s": 0,
    "origin_s": 0,
    "preparation_us": -1,
    "transaction_s": 0,
    "executions": 1,
    "durations_s": 0,
    "digest_d": 0,
    "confidence": -1,
    "evidence_s": 0,
}
"""Columns that batches of older agents do not have, and what that means."""
