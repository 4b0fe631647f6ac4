"""Two rings, one order. Pure.

What has reserved room comes through a ring of its own, so the records of one backend arrive by two
ways. Its order is that of their times. The bulk ring is always drained first: whatever is in it has
then been submitted before what is found in the other one later on.

A record takes its place in the ring before it takes its time, and is finished later still. So a
moment is past once both rings have been drained up to where they were filled at that moment.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct

from agent.probes.layout import RecordKind, offset_of

HEAD = Struct("<IIQ")
HELD_AT = offset_of("statement_record", "held")
STATEMENTS = (RecordKind.STATEMENT, RecordKind.NESTED, RecordKind.CALL)
"""Of ``held`` in a statement record."""


def at_ns(record: bytes) -> int:
    return int(HEAD.unpack_from(record)[2])


def is_statement(record: bytes) -> bool:
    return record[0] in STATEMENTS


class Order:
    """Raw records until they may be decoded."""

    def __init__(self) -> None:
        self._ready: list[bytes] = []
        self._early: list[bytes] = []
        self._mark: tuple[int, int, int] | None = None
        self._complete_ns = 0
        """Every record with an earlier time has come."""
        self._held = 0
        """So many records at the front are of backends that wait."""
        self.holding = False
        """What was taken last is of such."""

    @property
    def ready(self) -> bool:
        """There is something to take."""
        return bool(self._ready)

    @property
    def early(self) -> bool:
        """Something waits for what may come before it."""
        return bool(self._early)

    def mark(self, now_ns: int, ends: Callable[[], tuple[int, int]]) -> None:
        """Before the rings are drained. ``ends``: how far they have been filled, which has to be
        read after the clock."""
        if self._mark is None:
            self._mark = (now_ns, *ends())

    def add(
        self,
        bulk: list[bytes],
        urgent: list[bytes],
        drained_to: tuple[int, int],
        *,
        urgent_unread: bool,
    ) -> None:
        """``urgent_unread``: the urgent ring could not be drained to its end.

        Records that are later than the last moment that is past wait, because what they follow may
        lie in the other ring. Where nothing urgent is about, they need not: what is urgent from
        now on is later than all of these.
        """
        if self._mark and drained_to[0] >= self._mark[1] and drained_to[1] >= self._mark[2]:
            self._complete_ns, self._mark = self._mark[0], None
        if not (urgent or self._early or urgent_unread):
            self._ready = self._ready + bulk if self._ready else bulk
            return
        waiting = self._early + bulk + urgent
        now = sorted((one for one in waiting if at_ns(one) <= self._complete_ns), key=at_ns)
        self._early = [one for one in waiting if at_ns(one) > self._complete_ns]
        self._ready, self._held = _held_first(self._ready + now)

    def take(self, limit: int) -> list[bytes]:
        """The next records, oldest first for each backend; those of held backends first of all, and
        by themselves: these need not wait until the others have been read."""
        self.holding, limit, self._held = bool(self._held), self._held or limit, 0
        taken, self._ready = self._ready[:limit], self._ready[limit:]
        return taken

    def flush(self) -> list[bytes]:
        """Everything at once: there will be no more."""
        self._early.sort(key=at_ns)
        records, self._ready, self._early = self._ready + self._early, [], []
        return records


def _held_first(records: list[bytes]) -> tuple[list[bytes], int]:
    """And how many of them are of held backends."""
    held = {record[4:8] for record in records if is_statement(record) and record[HELD_AT]}
    if not held:
        return records, 0
    first = [record for record in records if record[4:8] in held]
    return first + [record for record in records if record[4:8] not in held], len(first)
