"""Shapes of texts met before, and of texts like them; shared by all who parse."""

from __future__ import annotations

from collections.abc import Callable

from agent.sql.generations import Generations
from agent.sql.skeleton import skeleton_of
from agent.sql.templates import Templates, parts_weigh
from model.statement import Shape

ENTRY_OVERHEAD_BYTES = 1_500
"""What a Shape and its place in the cache weigh besides the texts, roughly."""
NAME_BYTES = 80
"""A short str with its slot."""
MAX_FAILED = 500


class ShapeCache:
    """Bounded in entries and bytes, what was not asked for lately goes first; safe for threads."""

    def __init__(
        self,
        max_entries: int = 5_000,
        max_bytes: int = 12 << 20,
        templates: Templates | None = None,
    ) -> None:
        self.templates = Templates() if templates is None else templates
        self._shapes: Generations[bytes, Shape] = Generations(max_entries, max_bytes, _weigh)
        self._failed: Generations[bytes, tuple[Shape, float]] = Generations(
            MAX_FAILED, max_bytes // 4, lambda text, failed: _weigh(text, failed[0])
        )
        self._met: set[int] = set()
        self._met_before: set[int] = set()
        self._met_most = max_entries
        self.get = self._shapes.get
        self.put = self._shapes.put

    def put_if_met(self, text: bytes, shape: Shape) -> None:
        """What a template answers is kept when it comes again: most such texts never do."""
        key = hash(text)
        if key in self._met or key in self._met_before:
            self._shapes.put(text, shape)
            return
        if len(self._met) >= self._met_most:
            self._met, self._met_before = set(), self._met
        self._met.add(key)

    def is_free(self, text: bytes) -> bool:
        """Whether texts that differ from this one in the values of literals all have its Shape."""
        skeleton = skeleton_of(text)
        return skeleton is not None and self.templates.is_free(skeleton)

    def failed(self, text: bytes, clock: Callable[[], float]) -> Shape | None:
        """A text that was put as failed, until its time is over."""
        found = self._failed.get(text)
        return found[0] if found is not None and clock() < found[1] else None

    def put_failed(self, text: bytes, shape: Shape, until_seconds: float) -> None:
        self._failed.put(text, (shape, until_seconds))

    def __len__(self) -> int:
        return len(self._shapes)

    @property
    def size_bytes(self) -> int:
        return self._shapes.size_bytes + self._failed.size_bytes + self.templates.size_bytes


def _weigh(text: bytes, shape: Shape) -> int:
    names = len(shape.columns) + len(shape.reads) + len(shape.writes) + len(shape.objects)
    parts = parts_weigh(shape) if shape.parts else 0
    return len(text) + len(shape.redacted_text) + NAME_BYTES * names + ENTRY_OVERHEAD_BYTES + parts
