"""Shapes of texts that nobody parsed, from one like them that somebody did.

A template is everything of a Shape but the digest. It is kept by skeleton, and where the values of
some literals decide (``blind.py`` says which), by these values as well. It comes from the full
parser; here is only the look-up.
"""

from __future__ import annotations

from dataclasses import fields
from hashlib import sha256
from operator import attrgetter

from agent.sql.generations import Generations
from agent.sql.skeleton import Skeleton, literals_in
from model.statement import Shape

MAX_SKELETONS = 4_000
MAX_BYTES = 12 << 20
SLOT_BYTES = 30
"""A place in a skeleton: one in three holds a short piece of text, the others say a kind."""
NAME_BYTES = 80
ENTRY_BYTES = 500
PART_BYTES = 1_500

Decisive = tuple[int, ...]
"""Indices of the literals that a Shape depends on, in order."""
Key = tuple[Skeleton, Decisive, tuple[bytes, ...]]
"""The values are those at the places that decide: with others they would mean something else."""

_names = attrgetter(*(field.name for field in fields(Shape) if field.type == tuple[str, ...]))


class Templates:
    """Bounded, and safe for many threads."""

    def __init__(self, max_skeletons: int = MAX_SKELETONS, max_bytes: int = MAX_BYTES) -> None:
        self._by_skeleton: Generations[Skeleton, Shape | Decisive] = Generations(
            max_skeletons, max_bytes // 2, _weigh
        )
        self._by_values: Generations[Key, Shape] = Generations(
            max_skeletons, max_bytes // 2, _weigh_with_values
        )

    def shape(self, skeleton: Skeleton, text: bytes) -> Shape | None:
        """The Shape of ``text``, whose skeleton the first argument is, if it can be told."""
        found = self._by_skeleton.get(skeleton)
        if found is None:
            return None
        if isinstance(found, tuple):
            found = self._by_values.get((skeleton, found, _values(text, found)))
            if found is None:
                return None
        return _shape(text, found)

    def learn(self, skeleton: Skeleton, text: bytes, shape: Shape, decisive: Decisive) -> None:
        """``shape`` is the full parser's, and depends on no literal but the ``decisive`` ones."""
        known = self._by_skeleton.get(skeleton)
        if isinstance(known, tuple):
            # Other values led to other questions: all of them count from now on.
            decisive = tuple(sorted({*known, *decisive}))
        _ = shape.form, shape.judged  # worked out once for all that are made from it
        if not decisive:
            self._by_skeleton.put(skeleton, shape)
            return
        if known != decisive:
            self._by_skeleton.put(skeleton, decisive)
        self._by_values.put((skeleton, decisive, _values(text, decisive)), shape)

    def is_free(self, skeleton: Skeleton) -> bool:
        """Whether all texts with this skeleton have one Shape, as far as is known: no value
        decides."""
        found = self._by_skeleton.get(skeleton)
        return isinstance(found, Shape)

    def __len__(self) -> int:
        return len(self._by_skeleton)

    @property
    def size_bytes(self) -> int:
        return self._by_skeleton.size_bytes + self._by_values.size_bytes


def _shape(text: bytes, template: Shape) -> Shape:
    """As ``replace(template, digest=...)``, which costs ten times as much."""
    shape = object.__new__(Shape)
    facts = shape.__dict__
    facts.update(template.__dict__)
    facts["digest"] = sha256(text).hexdigest()
    return shape


def _values(text: bytes, decisive: Decisive) -> tuple[bytes, ...]:
    values = [text[literal.start : literal.end] for literal in literals_in(text)]
    return tuple(values[index] for index in decisive)


def _weigh(skeleton: Skeleton, template: Shape | Decisive) -> int:
    size = sum(map(len, filter(None, skeleton))) + SLOT_BYTES * len(skeleton)
    if isinstance(template, tuple):
        return size
    names = sum(map(len, _names(template)))
    parts = parts_weigh(template) if template.parts else 0
    return size + len(template.redacted_text) + NAME_BYTES * names + ENTRY_BYTES + parts


def parts_weigh(shape: Shape) -> int:
    """Bytes, roughly: their names are those of the whole, but what holds them is their own."""
    return PART_BYTES * len(shape.parts)


def _weigh_with_values(key: Key, template: Shape) -> int:
    return _weigh(key[0], template) + sum(map(len, key[2]))
