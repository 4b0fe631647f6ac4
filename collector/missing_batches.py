"""Batches that this collector acknowledged and does not have: its record was put back from a copy.

An agent says with each stream up to which number it heard that its batches are durable. It has
forgotten those, so what is missing between is lost, and is counted. Numbers go on over all epochs
of a spool's file: what is missing may be of several, and what is here of earlier ones.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from collector.bounds import MOST_LOST
from collector.ledger_entry import BATCHES_MISSING
from protos.pgwarden.v1 import uplink_pb2 as pb

SOURCE, REASON = "uplink", "record_older"
"""Of the row in ``losses``; it counts batches."""

Append = Callable[[str, Sequence[Mapping[str, Any]]], None]


class MissingBatches:
    """Thread-safe. ``append`` queues rows of the collector's own, ``note`` a note of the ledger."""

    def __init__(self, append: Append, note: Callable[..., None]) -> None:
        self._append = append
        self._note = note
        self._lock = threading.Lock()
        self._told: dict[str, int] = {}
        """The last epoch, by agent: each new stream says it again until another batch comes."""
        self.count = 0

    def heard(self, hello: pb.Hello, stored: int, now_us: int) -> None:
        """A new stream of an agent of whose spool everything up to ``stored`` is here."""
        with self._lock:
            missing = hello.acknowledged - stored
            if missing <= 0 or self._told.get(hello.agent) == hello.epoch:
                return
            self._told[hello.agent] = hello.epoch
            self.count += missing
        row = {
            "occurred_at": now_us,
            "agent": hello.agent,
            "source": SOURCE,
            "reason": REASON,
            "count": min(missing, MOST_LOST),
        }
        self._append("losses", [row])
        self._note(
            BATCHES_MISSING,
            agent=hello.agent,
            epoch=hello.epoch,
            first=stored + 1,
            last=hello.acknowledged,
        )
