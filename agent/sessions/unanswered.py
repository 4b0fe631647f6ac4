"""Statements that are on the record, their end unseen, because the program ended before they did.

The next one meets them again if they still run: they must not be on the record twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from agent.sessions.backend import Backend
from model.event import StatementStarted
from model.session import BackendKey

Recorded: TypeAlias = Mapping[tuple[BackendKey, int], int]
"""Statement ids by backend and the arrival of the client's message (Unix microseconds)."""


def recorded_id(recorded: Recorded, event: StatementStarted) -> int:
    """0: it is not on the record."""
    return recorded.get((event.backend, event.requested_at_us), 0) if event.met else 0


def unanswered_of(backends: Iterable[Backend]) -> Recorded:
    """The last of each that goes on the record without its end when nothing more is heard."""
    return {
        (backend.session.key, backend.last_requested_at_us): backend.pending[-1].id
        for backend in backends
        if backend.alive and backend.pending
    }
