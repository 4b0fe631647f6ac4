"""Which of several functions of one name a text means, and which columns: it may be about another
one than the difference is.

A type that is not known here, or a name that is not shown, may be any.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from collector.drift import wording
from collector.drift.changes import Change
from collector.drift.matching.target import Target
from collector.drift.wording import Words

_HIDDEN = frozenset(("?", "&"))
_GRANTING = frozenset(("grant", "revoke"))
_ROUTINES = frozenset(("function", "procedure", "aggregate"))
_MODES = frozenset(("in", "inout", "variadic"))
_OF_ONE_NAME = {
    "smallint": ("int2",),
    "integer": ("int", "int4"),
    "bigint": ("int8",),
    "boolean": ("bool",),
    "real": ("float4",),
    "double precision": ("float", "float8"),
    "numeric": ("decimal", "dec"),
    "character varying": ("varchar", "char varying"),
    "character": ("char", "bpchar"),
    "timestamp with time zone": ("timestamptz",),
    "timestamp without time zone": ("timestamp",),
    "time with time zone": ("timetz",),
    "time without time zone": ("time",),
    **dict.fromkeys(
        ("text", "date", "bytea", "uuid", "json", "jsonb", "name", "oid", "inet", "xml", "interval",
         "regclass", "record", "anyelement", "trigger", "void"), (),
    ),
}  # fmt: skip
_TYPES = {each: name for name, others in _OF_ONE_NAME.items() for each in (name, *others)}
"""Canonical names, as the catalog tells them, by all."""


def grants_another(change: Change, target: Target) -> bool:
    """A GRANT or REVOKE on other columns, on columns alone, or on another function."""
    said = wording.parted(change.text)
    if len(said) != 1 or said[0][0] not in _GRANTING or _HIDDEN & {*said[0]}:
        return False
    (words,) = said
    sort = target.step.name.partition(":")[0]
    if sort in _ROUTINES:
        return _is_another(words, target)
    lists = [*_columns(words)]
    if sort == "column":
        everywhere = words[0] == "revoke" and None in lists
        return not everywhere and not any(target.parts[-1] in each for each in lists if each)
    return sort == "table" and bool(lists) and None not in lists


def is_another(said: Iterable[Words], target: Target) -> bool:
    """All statements that name the function mean another one of its name."""
    naming = [words for words in said if target.parts[-1] in words]
    return bool(naming) and all(
        words[0] in ("alter", "drop", "create") and _is_another(words, target) for words in naming
    )


def _columns(words: Words) -> Iterator[Sequence[str] | None]:
    """Of each privilege the columns it is on; None: the whole table."""
    end = words.index("on") if "on" in words else 0
    for each in wording.at_commas(words[1:end]):
        begin = each.index("(") if "(" in each else None
        yield None if begin is None else each[begin + 1 : -1]


def _is_another(words: Words, target: Target) -> bool:
    name, arguments = target.parts[-1], target.object.partition("(")[2].rpartition(")")[0]
    mine = _arguments(wording.tokens(arguments))
    said = [at for at, word in enumerate(words) if word == name and at > 1]
    if not said:
        return False
    return all(
        words[at + 1 : at + 2] == ("(",) and _differ(_arguments(_inside(words, at + 2)), mine)
        for at in said
    )


def _inside(words: Words, begin: int) -> Words:
    """Up to the bracket that ends it."""
    depth = 1
    for at in range(begin, len(words)):
        depth += (words[at] == "(") - (words[at] == ")")
        if not depth:
            return words[begin:at]
    return words[begin:]


def _arguments(words: Words) -> list[tuple[str, ...]]:
    """Words of each, without what is given back and what stands for it where it is left out."""
    found = []
    for each in wording.at_commas(words):
        if each[0] != "out":
            plain = each[1:] if each[0] in _MODES and len(each) > 1 else each
            ends = [at for at, word in enumerate(plain) if word in ("default", "=", ":")]
            found.append(tuple(plain[: ends[0]] if ends else plain))
    return found


def _differ(one: Sequence[Words], other: Sequence[Words]) -> bool:
    if len(one) != len(other):
        return not any(_HIDDEN & {*words} for words in one)
    return any(
        (first := _types(each)) and (second := _types(theirs)) and not first & second
        for each, theirs in zip(one, other, strict=True)
    )


def _types(words: Words) -> set[str]:
    """Those it may be, with a name before it or without; empty: it is none that is known."""
    ends = (" ".join(words), " ".join(words[1:]))
    plain = (end.removeprefix("pg_catalog . ") for end in ends)
    found = set()
    for text in plain:
        base = text.removesuffix(" [ ]")
        if base in _TYPES:
            found.add(f"{_TYPES[base]}{text[len(base) :]}")
    return found
