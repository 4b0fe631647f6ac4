"""What PL/pgSQL hands to the executor and is no statement: ``a + 1``, ``x := (SELECT ...)``.

Since PostgreSQL 14 the text of an expression, of an assignment too, reaches the server as it stands
in the function's body; before, ``SELECT`` stood in front of it.
"""

from __future__ import annotations

import re

_NAME = rb'(?:[A-Za-z_\x80-\xff][\w$\x80-\xff]*|"(?:[^"]|"")+"|\$[0-9]+)'
_TARGET = re.compile(rb"\s*%s(?:\s*\.\s*%s|\s*\[[\w\s$:+*-]*\])*\s*:?=(?!>)" % (_NAME, _NAME))
"""A variable, its fields and elements, as far as nothing is called to find them."""


def as_query(text: bytes) -> bytes:
    """The query that evaluates the expression; of an assignment, what is assigned."""
    assigned = _TARGET.match(text)
    if assigned:
        return b"SELECT " + text[assigned.end() :].lstrip()
    return b"SELECT " + text.replace(b":=", b"=", 1).lstrip()
