"""Changes of a column's type: what the server does or refuses, and what loses silently."""

from __future__ import annotations

import re

_NUMERIC = re.compile(r"numeric(?:\((\d+),(-?\d+)\))?")
_TEXT = re.compile(r"text|character varying(?:\(\d+\))?")
_WITH_LENGTH = re.compile(r"character(?: varying)?\(\d+\)|character varying|text")
_INTEGERS = ("smallint", "integer", "bigint")
_WIDER = frozenset(
    [("real", "double precision"), ("smallint", "real"), ("smallint", "double precision"),
     ("integer", "double precision"), ("date", "timestamp without time zone")]
)  # fmt: skip


def keeps_values(old: str, new: str) -> bool:
    """Whether a change of type without USING keeps each value or is refused.

    Types as ``format_type`` writes them. False in doubt: what an assignment rounds (a scale, a
    moment), what only an explicit cast does (a text read as something else).

    >>> keeps_values("bigint", "integer"), keeps_values("text", "character varying(3)")
    (True, True)
    >>> keeps_values("numeric(10,2)", "integer"), keeps_values("text", "integer")
    (False, False)
    """
    if old == new or (old, new) in _WIDER:
        return True
    if old in _INTEGERS:
        if new in _INTEGERS:
            return True
        old = "numeric(19,0)"
    exact, other = _NUMERIC.fullmatch(old), _NUMERIC.fullmatch(new)
    if exact and other:
        # Too many digits before the point are refused, those after it are rounded away.
        return other[2] is None or (exact[2] is not None and int(other[2]) >= int(exact[2]))
    if _WITH_LENGTH.fullmatch(old) and new.startswith("character("):
        return True
    return _TEXT.fullmatch(new) is not None
