"""Log lines stay lines: what clients write into names and errors cannot break them or act on a
terminal.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any


def escaped(text: str) -> str:
    """Control characters, line ends of any kind and bidirectional marks as ``\\x1b``."""
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape", "backslashreplace").decode("ascii")
        for character in text
    )


def escape_values(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """A processor of structlog, before the one that makes a line."""
    for name, value in event.items():
        if isinstance(value, bool | int | float):
            continue
        event[name] = escaped(str(value))
    return event


class PlainFormatter(logging.Formatter):
    """For libraries that use the standard library's log: one line each, tracebacks too."""

    def format(self, record: logging.LogRecord) -> str:
        return escaped(super().format(record))
