"""Nodes and Lists of a stopped backend: each length is bounded, each pointer checked."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from agent.guard.memory import SPANS, read_spans
from agent.probes.plan_layouts import PlanLayout

HIGHEST_ADDRESS = 1 << 47
MOST_CELLS = 1 << 24
LIST_BYTES = 24
LEAST_ROOM = 5
"""Since PostgreSQL 13 a List is made with room for so many cells behind its head."""

_pointer = struct.Struct("<Q")
_cell = struct.Struct("<QQ")
"""Up to PostgreSQL 12: value, next cell."""
_list = struct.Struct("<iiQQ")
"""A List up to PostgreSQL 12: tag, length, first cell, last cell; later: tag, length, room (and
4 bytes of nothing), cells."""


@dataclass(frozen=True, slots=True)
class List:
    """A List's head: where its cells are, and how many."""

    cells: int = 0
    count: int = 0
    inside: bytes = b""
    """The cells themselves, where they lie right behind the head."""


NIL = List()


class PlanMemory:
    """Raises OSError, struct.error or ValueError where nothing sensible lies."""

    def __init__(self, pid: int, layout: PlanLayout) -> None:
        self._pid = pid
        self.layout = layout

    def read(self, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        for address, size in spans:
            if size and not 0 < address < HIGHEST_ADDRESS - size:
                raise ValueError(f"{address:#x} is no address")
        if len(spans) <= SPANS:
            return read_spans(self._pid, spans)
        pieces: list[bytes] = []
        for at in range(0, len(spans), SPANS):
            pieces += read_spans(self._pid, spans[at : at + SPANS])
        return pieces

    @property
    def list_bytes(self) -> int:
        return LIST_BYTES if self.layout.linked else LIST_BYTES + 8 * LEAST_ROOM

    def list_at(self, address: int, raw: bytes) -> List:
        _, count, first, later = _list.unpack_from(raw)
        if not 0 <= count < MOST_CELLS:
            raise ValueError(f"a list of {count}")
        if self.layout.linked:
            return List(first, count)
        if later == address + LIST_BYTES and count <= LEAST_ROOM:
            return List(later, count, raw[LIST_BYTES : LIST_BYTES + 8 * count])
        return List(later, count)

    def cells(self, lists: Sequence[tuple[List, int]]) -> list[list[int]]:
        """8 bytes of each cell, of at most so many of each list."""
        if self.layout.linked:
            return self._chains([(each.cells, min(each.count, most)) for each, most in lists])
        inside = [each.inside or (None if each.count else b"") for each, _ in lists]
        missing = iter(
            self.read([
                (each.cells, 8 * min(each.count, most))
                for (each, most), known in zip(lists, inside, strict=True)
                if known is None
            ])
        )  # fmt: skip
        return [
            [value for (value,) in _pointer.iter_unpack(next(missing) if raw is None else raw)]
            for raw in inside
        ]

    def _chains(self, lists: Sequence[tuple[int, int]]) -> list[list[int]]:
        """All chains at once, a cell of each in every read."""
        found: list[list[int]] = [[] for _ in lists]
        at = [address for address, _ in lists]
        for step in range(max((count for _, count in lists), default=0)):
            walking = [i for i, (_, count) in enumerate(lists) if step < count]
            for i, raw in zip(walking, self.read([(at[i], 16) for i in walking]), strict=True):
                cell, at[i] = _cell.unpack(raw)
                found[i].append(cell)
        return found
