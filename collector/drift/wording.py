"""What a redacted text says beyond its shape: new names, privileges, savepoints."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

_FOLDED = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
"""In UTF-8 the server leaves other letters as they are written."""
READ_CHARACTERS = 4_000
"""Longer texts are scripts in one string; their first part is enough for what is read here."""
_TOKEN = re.compile(r'"(?:[^"]|"")*"|[A-Za-z_\x80-\U0010ffff][\w$\x80-\U0010ffff]*|\S')
_WORD = re.compile(r"[a-z_][\w$]*|[^\w\s\"]")
"""That a text says without quotes."""
_ON_TABLE = frozenset(("policy", "trigger", "rule"))
_OF_PARTS = frozenset(("add", "drop", "column", "constraint", "value", "attribute", "expression"))
"""Before IF in an ALTER they say that it is about a part; else it is about the whole object."""
_BEFORE_PART = frozenset(("column", "constraint", "attribute", "if", "exists"))
_PRIVILEGES_END = frozenset(("on", "to", "from"))
_PRIVILEGES = frozenset(
    (
        "select", "insert", "update", "delete", "truncate", "references", "trigger", "maintain",
        "usage", "execute", "create", "connect", "temporary", "temp", "set", "all",
    )
)  # fmt: skip


Words = Sequence[str]
"""Of one statement, as ``tokens`` has them."""


class Rename(NamedTuple):
    """An object by another name, or in another schema."""

    old: str
    """As the statement says it: ``hr.salary`` or ``salary``."""
    new: str
    """Without a schema; empty where only the schema is another one."""
    schema: str = ""
    """The new schema, where there is one."""


def tokens(text: str, most: int = READ_CHARACTERS) -> list[str]:
    """Words, names without their quotes, and signs.

    >>> tokens('ALTER TABLE hr."Odd t" RENAME TO b')
    ['alter', 'table', 'hr', '.', 'Odd t', 'rename', 'to', 'b']
    """
    found = _TOKEN.findall(text[:most])
    return [unquoted(word) if word[0] == '"' else word.translate(_FOLDED) for word in found]


def text_of(words: Sequence[str]) -> str:
    """A text whose ``tokens`` these are.

    >>> text_of(tokens('GRANT SELECT ("Odd c") ON t'))
    'grant select ( "Odd c" ) on t'
    """
    return " ".join(
        word if _WORD.fullmatch(word) else '"' + word.replace('"', '""') + '"' for word in words
    )


def unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name[:1] == '"' else name


def parts(name: str) -> tuple[str, ...]:
    """The parts of a dotted name in SQL's quoting, up to the arguments of a function.

    >>> parts('hr."Odd ""name"'), parts("hr.raise(integer)")
    (('hr', 'Odd "name'), ('hr', 'raise'))
    """
    found, at = [], 0
    piece = re.compile(r'"(?:[^"]|"")*"|[^."(]+')
    while match := piece.match(name, at):
        found.append(unquoted(match.group()))
        at = match.end()
        if name[at : at + 1] != ".":
            break
        at += 1
    return tuple(found)


def heading(words: Sequence[str], count: int = 3) -> str:
    """``alter default privileges``"""
    return " ".join(words[:count])


def renames(words: Sequence[str]) -> list[Rename]:
    """What ALTER ... RENAME TO and ALTER ... SET SCHEMA did, each statement of the string.

    >>> renames(tokens("ALTER POLICY p ON hr.a RENAME TO q; ALTER VIEW hr.v SET SCHEMA x"))
    [Rename(old='p', new='q', schema=''), Rename(old='hr.v', new='', schema='x')]
    """
    return [found for part in statements(words) if (found := _rename(part)) is not None]


def statements(words: Sequence[str]) -> Iterator[Sequence[str]]:
    """Of a string of several, each."""
    begin = 0
    for at, word in enumerate(words):
        if word == ";":
            yield words[begin:at]
            begin = at + 1
    yield words[begin:]


def that_run(words: list[str]) -> list[str]:
    """Without the statements of a string that do nothing of what they say.

    >>> that_run(tokens("EXPLAIN SELECT 1; DROP TABLE t"))
    ['drop', 'table', 't']
    >>> that_run(tokens("PREPARE p AS DELETE FROM t; EXECUTE p")) == tokens(
    ...     "PREPARE p AS DELETE FROM t; EXECUTE p"
    ... )
    True
    """
    said = [each for each in statements(words) if each]
    ran = [each for each in said if not runs_nothing(each)]
    if len(ran) == len(said) or any(each[0] == "execute" for each in said):
        return words
    return [word for each in ran for word in (";", *each)][1:]


def runs_nothing(words: Words) -> bool:
    """An EXPLAIN, and a PREPARE that no EXECUTE has followed yet."""
    if words[0] == "prepare":
        return [*words[1:2]] != ["transaction"]
    return words[0] == "explain" and not {"analyze", "analyse"} & {*words}


def at_commas(words: Sequence[str]) -> list[list[str]]:
    """Parted there, but not within brackets.

    >>> at_commas(tokens("a (b, c), d"))
    [['a', '(', 'b', ',', 'c', ')'], ['d']]
    """
    parted: list[list[str]] = [[]]
    depth = 0
    for word in words:
        depth += (word == "(") - (word == ")")
        if word == "," and not depth:
            parted.append([])
        else:
            parted[-1].append(word)
    return [*filter(None, parted)]


@lru_cache(maxsize=4_000)
def parted(text: str) -> tuple[tuple[str, ...], ...]:
    """The statements of a redacted text, as ``tokens`` has them."""
    return tuple(tuple(each) for each in statements(tokens(text)) if each)


def _rename(words: Sequence[str]) -> Rename | None:
    if not words or words[0] != "alter" or words[1:2] == ["extension"]:
        return None  # an extension's own name is in no schema, and it has no other one
    for at in range(2, len(words) - 2):
        pair = (words[at], words[at + 1])
        if pair == ("rename", "to"):
            return Rename(_name_before(words, at), words[at + 2])
        if pair == ("set", "schema"):
            return Rename(_name_before(words, at), "", words[at + 2])
    return None


def _name_before(words: Sequence[str], at: int) -> str:
    if words[1] in _ON_TABLE:
        return words[2]
    if words[1] == "operator" and words[2] not in ("class", "family") and "(" in words:
        return "".join(words[2 : words.index("(")])  # signs are words each
    end = at
    if words[end - 1] == ")":
        while end > 0 and words[end - 1] != "(":
            end -= 1
        end -= 1
    begin = end - 1
    while begin >= 2 and words[begin - 1] == ".":
        begin -= 2
    return "".join(words[begin:end])


def dropped_parts(text: str) -> set[str]:
    """Columns and constraints that an ALTER drops.

    >>> sorted(dropped_parts("ALTER TABLE t DROP a, DROP COLUMN IF EXISTS b CASCADE"))
    ['a', 'b']
    """
    words, found = tokens(text), set()
    for at in range(1, len(words) - 1):
        if words[at] == "drop":
            rest = [word for word in words[at + 1 : at + 5] if word not in _BEFORE_PART]
            found |= {*rest[:1]}
    return found


def privileges(words: Sequence[str]) -> frozenset[str]:
    """What a GRANT or REVOKE is about, in capitals; ``ALL`` for all; empty where it is no such.

    >>> sorted(privileges(tokens("GRANT SELECT (a, b), UPDATE ON hr.t TO x")))
    ['SELECT', 'UPDATE']
    """
    begin = next((at for at, word in enumerate(words) if word in ("grant", "revoke")), None)
    if begin is None:
        return frozenset()
    found: set[str] = set()
    depth = 0
    for word in words[begin + 1 :]:
        depth += (word == "(") - (word == ")")
        if depth == 0 and word in _PRIVILEGES_END:
            return frozenset(found)
        if depth == 0 and word in _PRIVILEGES:
            found.add("TEMPORARY" if word == "temp" else word.upper())
    return frozenset()


def on_all_in_schema(words: Sequence[str]) -> bool:
    """``ON ALL TABLES IN SCHEMA``"""
    return any(
        words[at] == "all" and (words[at + 2], words[at + 3]) == ("in", "schema")
        for at in range(len(words) - 3)
    )


def is_conditional(words: Sequence[str]) -> bool:
    """Whether it does nothing where its object, column or the like is there, or gone, already.

    >>> is_conditional(tokens("DROP VIEW IF EXISTS hr.v"))
    True
    >>> is_conditional(tokens("ALTER TABLE hr.t ADD COLUMN IF NOT EXISTS i int"))
    True
    >>> is_conditional(tokens("ALTER TABLE IF EXISTS hr.t OWNER TO bob"))
    False
    """
    return any(_is_conditional(part) for part in statements(words))


def _is_conditional(words: Sequence[str]) -> bool:
    found = [
        at
        for at in range(1, len(words) - 1)
        if words[at] == "if" and words[at + 1] in ("exists", "not")
    ]
    if not found or words[0] in ("create", "drop"):
        return bool(found)
    return words[0] == "alter" and any(words[at - 1] in _OF_PARTS for at in found)


def system_value(words: Sequence[str]) -> str:
    """The value in ALTER SYSTEM SET, if it is one plain word; empty where it is not known.

    >>> system_value(tokens("ALTER SYSTEM SET fsync = off"))
    'off'
    """
    at = next((at for at, word in enumerate(words) if word in ("=", "to")), len(words))
    value = [word for word in words[at + 1 :] if word != ";"]
    if [*words[:3]] != ["alter", "system", "set"] or len(value) != 1:
        return ""
    return value[0] if value[0].isidentifier() and value[0] != "default" else ""


def savepoint(words: Sequence[str]) -> str | None:
    """The name in ROLLBACK TO; None where a whole transaction is rolled back."""
    if "to" not in words:
        return None
    return words[-1] if words[-1] != ";" else words[-2]
