"""Threads of the collector that end by an error: it is logged, and is a problem until a restart."""

from __future__ import annotations

import logging
import threading
from types import TracebackType

_MOMENTARY = ("read-", "Thread-", "ThreadPoolExecutor")
"""Of one stream or one call: its end is the end of that, which the other side sees."""

_log = logging.getLogger(__name__)


class Deaths:
    """``watch`` puts it in the place of Python's own hook, which prints and goes on."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def watch(self) -> None:
        threading.excepthook = self._heard

    def _heard(self, what: threading.ExceptHookArgs) -> None:
        name = what.thread.name if what.thread is not None else "unknown"
        error: tuple[type[BaseException], BaseException | None, TracebackType | None] = (
            what.exc_type,
            what.exc_value,
            what.exc_traceback,
        )
        _log.critical("thread %s ended", name, exc_info=error)  # type: ignore[arg-type] # as logged
        if not name.startswith(_MOMENTARY):
            why = what.exc_type.__name__
            self.problems.append(f"thread {name} ended ({why}): restart the collector")
