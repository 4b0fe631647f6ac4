"""Functions that a range type brings: its constructors and those of its multirange type, which is
made with it. They are the type's own: DROP TYPE takes them, and nothing else can."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from collector.drift import wording

_LANGUAGE = "internal"
_LONGEST_BYTES = 63
_NAMED = "multirange_type_name"


def is_constructor(name: str, lines: Mapping[str, str]) -> bool:
    """A function in C that is called as what it returns.

    >>> is_constructor("hr.r(integer)", {"language": "internal", "returns": "hr.r"})
    True
    """
    own, returned = wording.parts(name), wording.parts(lines.get("returns", ""))
    return lines.get("language") == _LANGUAGE and own[-len(returned) :] == returned != ()


def names_of_constructors(range_name: str, said: Sequence[str] = ()) -> tuple[str, str]:
    """``said``: words of the CREATE TYPE. As PostgreSQL makes them, from 14 on two:

    >>> names_of_constructors("r"), names_of_constructors("hr.int_range")
    (('r', 'r_multirange'), ('hr.int_range', 'hr.int_multirange'))
    >>> names_of_constructors("hr.r", ["subtype", "=", "int", ",", _NAMED, "=", "many", ")"])
    ('hr.r', 'hr.many')
    """
    schema, dot, own = range_name.rpartition(".")
    if _NAMED in said[:-2]:
        named = said[said.index(_NAMED) + 2 :]
        return range_name, "".join(named[:3] if named[1:2] == ["."] else [schema, dot, named[0]])
    before, found, after = own.partition("range")
    other = f"{before}multi{found}{after}" if found else f"{_cut(own, 12 - 1)}_multirange"
    return range_name, f"{schema}{dot}{_cut(other)}"


def _cut(name: str, less: int = 0) -> str:
    """By bytes, and not within a character."""
    return name.encode()[: _LONGEST_BYTES - less].decode(errors="ignore")
