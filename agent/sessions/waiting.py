"""Things that leave a fixed time after they came, when time is known only now and then."""

from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import Generic, TypeVar

T = TypeVar("T")


class WaitingRoom(Generic[T]):
    """An event's own time says nothing of when it arrived, so an item's time begins at the first
    call of ``due`` after it was added.
    """

    def __init__(self, delay_us: int) -> None:
        self._delay_us = delay_us
        self._new: deque[T] = deque()
        self._timed: deque[tuple[int, T]] = deque()

    def __len__(self) -> int:
        return len(self._new) + len(self._timed)

    def __iter__(self) -> Iterator[T]:
        return chain((item for _, item in self._timed), self._new)

    def add(self, item: T) -> None:
        self._new.append(item)

    def due(self, now_us: int) -> list[T]:
        """Items whose time has come, oldest first."""
        deadline_us = now_us + self._delay_us
        self._timed.extend((deadline_us, item) for item in self._new)
        self._new.clear()
        items = []
        while self._timed and self._timed[0][0] <= now_us:
            items.append(self._timed.popleft()[1])
        return items

    def clock_moved(self, by_us: int) -> None:
        """What waits goes on waiting as long as before."""
        self._timed = deque((at_us + by_us, item) for at_us, item in self._timed)

    def pop(self) -> T:
        """The oldest, whether its time has come or not."""
        return self._timed.popleft()[1] if self._timed else self._new.popleft()
