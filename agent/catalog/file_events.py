"""What of a folder's events is a hint about a server's configuration."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Collection
from pathlib import Path

from watchdog.events import (
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileOpenedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)

from agent.catalog.host_files import ANY_NAME

WRITES: tuple[type[FileSystemEvent], ...] = (
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
)
READERS = 4
"""So many times a file is opened within ``AT_ONCE_SECONDS`` when the server reads it again: by its
postmaster and five processes at least that serve it. A look of ours opens it twice."""
AT_ONCE_SECONDS = 0.3
REST_SECONDS = 6.5
"""After such a hint, for so long looks follow it anyway."""
MOST_EVENTS = 20_000
FLOOD_SECONDS = 10.0
"""A superuser of the database chooses the folders: one where more happens is not listened to."""


def heard_of(reads: Collection[str]) -> list[type[FileSystemEvent]]:
    """For a folder. ``reads``: files of which it is asked who opens them."""
    return [*WRITES, *((FileOpenedEvent,) if reads else ())]


class Handler(FileSystemEventHandler):
    """Called on watchdog's thread. ``on_open`` gets paths."""

    def __init__(
        self,
        names: Collection[str],
        reads: Collection[str],
        on_hint: Callable[[], None],
        on_open: Callable[[str], None],
        on_flood: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._names = names
        self._reads = reads
        self._on_hint = on_hint
        self._on_open = on_open
        self._on_flood = on_flood
        self._clock = clock
        self._since = clock()
        self._events = 0

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._count()
        paths = [os.fsdecode(path) for path in (event.src_path, event.dest_path) if path]
        names = {Path(path).name for path in paths}
        if isinstance(event, FileOpenedEvent):
            if not names.isdisjoint(self._reads):
                self._on_open(paths[0])
        elif ANY_NAME in self._names or not names.isdisjoint(self._names):
            self._on_hint()

    def _count(self) -> None:
        now = self._clock()
        if now - self._since > FLOOD_SECONDS:
            self._since, self._events = now, 0
        self._events += 1
        if self._events == MOST_EVENTS:
            self._on_flood()


class Readings:
    """Tells a server that reads its files again from somebody who looks at one. Pure."""

    def __init__(self) -> None:
        self._opened: dict[str, deque[float]] = {}
        self._rests_until = 0.0

    def opened(self, path: str, now: float) -> bool:
        """Whether that was the server. ``now`` in seconds."""
        moments = self._opened.setdefault(path, deque(maxlen=READERS))
        moments.append(now)
        if len(moments) < READERS or now - moments[0] > AT_ONCE_SECONDS or now < self._rests_until:
            return False
        moments.clear()
        self._rests_until = now + REST_SECONDS
        return True
