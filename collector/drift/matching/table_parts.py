"""Whether an ALTER of a table, view, type or domain can have set a line of it: by its text, each of
its actions for itself. What is not known here it may have set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from collector.drift import wording
from collector.drift.lines import Part
from collector.drift.wording import Words

HIDDEN = frozenset(("?", "&"))
"""A name may be one of them: ``U&"..."`` has another spelling."""
_TWO_WORDS = frozenset(("foreign", "materialized"))
_CONSTRAINTS = frozenset(("constraint", "check", "unique", "primary", "foreign", "exclude"))
_IN_A_COLUMN = _CONSTRAINTS | {"references"}
_SKIPPED = frozenset(("column", "attribute", "if", "not", "exists"))
_BY_SET: Mapping[str, str] = {
    "(": "options", "tablespace": "tablespace", "logged": "persistence",
    "unlogged": "persistence", "access": "access method", "without": "", "with": "",
    "default": "default", "not": "not null",
}  # fmt: skip
"""By the word after SET the line."""


_OF_COLUMN = frozenset(("type", "set", "drop", "add", "reset", "restart"))
"""After the name of a column in an ALTER."""


class Line(NamedTuple):
    """``constraint``, ``c1`` of ``constraint c1``; other lines have no name."""

    what: str
    names: frozenset[str]
    """That it has now, and had when it was made."""
    before: str | None
    after: str | None
    others: frozenset[str] = frozenset()
    """Constraints that its table or domain has: what drops one of them drops no NOT NULL."""

    @property
    def came(self) -> bool:
        return self.after is not None

    @property
    def is_there(self) -> bool:
        """Before and after: what it speaks of may have another name."""
        return self.before is not None and self.after is not None

    def is_called(self, *said: str) -> bool:
        return bool((self.names | HIDDEN) & {*said})

    def said_before(self, words: Words) -> bool:
        """Whether ``words`` name something in it that went."""
        return bool({*words} & (HIDDEN | {*wording.tokens(self.before or "")}))


_NAMED = ("column", "constraint", "index", "rule")


def line_of(part: Part, former: Iterable[str] = (), keys: Iterable[str] = ()) -> Line:
    """``keys``: of all lines that there were."""
    what, _, name = part.key.partition(" ")
    named = (key.partition(" ") for key in keys)
    others = frozenset(wording.unquoted(rest) for word, _, rest in named if word == "constraint")
    if what not in _NAMED:
        return Line(part.key, frozenset(), part.before, part.after, others)
    names = frozenset((wording.unquoted(name), *former))
    return Line(what, names, part.before, part.after, others)


def may_set(words: Words, line: Line, of: str) -> bool:
    """``words``: of an ALTER of the object, or of one that it comes from. ``of``: its name."""
    return any(_may(action, line, of) for action in _actions(tuple(words)))


@lru_cache(maxsize=4_000)
def _actions(words: tuple[str, ...]) -> list[list[str]]:
    at = 3 if words[1] in _TWO_WORDS else 2
    while words[at : at + 1] and words[at] in ("if", "exists", "only"):
        at += 1
    at += 1
    while words[at : at + 1] == (".",):
        at += 2
    return wording.at_commas(words[at + 1 if words[at : at + 1] == ("*",) else at :]) or [[""]]


def _may(action: Words, line: Line, of: str) -> bool:
    if "cascade" in action:
        return True
    if action[0] in ("attach", "detach"):
        return bool({of, *HIDDEN} & {*action[2:7]})
    known = _ACTIONS.get(action[0])
    return known is None or known([*action[1:]], line)


def _add(words: Words, line: Line) -> bool:
    if line.what == "column" and line.is_called(*_first(words)):
        return True
    if line.what == "labels":
        return words[:1] == ["value"]
    if (words[:1] and words[0] in _CONSTRAINTS) or words[:2] == ["not", "null"]:
        return _add_constraint(words, line)
    if line.what == "constraint":
        return line.came and bool(_IN_A_COLUMN & {*words})
    return line.what == "column" and line.is_called(*_first(words))


def _add_constraint(words: Words, line: Line) -> bool:
    is_named = words[0] == "constraint"
    body = words[2:] if is_named else words
    if line.what == "constraint":
        return line.came and (not is_named or line.is_called(*words[1:2]))
    if line.what == "column":  # of a key none is NULL
        return "primary" in body or ([*body[:2]] == ["not", "null"] and line.is_called(*body[2:3]))
    if line.what == "not null":
        return [*body[:2]] == ["not", "null"]
    return line.what in ("index", "replica identity") and "index" in body


def _drop(words: Words, line: Line) -> bool:
    if words[:1] == ["constraint"] and words[1:]:  # else a column is called so
        named = _first(words[1:])
        if line.what == "replica identity":  # the index of a key goes with it
            return line.said_before(named)
        if line.what in ("column", "not null"):  # NOT NULL is one, of a column from 18 on
            went = "not null" in (line.before or "") and "not null" not in (line.after or "")
            return not line.others & {*named} and (went or line.what == "not null")
        return line.what == "constraint" and line.is_called(*named)
    if line.what in ("not null", "default"):
        return [*words[:2]] == line.what.split()
    if line.what == "column":
        return line.is_called(*_first(words))
    if line.what in ("constraint", "index"):
        return line.said_before(_first(words))
    return line.what == "replica identity"


def _alter(words: Words, line: Line) -> bool:
    if words[:1] == ["constraint"] and not _OF_COLUMN & {*words[1:2]}:
        return line.what == "constraint" and line.is_called(*words[1:2])
    if line.what == "column":
        return line.is_called(*_first(words))
    return "type" in words and line.is_there


def _rename(words: Words, line: Line) -> bool:
    if line.what == "labels":
        return words[:1] == ["value"]
    if words[:1] == ["constraint"]:
        named = line.what == "constraint" and line.is_called(*words[1:2], *words[3:4])
        return named or line.what == "replica identity"
    if line.what == "column" and words[:1] != ["to"]:
        old = _first(words)
        return line.is_called(*old, *words[words.index("to") + 1 :][:1] if "to" in words else ())
    return line.is_there


def _set(words: Words, line: Line) -> bool:
    if words[:1] == ["schema"]:
        return line.is_there
    key = _BY_SET.get(words[0] if words else "")
    return key is None or line.what == key


def _switch(words: Words, line: Line) -> bool:
    return line.what == ("row security" if "row" in words else "rule")


def _validate(words: Words, line: Line) -> bool:
    return line.what == "constraint" and line.is_called(*words[1:2])


def _no(words: Words, line: Line) -> bool:
    return words[:1] != ["force"]


def _first(words: Words) -> Words:
    """The name of a column or the like is the last one; a quoted one may be a word before it."""
    at = next((at for at, word in enumerate(words) if word not in _SKIPPED), len(words))
    return words[: at + 1]


def _of(key: str) -> Callable[[Words, Line], bool]:
    return lambda _, line: line.what == key


_ACTIONS: Mapping[str, Callable[[Words, Line], bool]] = {
    "add": _add, "drop": _drop, "alter": _alter, "rename": _rename, "set": _set,
    "reset": _of("options"), "enable": _switch, "disable": _switch, "force": _of("row security"),
    "no": _no, "validate": _validate, "owner": _of("owner"), "options": _of("foreign options"),
    "replica": _of("replica identity"), "cluster": _of(""), "of": _of(""), "not": _of(""),
}  # fmt: skip
