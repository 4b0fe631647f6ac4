"""The value of an ALTER SYSTEM SET stays on the host as any literal does. What goes is a short
keyed hash of it, beside the statement and beside the line of postgresql.auto.conf that the server
reads: a line that says something else was not written by that statement.

The server writes the value into that file as the statement spells it (``flatten_set_variable_args``
in guc_funcs.c), so the two are compared as texts, and no unit matters.
"""

from __future__ import annotations

import re

from agent.catalog.items.secrets import digest, keyed

OBJECT = "set to"
_STATEMENT = re.compile(
    rb"\s*ALTER\s+SYSTEM\s+SET\s+(?P<name>[A-Za-z_][\w.]*)\s*(?:=|\bTO\b)\s*"
    rb"(?:'(?P<text>(?:[^'\\]|'')*)'|(?P<number>-?(?:0|[1-9]\d*)(?:\.\d+)?)|(?P<word>[A-Za-z_]\w*))"
    rb"[\s;]*",
    re.IGNORECASE,
)
"""Alone in its string, with one value that is spelled plainly. Others have no hash."""
_QUOTED_BY_SERVER = frozenset(
    ("local_preload_libraries", "search_path", "session_preload_libraries",
     "shared_preload_libraries", "temp_tablespaces", "unix_socket_directories")
)  # fmt: skip
"""GUC_LIST_QUOTE: their elements are written as identifiers, in double quotes if they need them."""


def of_statement(key: bytes, text: bytes) -> str:
    """The hash; empty where the text says the value in another way, or none.

    >>> of_statement(b"k", b"ALTER SYSTEM SET work_mem TO '64MB'") == of_line(
    ...     "work_mem", "64MB", b"k"
    ... )
    True
    >>> of_statement(b"k", b"ALTER SYSTEM SET work_mem TO DEFAULT")
    ''
    """
    found = _STATEMENT.fullmatch(text) if text.isascii() else None
    if found is None or (found["word"] or b"").lower() == b"default":
        return ""
    name = found["name"].decode().lower()
    if name in _QUOTED_BY_SERVER:
        return ""
    if found["text"] is not None:
        value = found["text"].replace(b"''", b"'")
    else:
        value = found["number"] or found["word"].lower()
    return of_line(name, value.decode(), key)


def of_line(name: str, text: str, key: bytes | None = None) -> str:
    """Of a line of the file; without ``key``: under the one that ``keyed`` holds."""
    if not text.isascii() or name.lower() in _QUOTED_BY_SERVER:
        return ""
    if key is not None:
        with keyed(key):
            return of_line(name, text)
    return digest(f"alter system {name.lower()}", text).removeprefix("hidden ")
