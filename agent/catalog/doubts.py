"""Which relations are about to get other parents, so that what is known of them may be old."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable

from model.names import escaped

EVERYTHING = "*"
"""Instead of words: each relation is meant."""
MOST_WORDS = 1000
NAME_BYTES = 63
_PLAIN = re.compile(rb"[\x00-\x7f]{0,4096}")
_ESCAPING = re.compile(rb'(?i)u&"')
_MISLEADING = re.compile(rb"--|/\*|['$]")
"""Beside it a double quote may be none of a name's."""
_WORD = re.compile(rb'"(?:[^"]|"")*"|[A-Za-z_][A-Za-z0-9_$]*')
_TIES = tuple(re.compile(rb"(?i)\b(?:%b)\b" % word) for word in (b"alter", b"inherit|attach"))
"""Key words cannot be escaped."""


def ties(text: bytes) -> bool:
    """Whether a statement may make a relation that is there a child or partition of another."""
    return all(word.search(text) for word in _TIES)


class Doubts:
    """Safe for threads. What is asked for each held statement must be quick."""

    def __init__(self) -> None:
        self._words: frozenset[str] = frozenset()
        self._since = 0.0
        self._lock = threading.Lock()

    def add(self, text: bytes) -> None:
        """A statement with this text may execute: whatever it names is in doubt."""
        with self._lock:
            words = self._words | _words(text)
            self._words = words if len(words) <= MOST_WORDS else frozenset((EVERYTHING,))
            self._since = time.monotonic()

    def of(self, names: Iterable[str]) -> bool:
        """Whether one of these, with their schemas, is in doubt."""
        words = self._words
        if not words:
            return False
        return EVERYTHING in words or any(name.rpartition(".")[2] in words for name in names)

    def settle(self, seen_at: float) -> None:
        """What has been executed by then is known. What has not been seen to end stays in doubt: it
        waits for a lock."""
        with self._lock:
            if self._since < seen_at:
                self._words = frozenset()


def _words(text: bytes) -> frozenset[str]:
    unsure = b'"' in text and (_MISLEADING.search(text) or _ESCAPING.search(text))
    if unsure or not _PLAIN.fullmatch(text):
        return frozenset((EVERYTHING,))
    return frozenset(_name(word.decode()) for word in _WORD.findall(text))


def _name(word: str) -> str:
    """As a part of names in facts; PostgreSQL cuts what is longer than it can keep."""
    if not word.startswith('"'):
        return word.lower()[:NAME_BYTES]
    return escaped(word[1:-1].replace('""', '"')[:NAME_BYTES])
