"""Which statements the program put on the record without their end, for the one that comes after
it. No text is kept, only which ones they are.
"""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import structlog

from agent.sessions.unanswered import Recorded
from model.session import BackendKey

log = structlog.get_logger(__name__)


def load(path: Path) -> Recorded:
    """Empty where nothing can be read: then a statement that still runs is on the record twice."""
    try:
        return {
            (BackendKey(int(pid), int(started_us)), int(requested_us)): int(number)
            for pid, started_us, requested_us, number in orjson.loads(path.read_bytes())
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        log.warning("unanswered.unreadable", file=str(path), reason=type(error).__name__)
        return {}


def save(path: Path, recorded: Recorded) -> None:
    rows = [
        (key.pid, key.started_at_us, requested_us, number)
        for (key, requested_us), number in recorded.items()
    ]
    new = path.with_suffix(".new")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(orjson.dumps(rows))
        new.replace(path)
    except OSError as error:
        log.warning("unanswered.unwritable", file=str(path), reason=error.strerror)
