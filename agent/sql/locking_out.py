"""Who can log in no more, or do nothing once in."""

from __future__ import annotations

import re
from typing import Any

from agent.sql.tree import Node, constant_text, fields_of, options, switched_on, unwrap

_LETS_IN = frozenset({"canlogin", "allow_connections", "connectionlimit", "connection_limit"})
"""Options of a role or database; where they are off or 0 nobody comes in."""
_PAST_WORDS = frozenset({"-infinity", "epoch", "now", "today", "yesterday"})
_YEAR = re.compile(r"(?<!\d)(\d{4})(?:\d{4})?(?!\d)")
_FIRST_YEAR = 2026
"""A text is judged without a clock, so that it means the same tomorrow: only a year before the
first one in which this was running is past for certain."""
_TIMEOUTS = frozenset(
    {"statement_timeout", "transaction_timeout", "idle_session_timeout",
     "idle_in_transaction_session_timeout"}
)  # fmt: skip
_TOO_SHORT_MS = 100
_DURATION = re.compile(r"\s*(\d+)\s*(us|ms)?\s*")


def locks_out(fields: Node) -> bool:
    """Of an AlterRoleStmt or AlterDatabaseStmt."""
    return any(
        (name in _LETS_IN and not switched_on(given))
        or (name == "password" and given is None)
        or (name == "validUntil" and _is_past(constant_text(given) or ""))
        for name, given in options(fields)
    )


def _is_past(text: str) -> bool:
    word = text.strip().lower()
    if word in _PAST_WORDS or word.endswith(" bc"):
        return True
    years = [int(year) for year in _YEAR.findall(word)]
    return bool(years) and max(years) < _FIRST_YEAR


def stifles(setting: Node) -> bool:
    """``ALTER ROLE etl SET statement_timeout = 1``: of a VariableSetStmt."""
    if setting.get("name") not in _TIMEOUTS:
        return False
    return any(_is_too_short(argument) for argument in setting.get("args", ()))


def _is_too_short(argument: Any) -> bool:
    """0 switches a timeout off."""
    text = constant_text(argument)
    if text is None:
        number = unwrap(argument)[1].get("ival")
        text = str(fields_of(number, "Integer").get("ival", 0)) if number is not None else ""
    found = _DURATION.fullmatch(text)
    if found is None or not int(found[1]):
        return False
    return found[2] == "us" or int(found[1]) < _TOO_SHORT_MS
