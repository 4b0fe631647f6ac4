"""What limits have counted, kept over a restart of the agent: to the minute, at most one old."""

from __future__ import annotations

import os
import time
from pathlib import Path

import orjson
import structlog

from rules import Usage

log = structlog.get_logger(__name__)

EVERY_SECONDS = 60.0


class UsageFile:
    """Limits work without it: what cannot be read or written is logged, and that is all."""

    def __init__(self, path: Path, usage: Usage) -> None:
        self._path = path
        self._usage = usage
        self._save_at = 0.0

    def load(self) -> None:
        try:
            kept = orjson.loads(self._path.read_bytes())
            elapsed_us = _now_us() - int(kept["at_us"])
            self._usage.restore(kept["counts"], time.monotonic_ns() // 1000, elapsed_us)
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, LookupError) as error:
            log.warning("usage.unreadable", file=str(self._path), reason=type(error).__name__)

    def save_if_due(self) -> None:
        if time.monotonic() >= self._save_at:
            self.save()

    def save(self) -> None:
        self._save_at = time.monotonic() + EVERY_SECONDS
        counts = self._usage.dump(time.monotonic_ns() // 1000)
        data = orjson.dumps({"at_us": _now_us(), "counts": counts})
        new = self._path.with_suffix(".new")
        try:
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            new.replace(self._path)
        except OSError as error:
            log.warning("usage.unwritable", file=str(self._path), reason=error.strerror)


def _now_us() -> int:
    return time.time_ns() // 1000
