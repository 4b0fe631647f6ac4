"""The confirmed position on disk: one small JSON file, replaced whole."""

import json
import os
from pathlib import Path

from agent.sources.pgaudit.tail import FilePosition, LogPosition

_VERSION = 1


def load_position(path: Path) -> tuple[LogPosition | None, bool]:
    """The saved position (None: there is none), and whether a file was there but damaged."""
    try:
        saved = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None, False
    except (OSError, ValueError):
        return None, True
    try:
        if saved["version"] != _VERSION:
            return None, True
        return tuple(_file_position(item) for item in saved["files"]), False
    except (KeyError, TypeError, ValueError):
        return None, True


def save_position(path: Path, position: LogPosition) -> None:
    """Durable when it returns. Raises OSError; the former position is then still whole."""
    data = {"version": _VERSION, "files": [file._asdict() for file in position]}
    temporary = path.with_name(path.name + ".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(json.dumps(data).encode())
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _file_position(item: dict[str, object]) -> FilePosition:
    position = FilePosition(**item)  # type: ignore[arg-type]
    if not all(isinstance(number, int) for number in (*position[:3], position.offset)):
        raise ValueError("a position is not a number")
    return position
