"""What is lost with a batch, by class: each class is counted for itself. Pure."""

from collections.abc import Iterator

from agent.wire import Payload

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
