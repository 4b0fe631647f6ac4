"""Statements that have left, as far as pgaudit may yet tell of what ran inside them: triggers at
COMMIT, functions that the planner calls, the parts of what it does not log itself.
"""

from collections.abc import Iterable
from typing import NamedTuple

from agent.sessions.audits import latest_ns
from agent.sessions.execution import Execution
from model.event import AuditLogged

MOST = 100
"""Of a backend."""


class Past(NamedTuple):
    id: int
    started_at_us: int
    ended_at_us: int
    """0: it still runs."""
    recorded: bool
    """It has an audit record."""


def past(one: Execution) -> Past:
    return Past(one.id, one.started_at_us, one.ended_at_us, bool(one.audits))


def that_ran(known: Iterable[Past], record: AuditLogged) -> Past | None:
    """The one that ran when this record was written, rather one without a record of its own."""
    at_us, latest_us = record.at_ns // 1000, latest_ns(record) // 1000
    ran = [
        each
        for each in known
        if each.started_at_us <= latest_us and at_us <= (each.ended_at_us or at_us)
    ]
    return next((each for each in ran if not each.recorded), ran[0] if ran else None)
