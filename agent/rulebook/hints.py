"""Notifications that a rule file may have changed: hints, whoever waits looks by itself too."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import structlog
from watchdog.events import (
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

log = structlog.get_logger(__name__)

WRITES: list[type[FileSystemEvent]] = [
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
]
"""Not "opened": we open them ourselves."""


class FileHints:
    def __init__(self, paths: Iterable[Path], on_hint: Callable[[], None]) -> None:
        self._observer: BaseObserver | None = None
        observer = Observer()
        handler = _Handler(on_hint)
        try:
            for folder in sorted({path if path.is_dir() else path.parent for path in paths}):
                observer.schedule(handler, str(folder), event_filter=WRITES)
            observer.start()
            self._observer = observer
        except OSError as error:
            log.warning("rules.no_notifications", reason=str(error))

    def close(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(2)


class _Handler(FileSystemEventHandler):
    def __init__(self, on_hint: Callable[[], None]) -> None:
        self._on_hint = on_hint

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._on_hint()
