"""Bytes from an agent to frames with the columns of the store, strictly checked.

Whole columns at a time: no Python code runs for each row of statements and sessions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl
from google.protobuf.message import DecodeError

from collector import schema
from collector.catalog_rows import rows_of, snapshot_of
from model.approval import Step
from model.catalog import Snapshot
from protos.pgwarden.v1 import uplink_pb2 as pb

DIGEST_BYTES = 32
LATEST_US = 4_102_444_800_000_000
"""The year 2100: a later time is nonsense, and some would not fit a timestamp."""


class PoisonError(ValueError):
    """The batch breaks the wire's rules and would do so again; the message says which."""


@dataclass(frozen=True, slots=True)
class Decoded:
    frames: dict[str, pl.DataFrame]
    snapshots: tuple[tuple[str, Snapshot], ...]


def decode_message(data: bytes) -> pb.AgentMessage:
    """Raises PoisonError for what is not an AgentMessage."""
    try:
        return pb.AgentMessage.FromString(data)
    except DecodeError as error:
        raise PoisonError(f"not an AgentMessage: {error}") from error


def batch_number(data: bytes) -> tuple[int, int] | None:
    """(epoch, sequence) of a batch whose rest cannot be decoded; agents put the number first."""
    try:
        tag, at = _varint(data, 0)
        _, at = _varint(data, at)
        epoch_tag, at = _varint(data, at)
        epoch, at = _varint(data, at)
        sequence_tag, at = _varint(data, at)
        sequence, _ = _varint(data, at)
    except IndexError:
        return None
    known = (tag, epoch_tag, sequence_tag) == (0x12, 0x08, 0x10)
    return (epoch, sequence) if known else None


def decode_batch(batch: pb.Batch, agent: str) -> Decoded:
    """Frames by table, empty ones left out. Raises PoisonError; then nothing of it is stored."""
    try:
        frames = {
            "statements": _statements(batch, agent),
            "sessions": _sessions(batch, agent),
            "verdicts": _rows("verdicts", [_verdict(v, agent) for v in batch.verdicts]),
            "losses": _rows("losses", [_loss(loss, agent) for loss in batch.losses]),
            "approvals": _rows("approvals", [_approval(a, agent) for a in batch.approvals]),
            "catalog": _rows("catalog", _catalog(batch.snapshots, agent)),
            "rules_changes": _rows(
                "rules_changes", [_rules_change(each, agent) for each in batch.rules_changes]
            ),
        }
        snapshots = tuple((agent, snapshot_of(snapshot)) for snapshot in batch.snapshots)
    except (pl.exceptions.PolarsError, OverflowError, TypeError) as error:
        raise PoisonError(f"values that do not fit: {str(error)[:200]}") from error
    return Decoded({name: f for name, f in frames.items() if f is not None}, snapshots)


def _statements(batch: pb.Batch, agent: str) -> pl.DataFrame | None:
    columns = batch.statements
    rows = _length(columns)
    if not rows:
        return None
    text = _interned(batch.strings)
    shapes = _shapes(batch.shapes)
    shape = _index(columns.shape, shapes.height, "shape")
    shaped = shapes[shape].with_columns(_digests(batch, rows))
    known = {
        "agent": pl.repeat(agent, rows, dtype=pl.String, eager=True),
        "id": _u64(columns.id),
        "parent_id": _u64(columns.parent_id),
        "started_at": _time(columns.started_at_us, "started_at_us"),
        "duration_us": _number(columns.duration_us),
        "rows": _number(columns.rows),
        "bytes_sent": _number(columns.bytes_sent),
        "text_bytes": _u64(columns.text_bytes),
        "pid": _u32(columns.pid),
        "backend_started_at": _time(columns.backend_started_at_us, "backend_started_at_us"),
        "cluster": text(columns.cluster_s),
        "database": text(columns.database_s),
        "user_name": text(columns.user_s),
        "application_name": text(columns.application_name_s),
        "client_address": text(columns.client_address_s),
        "identity_kind": text(columns.identity_kind_s),
        "identity_name": text(columns.identity_name_s),
        "source": text(columns.source_s),
        "protocol": text(columns.protocol_s),
        "tag": text(columns.tag_s),
        "sqlstate": text(columns.sqlstate_s),
        "error_message": text(columns.error_message_s),
        "audit_class": text(columns.audit_class_s),
        "audit_objects": text(columns.audit_objects_s),
        "rule": text(columns.rule_s),
        "preparation_us": _number(_later(columns.preparation_us, rows, -1)),
        "transaction": text(_later(columns.transaction_s, rows)),
        "executions": _u64(_later(columns.executions, rows, 1)),
        "durations": text(_later(columns.durations_s, rows)),
        "trace_parent": text(_later(columns.trace_parent_s, rows)),
        "parameters": text(_later(columns.parameters_s, rows)),
    }
    return pl.DataFrame({**known, **shaped.to_dict()}).select(list(schema.STATEMENTS.dtypes))


