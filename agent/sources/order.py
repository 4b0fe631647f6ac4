"""Two rings, one order. Pure.

What has reserved room comes through a ring of its own, so the records of one backend arrive by two
ways. Its order is that of their times. The bulk ring is always drained first: whatever is in it has
then been submitted before what is found in the other one later on.
"""

from __future__ import annotations

from heapq import merge
from struct import Struct

from agent.probes.layout import FIELDS, RecordKind

HEAD = Struct("<IIQ")
HELD_AT = Struct("<" + FIELDS["statement_record"][0][:-2]).size
"""Of ``held`` in a statement record."""


def at_ns(record: bytes) -> int:
    return int(HEAD.unpack_from(record)[2])


class Order:
    """Raw records until they may be decoded."""

    def __init__(self) -> None:
        self._ready: list[bytes] = []
        self._early: list[bytes] = []

    @property
    def waiting(self) -> bool:
        return bool(self._ready or self._early)

    def add(self, bulk: list[bytes], urgent: list[bytes], cutoff_ns: int) -> None:
        """``cutoff_ns``: everything with an earlier time is in ``bulk`` or came before; later
        urgent records wait, because what they follow may still lie in the bulk ring."""
        if self._early or urgent:
            waiting = self._early + urgent
            now = [record for record in waiting if at_ns(record) <= cutoff_ns]
            self._early = [record for record in waiting if at_ns(record) > cutoff_ns]
            if now:
                now.sort(key=at_ns)
                bulk.sort(key=at_ns)
                bulk = list(merge(bulk, now, key=at_ns))
                self._ready = _held_first(self._ready + bulk)
                return
        self._ready = self._ready + bulk if self._ready else bulk

    def take(self, limit: int) -> list[bytes]:
        """The next records, oldest first for each backend; those of held backends first of all."""
        taken, self._ready = self._ready[:limit], self._ready[limit:]
        return taken

    def flush(self) -> list[bytes]:
        """Everything at once: there will be no more."""
        self._early.sort(key=at_ns)
        records, self._ready, self._early = self._ready + self._early, [], []
        return records


def _held_first(records: list[bytes]) -> list[bytes]:
    held = {
        record[4:8] for record in records if record[0] == RecordKind.STATEMENT and record[HELD_AT]
    }
    if not held:
        return records
    first = [record for record in records if record[4:8] in held]
    return first + [record for record in records if record[4:8] not in held]
