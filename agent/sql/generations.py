"""A bounded dictionary that forgets what was not asked for lately."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Generations(Generic[K, V]):
    """Two dictionaries: what is used moves to the young one, and when that is half of what may be
    kept, the old one is dropped and the young one grows old. Safe for many threads.

    A strict order of use costs a lock and two links on every look; this costs one look at a
    dictionary, whose operations Python makes atomic.
    """

    def __init__(
        self, max_entries: int, max_bytes: int, weigh_bytes: Callable[[K, V], int]
    ) -> None:
        self._young_entries = max(1, max_entries // 2)
        self._young_bytes = max_bytes // 2
        self._weigh = weigh_bytes
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}
        self._bytes = self._old_bytes = 0
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        found = self._young.get(key)
        if found is None:
            found = self._old.get(key)
            if found is not None:
                self.put(key, found)
        return found

    def put(self, key: K, value: V) -> None:
        """An entry that is larger than half of all that may be kept is not kept."""
        weight = self._weigh(key, value)
        if weight > self._young_bytes:
            return
        with self._lock:
            total = self._bytes + weight
            if total > self._young_bytes or len(self._young) >= self._young_entries:
                self._old, self._old_bytes = self._young, self._bytes
                self._young, total = {}, weight
            self._young[key] = value
            self._bytes = total

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())

    @property
    def size_bytes(self) -> int:
        """An upper bound: what was put twice, or moved to the young, counts twice."""
        return self._bytes + self._old_bytes