def _digests(batch: pb.Batch, rows: int) -> list[pl.Series]:
    """A digest for each row; the shape's own where an older agent sent no other."""
    if not batch.statements.digest_d:
        return []
    raw = [b"", *batch.digests]
    if any(len(each) != DIGEST_BYTES for each in batch.digests):
        raise PoisonError("a digest that is no SHA-256")
    table = pl.Series("digest", raw, dtype=pl.Binary).bin.encode("hex")
    return [table[_index(batch.statements.digest_d, table.len(), "digest")]]


def _sessions(batch: pb.Batch, agent: str) -> pl.DataFrame | None:
    columns = batch.sessions
    rows = _length(columns)
    if not rows:
        return None
    text = _interned(batch.strings)
    ended = _time(columns.ended_at_us, "ended_at_us")
    known = {
        "agent": pl.repeat(agent, rows, dtype=pl.String, eager=True),
        "pid": _u32(columns.pid),
        "backend_started_at": _time(columns.backend_started_at_us, "backend_started_at_us"),
        "cluster": text(columns.cluster_s),
        "database": text(columns.database_s),
        "user_name": text(columns.user_s),
        "application_name": text(columns.application_name_s),
        "client_address": text(columns.client_address_s),
        "client_port": _u32(columns.client_port),
        "identity_kind": text(columns.identity_kind_s),
        "identity_name": text(columns.identity_name_s),
        "identity_confidence": pl.Series(columns.identity_confidence, dtype=pl.Float64),
        "identity_evidence": text(columns.identity_evidence_s),
        "ended_at": ended.set(ended.cast(pl.Int64) == 0, None),
        "seen_at": _time(columns.seen_at_us, "seen_at_us"),
        "origin": text(_later(columns.origin_s, rows)),
    }
    return pl.DataFrame(known)


def _shapes(shapes: Sequence[pb.Shape]) -> pl.DataFrame:
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


def _length(columns: "pb.StatementColumns | pb.SessionColumns") -> int:
    """Rows; every column must have as many."""
    lengths = {field.name: len(getattr(columns, field.name)) for field in columns.DESCRIPTOR.fields}
    lengths = {name: n for name, n in lengths.items() if n or name not in _LATER}
    if len(set(lengths.values())) > 1:
        raise PoisonError(f"columns of different lengths: {lengths}")
    return next(iter(lengths.values()))


_LATER = frozenset(
    (
        "trace_parent_s",
        "parameters_s",
        "origin_s",
        "preparation_us",
        "transaction_s",
        "executions",
        "durations_s",
        "digest_d",
    )
)
"""Columns that older agents, and batches that waited in a spool, do not have."""


def _later(values: Sequence[int], rows: int, absent: int = 0) -> Sequence[int]:
    return values or [absent] * rows


def _interned(strings: Sequence[str]) -> Callable[[Sequence[int]], pl.Series]:
    table = pl.Series(list(strings), dtype=pl.String)
    if not table.len() or table[0] != "":
        raise PoisonError("strings[0] is not the empty string")
    # Not Series.gather: that builds and runs a query plan for each column.
    return lambda indices: table[_index(indices, table.len(), "string")]


