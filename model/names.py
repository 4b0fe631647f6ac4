"""Names as facts of statements carry them: parts joined by dots, a type and a colon before.

A dot or colon that belongs to a part itself stands as ``%2E`` or ``%3A``, so that a name in double
quotes passes for no other: ``"hr.salaries"`` is ``hr%2Esalaries``, no table of schema hr.
"""

from __future__ import annotations

import re

_JOINING = re.compile(r"[.:]|%(?=2E|3A|25)")
_ESCAPED = re.compile(r"%(2E|3A|25)")


def escaped(part: str) -> str:
    """One part of a name, as it may be joined to others."""
    return _JOINING.sub(lambda found: f"%{ord(found[0]):02X}", part)


def unescaped(name: str) -> str:
    """The name as PostgreSQL has it; of several parts nobody can tell any more where they meet."""
    if "%" not in name:
        return name
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), name)
