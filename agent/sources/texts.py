"""The texts that the kernel may call by number instead of sending them. Pure: the map is the
caller's."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

CAPACITY = 8192
"""Half of the kernel's table, so that what is on its way out has room there as well."""
RETIRED_NS = 1_000_000_000
"""A number is understood until records come that are so much younger than the moment at which the
kernel was told to forget it: until then such that bear it may lie in the ring."""


@dataclass(frozen=True, slots=True)
class Numbered:
    """``key`` is to be entered into the kernel's table as ``number``, ``forget`` taken out."""

    key: bytes
    number: int
    forget: bytes | None
    urgent: bool
    """Its records have reserved room."""


class KnownTexts:
    """A text gets a number when it is seen for the second time: most texts with literals in them
    never come again, and would push out those that do."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._once: OrderedDict[bytes, None] = OrderedDict()
        self._numbers: OrderedDict[bytes, int] = OrderedDict()
        self._texts: dict[int, bytes] = {}
        self._retired: deque[tuple[int, int]] = deque()
        self._next = 1

    def text(self, number: int) -> bytes | None:
        return self._texts.get(number)

    def used(self, key: bytes) -> None:
        """What is used stays."""
        if key in self._numbers:
            self._numbers.move_to_end(key)

    def meet(
        self, key: bytes, text: bytes, at_ns: int, now_ns: int, urgent: bool
    ) -> Numbered | None:
        """A text came in full, in a record made ``at_ns``. What is to be told to the kernel, if
        anything."""
        while self._retired and self._retired[0][0] <= at_ns:
            del self._texts[self._retired.popleft()[1]]
        if key in self._numbers:
            return None  # it was on its way before the kernel knew
        if key not in self._once:
            self._once[key] = None
            if len(self._once) > self._capacity:
                self._once.popitem(last=False)
            return None
        del self._once[key]
        number, self._next = self._next, self._next + 1
        self._numbers[key] = number
        self._texts[number] = text
        forget = None
        if len(self._numbers) > self._capacity:
            forget, old = self._numbers.popitem(last=False)
            self._retired.append((now_ns + RETIRED_NS, old))
        return Numbered(key, number, forget, urgent)
