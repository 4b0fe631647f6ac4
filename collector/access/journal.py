"""Every access as a row of the record; what is repeated within seconds is one row with a count.

Who has a name, and what was allowed, is never told without it: they are few, and known. Of calls
that were refused nobody we know can make as many kinds as they like, so beyond a bound those are
folded.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

FOLD_SECONDS = 5.0
ALLOWED = "allowed"
MAX_KINDS = 1_000
"""Of accesses of nobody we know that wait; beyond it a row says what for, and no more from where;
beyond twice as many, only that there were more."""


@dataclass(frozen=True, slots=True)
class Access:
    name: str
    """Of the token or certificate; empty for the owner of the socket, and for nobody we know."""
    role: str
    via: str
    address: str
    method: str
    outcome: str
    """allowed | refused."""
    token: str = ""
    """Its id."""


class Journal:
    """Thread-safe: calls add, one thread drains."""

    def __init__(self, now_us: Callable[[], int] = lambda: time.time_ns() // 1000) -> None:
        self._now_us = now_us
        self._lock = threading.Lock()
        self._counts: dict[Access, tuple[int, int]] = {}
        """When first, and how often."""
        self._nameless = 0
        """Kinds of refused ones of nobody we know that wait."""

    def add(self, access: Access) -> None:
        with self._lock:
            if _is_nameless(access):
                access = self._folded(access)
                self._nameless += access not in self._counts
            first_us, count = self._counts.get(access, (self._now_us(), 0))
            self._counts[access] = (first_us, count + 1)

    def _folded(self, access: Access) -> Access:
        """With less said of it the more of them wait."""
        folded = (
            access,
            replace(access, address=""),
            Access("", "", "", "", "", access.outcome),
        )
        step = min(self._nameless // MAX_KINDS, 2)
        return next((each for each in folded[:step] if each in self._counts), folded[step])

    def drain(self, whole: bool = False) -> list[dict[str, Any]]:
        """Rows of table ``accesses`` whose time is over; ``whole``: all."""
        limit_us = self._now_us() - int(FOLD_SECONDS * 1e6)
        with self._lock:
            due = {
                access: told
                for access, told in self._counts.items()
                if whole or told[0] <= limit_us
            }
            for access in due:
                del self._counts[access]
                self._nameless -= _is_nameless(access)
        return [
            {
                "occurred_at": first_us,
                "name": access.name,
                "role": access.role,
                "via": access.via,
                "token": access.token,
                "address": access.address,
                "method": access.method,
                "outcome": access.outcome,
                "count": count,
            }
            for access, (first_us, count) in due.items()
        ]


def _is_nameless(access: Access) -> bool:
    return access.outcome != ALLOWED and not access.name
