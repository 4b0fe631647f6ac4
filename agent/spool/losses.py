"""What is lost with a batch, by class: each class is counted for itself. Pure."""

from collections.abc import Iterator, MutableMapping

from agent.wire.batch import Payload
from model.event import Lost
from protos.pgwarden.v1 import uplink_pb2 as pb

URGENT, SESSIONS = "urgent_", "session_"
"""Put before the reason; ordinary statements have nothing before it."""


def lost_with(payload: Payload, reason: str) -> Iterator[tuple[str, int]]:
    """Reasons with their counts. Losses that were to be recorded are not lost once more."""
    rows = payload.counts
    statements, sessions = rows.get("statements", 0), rows.get("sessions", 0)
    others = payload.rows - statements - sessions - rows.get("losses", 0)
    counts = {
        reason: statements + payload.folded - payload.urgent,
        URGENT + reason: payload.urgent + others,
        SESSIONS + reason: sessions,
    }
    yield from ((name, count) for name, count in counts.items() if count)


def owe(payload: Payload, owed: MutableMapping[tuple[str, str], Lost]) -> None:
    """Losses that were to be recorded with it, by source and reason, for another try."""
    if "losses" not in payload.counts:
        return
    for loss in pb.Batch.FromString(payload.body).losses:
        key = loss.source, loss.reason
        before = owed.get(key)
        at_ns, count = (before.at_ns, before.count) if before else (loss.at_us * 1000, 0)
        owed[key] = Lost(at_ns, *key, count + loss.count)
