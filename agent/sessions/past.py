"""Statements that have left, as far as pgaudit may yet tell of what ran inside them: triggers at
COMMIT, functions that the planner calls, the parts of what it does not log itself.
"""

from collections.abc import Iterable
from typing import NamedTuple

from agent.identity.comments import comment_of
from agent.sessions.audits import latest_ns
from agent.sessions.execution import Execution
from model.event import AuditLogged

MOST = 100
"""Of a backend."""
MOST_BYTES = 1024
"""Of the text of each."""


class Past(NamedTuple):
    id: int
    started_at_us: int
    ended_at_us: int
    """0: it still runs."""
    recorded: bool
    """It has an audit record."""
    claim: bytes
    """Its text, if that is short, or its comment: who asked."""


def past(one: Execution) -> Past:
    return Past(one.id, one.started_at_us, one.ended_at_us, bool(one.audits), _claim(one.text))


def _claim(text: bytes) -> bytes:
    if b"*/" not in text:
        return b""
    kept = text if len(text) <= MOST_BYTES else b"/*%b*/" % comment_of(text)
    return kept if len(kept) <= MOST_BYTES else b""


def that_ran(known: Iterable[Past], record: AuditLogged) -> Past | None:
    """The one that ran when this record was written, rather one without a record of its own."""
    at_us, latest_us = record.at_ns // 1000, latest_ns(record) // 1000
    ran = [
        each
        for each in known
        if each.started_at_us <= latest_us and at_us <= (each.ended_at_us or at_us)
    ]
    return next((each for each in ran if not each.recorded), ran[0] if ran else None)
