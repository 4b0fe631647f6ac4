"""Shapes of texts met before; shared by all who parse."""

from __future__ import annotations

import threading
from collections import OrderedDict

from model.statement import Shape

ENTRY_OVERHEAD_BYTES = 1_500
"""What a Shape and its place in the cache weigh besides the texts, roughly."""


class ShapeCache:
    """Least recently used first out; bounded in entries and bytes; safe for many threads."""

    def __init__(self, max_entries: int = 5_000, max_bytes: int = 12 << 20) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: OrderedDict[bytes, tuple[Shape, float]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, text: bytes, now_seconds: float) -> Shape | None:
        with self._lock:
            found = self._entries.get(text)
            if found is None:
                return None
            shape, until_seconds = found
            if now_seconds >= until_seconds:
                self._drop(text)
                return None
            self._entries.move_to_end(text)
            return shape

    def put(self, text: bytes, shape: Shape, until_seconds: float = float("inf")) -> None:
        weight = _weight(text, shape)
        with self._lock:
            self._drop(text)
            if weight > self._max_bytes:
                return
            self._entries[text] = (shape, until_seconds)
            self._bytes += weight
            while self._bytes > self._max_bytes or len(self._entries) > self._max_entries:
                self._drop(next(iter(self._entries)))

    def _drop(self, text: bytes) -> None:
        found = self._entries.pop(text, None)
        if found is not None:
            self._bytes -= _weight(text, found[0])

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size_bytes(self) -> int:
        return self._bytes


def _weight(text: bytes, shape: Shape) -> int:
    names = (
        len(shape.columns) + len(shape.reads) + len(shape.writes) + len(shape.objects)
    ) * 80  # a short str with its slot
    return len(text) + len(shape.redacted_text) + names + ENTRY_OVERHEAD_BYTES
