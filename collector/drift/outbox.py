"""Rows of table catalog_changes until they are durable there: a crash between loses none."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from collector.drift.news import DriftNews
from collector.drift.state import State


class Outbox:
    """Kept in ``state``. ``settled`` may come from any thread."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._settled: deque[tuple[tuple[int, ...], bool]] = deque()

    def add(self, rows: Iterable[dict[str, Any]], news: DriftNews) -> None:
        for row in rows:
            self._state.outbox_number += 1
            self._state.outbox[self._state.outbox_number] = row
            news.changes[self._state.outbox_number] = row

    def settled(self, numbers: Iterable[int], durable: bool) -> None:
        self._settled.append((tuple(numbers), durable))

    def take_settled(self, news: DriftNews) -> bool:
        """What the disk refused is news again. True where something is kept no longer."""
        changed = False
        while self._settled:
            numbers, durable = self._settled.popleft()
            outbox = self._state.outbox
            known = [number for number in numbers if number in outbox]
            if not durable:
                news.changes |= {number: outbox[number] for number in known}
                continue
            changed = True
            for number in known:
                del outbox[number]
        return changed
