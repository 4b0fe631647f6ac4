"""Bytes from an agent to frames with the columns of the store, strictly checked.

Many batches at once and whole columns at a time: no Python code runs for each row of statements
and sessions (``columns.py``).
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from google.protobuf.message import DecodeError

from collector import schema
from collector.bounds import MOST_LOST
from collector.catalog_rows import rows_of, snapshot_of
from collector.columns import LATEST_US, PoisonError, Sent, sessions_of, statements_of
from model.approval import Step
from model.catalog import Snapshot
from protos.pgwarden.v1 import uplink_pb2 as pb

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Decoded:
    frames: Mapping[str, pl.DataFrame]
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
    return decode_batches([(agent, batch)])


def decode_batches(sent: Sequence[Sent]) -> Decoded:
    """Many as one, in their order: a frame costs as much for few rows as for many. Raises
    PoisonError if one of them is poison, without saying which."""
    try:
        frames = {
            "statements": statements_of(sent),
            "sessions": sessions_of(sent),
            "verdicts": _rows(sent, "verdicts", _verdict),
            "losses": _rows(sent, "losses", _loss),
            "approvals": _rows(sent, "approvals", _approval),
            "catalog": _catalog(sent),
            "rules_changes": _rows(sent, "rules_changes", _rules_change),
        }
        snapshots = tuple(
            (agent, snapshot_of(snapshot)) for agent, batch in sent for snapshot in batch.snapshots
        )
    except (pl.exceptions.PolarsError, OverflowError, TypeError) as error:
        raise PoisonError(f"values that do not fit: {str(error)[:200]}") from error
    return Decoded({name: f for name, f in frames.items() if f is not None}, snapshots)


def sift(sent: Sequence[Sent]) -> tuple[list[Decoded], dict[int, str]]:
    """All that can be decoded, in its order and in as few parts as may be; and why one cannot be,
    by its place. Halves are tried where one is poison: a few bad ones cost the others little."""
    if not sent:
        return [], {}
    try:
        return [decode_batches(sent)], {}
    except (Exception, pl.exceptions.PanicException) as error:  # noqa: BLE001 - commits must go on
        if len(sent) == 1:
            return [], {0: _reason(error)}
    middle = len(sent) // 2
    first, bad_of_first = sift(sent[:middle])
    second, bad_of_second = sift(sent[middle:])
    moved = {middle + place: reason for place, reason in bad_of_second.items()}
    return first + second, bad_of_first | moved


def _reason(error: BaseException) -> str:
    if isinstance(error, PoisonError):
        return str(error)
    _log.error("a batch breaks the decoder: %s", type(error).__name__)
    return f"it cannot be decoded: {type(error).__name__}"


def _instant(value: int, what: str) -> int:
    if not 0 <= value <= LATEST_US:
        raise PoisonError(f"{what} is not between 1970 and 2100")
    return value


def _rows(
    sent: Sequence[Sent], table: str, row_of: Callable[[Any, str], tuple[object, ...]]
) -> pl.DataFrame | None:
    return _frame(table, [row_of(fact, agent) for agent, b in sent for fact in getattr(b, table)])


def _catalog(sent: Sequence[Sent]) -> pl.DataFrame | None:
    rows: list[tuple[object, ...]] = []
    for agent, batch in sent:
        for snapshot in batch.snapshots:
            moments = (snapshot.at_us, snapshot.base_at_us, snapshot.since_us)
            for moment in (*moments, snapshot.unwatched_from_us, snapshot.unwatched_until_us):
                _instant(moment, "at_us of a snapshot")
            rows += rows_of(snapshot, agent)
    return _frame("catalog", rows)


def _frame(table: str, rows: list[tuple[object, ...]]) -> pl.DataFrame | None:
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


def _loss(loss: pb.Loss, agent: str) -> tuple[object, ...]:
    lost = min(loss.count, MOST_LOST)
    return (_instant(loss.at_us, "at_us"), agent, loss.source, loss.reason, lost)


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
