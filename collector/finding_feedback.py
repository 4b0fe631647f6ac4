"""What people say of findings: into the record first, and from there to the gate."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from analytics.gate import Gate, Opinion
from analytics.gate.calibration import first_threshold
from analytics.gate.settings import BY_RULE
from analytics.gate.sorts import detector_of
from analytics.gate.weights import bits_alone, weight
from collector.gatekeeper import feedback_of
from collector.store import Store, frame_of
from collector.submission import Submission
from model.finding import FindingKind

DURABLE_SECONDS = 15.0
LONGEST_REASON = 500
_FOUND = """
SELECT id, detector, agent, cluster, coalesce(nullif(identity, ''), user_name), object, details,
    kind
FROM findings WHERE starts_with(id, ?) ORDER BY id LIMIT 2
"""


class FeedbackError(ValueError):
    """It cannot be said so; the message is for who says it."""


@dataclass(frozen=True, slots=True)
class Judged:
    finding_id: str
    detector: str
    identity: str
    object: str
    moved_before: float
    moved_after: float


class FindingFeedback:
    """Thread-safe: it only reads the gate, which changes by the row that it writes."""

    def __init__(self, store: Store, gate: Callable[[], Gate | None]) -> None:
        self._store = store
        self._gate = gate

    def judge(self, finding_id: str, opinion: str, because: str, by: str) -> Judged:
        """Durable when it returns. Raises FeedbackError."""
        row = self._row(finding_id.strip(), opinion, because.strip(), by.strip())
        feedback = feedback_of(row)
        gate = self._gate() or Gate()
        key = (feedback.detector, feedback.who, feedback.object)
        before = gate.opinions.shift(*key)
        after = gate.opinions.with_(feedback).shift(*key)
        self._write(row)
        return Judged(row["finding_id"], *key[:1], feedback.who.identity, key[2], before, after)

    def thresholds(self) -> dict[str, Any]:
        """Raises FeedbackError where there is no gate."""
        gate = self._gate()
        if gate is None:
            raise FeedbackError("analytics are switched off in this collector")
        return thresholds(gate)

    def _row(self, finding_id: str, opinion: str, because: str, by: str) -> dict[str, Any]:
        if opinion not in list(Opinion):
            raise FeedbackError(f"no opinion {opinion!r}; there are {', '.join(Opinion)}")
        if opinion == Opinion.DISMISSED and not because:
            raise FeedbackError("say why it is dismissed")
        if len(because) > LONGEST_REASON:
            raise FeedbackError(f"the reason is longer than {LONGEST_REASON} characters")
        if not by:
            raise FeedbackError("who says so is not said")
        found = self._store.query(_FOUND, [finding_id]) if finding_id else []
        if not found:
            raise FeedbackError(f"no finding {finding_id!r}; see: pgwarden findings")
        if len(found) > 1 and found[0][0] != finding_id:
            raise FeedbackError(f"several findings begin with {finding_id}; give more of the id")
        id_, detector, agent, cluster, identity, cause, details, kind = found[0]
        if kind != FindingKind.ANOMALY or detector in BY_RULE:
            raise FeedbackError(f"{detector} does not guess: it has no threshold to move")
        numbers = json.loads(details or "{}")
        return {
            "occurred_at": time.time_ns() // 1000,
            "finding_id": id_,
            "opinion": opinion,
            "author": by,
            "because": because,
            "detector": detector,
            "agent": agent,
            "cluster": cluster,
            "identity": identity,
            "object": cause,
            "bits": float(numbers.get("bits", 0)),
            "threshold": float(numbers.get("threshold", 0)),
        }

    def _write(self, row: dict[str, Any]) -> None:
        done, durable = threading.Event(), []

        def settled(good: bool) -> None:
            durable.append(good)
            done.set()

        rows = frame_of("finding_feedback", [row])
        self._store.segments.submit(Submission({"finding_feedback": rows}, settled=settled))
        if not done.wait(DURABLE_SECONDS) or not durable[0]:
            raise FeedbackError("the collector cannot make it durable now; say it again later")


def _score_alone(gate: Gate, sort: str, needed: float) -> float:
    """At which one candidate is told without any other. Its bits are never much above its score."""
    bits = bits_alone(needed, weight(sort))
    claimed = bits - gate.settings.claim_margin
    return max(gate.calibration.tail(sort).score_at(bits), claimed)


def thresholds(gate: Gate) -> dict[str, Any]:
    """For a person: what it takes, by detector or sort of what it says, and what moved it."""
    calibration, history, settings = gate.calibration, gate.history, gate.settings
    needed = calibration.threshold or first_threshold(settings)
    shifts = gate.opinions.shifts()
    names = sorted({*history.peaks, *(name for name, _ in gate.suppressed)})
    # What is held back is counted by detector; one with sorts has a score for each of them alone.
    parted = {detector_of(name) for name in history.peaks} - {*history.peaks}
    return {
        "threshold_bits": round(needed, 2),
        "alerts_per_day_per_100_identities": settings.alerts_per_day_per_100_identities,
        "raised_today": gate.raised_today,
        "detectors": [
            {
                "detector": name,
                "score": None if name in parted else round(_score_alone(gate, name, needed), 2),
                "history_days": round(history.days_of(name, gate.now_us), 1),
                "identity_days": round(history.identity_days(name, gate.now_us)),
                "peaks": len(history.peaks.get(name, {})),
                "suppressed": {
                    reason: n for (each, reason), n in gate.suppressed.items() if each == name
                },
            }
            for name in names
        ],
        "moved": [
            {"detector": detector, "identity": who.identity, "object": cause, "bits": bits}
            for (detector, who, cause), bits in shifts.items()
        ],
        "mutes": [
            {
                "because": mute.reason,
                "identity": mute.identity,
                "database": mute.database,
                "agent": mute.agent,
                "detector": mute.detector,
                "open": mute.is_open(time.time_ns() // 1000),
            }
            for mute in gate.mutes
        ],
        "deployments": [
            {"identity": who.identity, "at_us": at_us}
            for who, at_us in gate.releases.items()
            if gate.now_us - at_us <= settings.deployment_seconds * 1e6
        ],
    }
