"""A difference is told even where our own code fails at it: one must not keep back all others."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import structlog

from collector.drift import findings
from collector.drift.explanation import Explanations
from collector.drift.state import OpenDrift
from model.finding import Finding, FindingKind

log = structlog.get_logger(__name__)

Explain = Callable[[OpenDrift, int], list[OpenDrift]]


def explained(explain: Explain, drift: OpenDrift, now_us: int) -> list[OpenDrift]:
    """What ``explain`` says of it; where that fails it is told as nobody's, with a note."""
    try:
        return explain(drift, now_us)
    except Exception as error:  # noqa: BLE001 - noted on the difference and logged
        _failed("drift.not_explained", error)
        note = f"who did it could not be looked for: {type(error).__name__} in pgwarden"
        told = replace(drift, reported=True, note=note, known_us=now_us)
        return [replace(told, finding_id=findings.id_of(told))]


def with_consequences(
    explanations: Explanations, due: Sequence[OpenDrift], known: Iterable[OpenDrift], now_us: int
) -> list[OpenDrift]:
    """As ``Explanations.with_consequences``; where that fails, ``due`` as they are."""
    try:
        return explanations.with_consequences(due, known, now_us)
    except Exception as error:  # noqa: BLE001 - logged
        _failed("drift.consequences_not_found", error)
        return [*due]


def finding_of(drifts: Sequence[OpenDrift], reach: Callable[[], Sequence[str]]) -> Finding:
    """As ``findings.finding_of``; where that fails, what differs without its consequences."""
    try:
        return findings.finding_of(drifts, reach())
    except Exception as error:  # noqa: BLE001 - said in the finding and logged
        _failed("drift.not_worded", error)
        return _plain(drifts, error)


def _plain(drifts: Sequence[OpenDrift], error: Exception) -> Finding:
    first = drifts[0]
    kind, name = first.scope.kind, first.difference.name
    others = f" and {len(drifts) - 1} more" if len(drifts) > 1 else ""
    return Finding(
        id=first.finding_id,
        kind=FindingKind.DRIFT,
        detector=f"drift.{findings.PLURALS.get(kind, f'{kind}s')}",
        severity=first.severity,
        title=f"Drift: {kind} {name}{others}",
        sentence=(
            f"{kind} {name}{others} {first.difference.change}; what that means could not be worded:"
            f" {type(error).__name__} in pgwarden"
        ),
        at_us=first.detected_at_us,
        agent=first.scope.agent,
        cluster=first.scope.cluster,
        database=first.scope.database,
        user=first.user,
        identity=first.actor,
        object=name,
        statement_id=first.statement_id,
    )


def _failed(event: str, error: Exception) -> None:
    # Not the error's own text: it may quote a value.
    where = "".join(traceback.format_tb(error.__traceback__)[-3:])
    log.error(event, error=type(error).__name__, where=where)