def _index(indices: Sequence[int], size: int, what: str) -> pl.Series:
    series = _u32(indices)
    largest = series.max()
    if isinstance(largest, int) and largest >= size:
        raise PoisonError(f"{what} index {largest} of {size}")
    return series


def _u64(values: Sequence[int]) -> pl.Series:
    return pl.Series(values, dtype=pl.UInt64)


def _u32(values: Sequence[int]) -> pl.Series:
    return pl.Series(values, dtype=pl.UInt32)


def _number(values: Sequence[int]) -> pl.Series:
    """-1 on the wire is NULL in the store."""
    return pl.Series([None if value < 0 else value for value in values], dtype=pl.Int64)


def _time(values: Sequence[int], what: str) -> pl.Series:
    if values and not (min(values) >= 0 and max(values) <= LATEST_US):
        raise PoisonError(f"{what} is not between 1970 and 2100")
    return pl.Series(values, dtype=pl.Int64).cast(pl.Datetime("us"))


def _instant(value: int, what: str) -> int:
    if not 0 <= value <= LATEST_US:
        raise PoisonError(f"{what} is not between 1970 and 2100")
    return value


def _rows(table: str, rows: list[tuple[object, ...]]) -> pl.DataFrame | None:
    if not rows:
        return None
    return pl.DataFrame(rows, schema=schema.TABLES[table].dtypes, orient="row")


def _verdict(verdict: pb.Verdict, agent: str) -> tuple[object, ...]:
    return (
        _instant(verdict.at_us, "at_us"),
        agent,
        verdict.pid,
        _instant(verdict.backend_started_at_us, "backend_started_at_us"),
        verdict.statement_id,
        verdict.rule_id,
        verdict.title,
        verdict.severity,
        verdict.action,
        verdict.mode,
        verdict.outcome,
        verdict.reason,
        verdict.digest,
        verdict.held_us,
        verdict.cluster,
        verdict.database,
        verdict.user,
        verdict.application_name,
        verdict.identity_kind,
        verdict.identity_name,
        verdict.redacted_text,
    )


def _approval(step: pb.ApprovalStep, agent: str) -> tuple[object, ...]:
    if step.step not in _AGENT_STEPS:
        raise PoisonError("a step that no agent takes")
    return (
        _instant(step.at_us, "at_us"),
        step.id,
        step.step,
        step.request,
        agent,
        step.cluster,
        step.database,
        step.user,
        step.identity,
        step.identity_kind,
        step.identity_name,
        step.pid,
        _instant(step.backend_started_at_us, "backend_started_at_us"),
        step.statement_id,
        step.rule,
        step.digest,
        step.text,
        list(step.relations),
        list(step.functions),
        list(step.flags),
        list(step.who),
        step.grant,
        None,
        None,
        "",
        step.reason,
    )


_AGENT_STEPS = frozenset((Step.REQUESTED.value, Step.USED.value, Step.VOIDED.value))


def _catalog(snapshots: Sequence[pb.Snapshot], agent: str) -> list[tuple[object, ...]]:
    for snapshot in snapshots:
        for moment in (snapshot.at_us, snapshot.base_at_us, snapshot.since_us):
            _instant(moment, "at_us of a snapshot")
    return [row for snapshot in snapshots for row in rows_of(snapshot, agent)]


def _loss(loss: pb.Loss, agent: str) -> tuple[object, ...]:
    return (_instant(loss.at_us, "at_us"), agent, loss.source, loss.reason, loss.count)


def _rules_change(change: pb.RulesChange, agent: str) -> tuple[object, ...]:
    return (
        _instant(change.at_us, "at_us"),
        agent,
        change.outcome,
        change.source,
        change.digest,
        change.previous,
        change.rules,
        change.version,
        change.problem,
    )


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80 or shift > 63:
            return value, at
