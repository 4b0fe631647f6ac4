"""Values that are lines, ``key: text``, as mappings, and what differs between two of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from collector.drift.baseline import Difference, same_but_for_option_order
from model.catalog import OBJECT_KINDS, CatalogKind

LINE_KINDS = OBJECT_KINDS | {
    CatalogKind.DATABASE, CatalogKind.TABLESPACE, CatalogKind.SLOT, CatalogKind.WATCHED,
}  # fmt: skip
REVOKED = "(revoked)"
"""Instead of privileges: PUBLIC lost what it has by default."""
SEPARATOR = ": "
ARROW = "<-"
"""Between what is granted, or the group, and who has it."""
TEXT_ATTRIBUTE = "valid_until"
"""Of a role; the last one, and the only one whose value has spaces."""


class Part(NamedTuple):
    """A line, attribute or privilege that differs; ``before`` or ``after`` is None without it."""

    key: str
    before: str | None
    after: str | None


def lines_of(value: str) -> dict[str, str]:
    """
    >>> lines_of('owner: alice\\ncolumn "a: b": text')
    {'owner': 'alice', 'column "a: b"': 'text'}
    """
    return dict(_pairs(value))


def text_of(lines: Mapping[str, str]) -> str:
    """The value whose ``lines_of`` is ``lines``."""
    return "\n".join(f"{key}{SEPARATOR}{text}" if text else key for key, text in lines.items())


@lru_cache(maxsize=64)
def _pairs(value: str) -> tuple[tuple[str, str], ...]:
    """Each line that differs is held against statements with all of the others."""
    return tuple(_pair(line) for line in value.split("\n") if line)


def _pair(line: str) -> tuple[str, str]:
    at = outside_quotes(line, SEPARATOR)
    return (line, "") if at < 0 else (line[:at], line[at + len(SEPARATOR) :])


def outside_quotes(text: str, word: str, *, last: bool = False) -> int:
    """Where ``word`` first (or last) stands outside of double quotes; -1: nowhere.

    >>> outside_quotes('hr."a.b".c', ".", last=True)
    8
    """
    if '"' not in text:
        return text.rfind(word) if last else text.find(word)
    quoted, found = False, -1
    for index, character in enumerate(text):
        if character == '"':
            quoted = not quoted
        elif not quoted and text.startswith(word, index):
            if not last:
                return index
            found = index
    return found


def attributes(value: str) -> dict[str, str]:
    """
    >>> attributes("login=true valid_until=2027-01-01 00:00:00")
    {'login': 'true', 'valid_until': '2027-01-01 00:00:00'}
    """
    words, found, until = value.partition(f"{TEXT_ATTRIBUTE}=")
    read = {name: text for name, _, text in (word.partition("=") for word in words.split())}
    return read | ({TEXT_ATTRIBUTE: until} if found else {})


def privileges(value: str) -> dict[str, str]:
    """
    >>> privileges("INSERT, SELECT*")
    {'INSERT': 'granted', 'SELECT': 'with grant option'}
    """
    words = [word.strip() for word in value.split(",") if word.strip()]
    return {
        word.removesuffix("*"): "with grant option" if word.endswith("*") else "granted"
        for word in words
    }


def granted_to(name: str) -> tuple[str, str]:
    """The object, which SQL quotes, and the role, which stands as it is.

    >>> granted_to('table:hr."a<-b"<-etl'), granted_to("table:hr.t<-a<-b")
    (('table:hr."a<-b"', 'etl'), ('table:hr.t', 'a<-b'))
    """
    plain = name.count(ARROW) == 1  # of tens of thousands nearly all
    at = name.find(ARROW) if plain else outside_quotes(name, ARROW)
    return (name, "") if at < 0 else (name[:at], name[at + len(ARROW) :])


def usual(target: str) -> str:
    """What PUBLIC has by default on such an object, where it has anything.

    >>> usual("function:hr.f()"), usual("default:functions of etl"), usual("type:hr.mood")
    ('EXECUTE', 'EXECUTE', 'USAGE')
    """
    runs = ("function:", "procedure:", "aggregate:", "default:functions of ")
    return "EXECUTE" if target.startswith(runs) else "USAGE"


def read_value(kind: CatalogKind, value: str) -> dict[str, str]:
    """What a value consists of; one unnamed part where it has no structure."""
    if kind in LINE_KINDS:
        return lines_of(value)
    if kind is CatalogKind.ROLE:
        return attributes(value)
    if kind is CatalogKind.PRIVILEGE:
        return privileges(value)
    return {"": value}


def parts(kind: CatalogKind, difference: Difference) -> Iterator[Part]:
    """What differs, in the order of the accepted value, then what is new."""
    before, after = (
        read_value(kind, value) if value else {}
        for value in (difference.desired, difference.observed)
    )
    for key in dict.fromkeys([*before, *after]):
        old, new = before.get(key), after.get(key)
        if old != new and not _in_another_order(key, old, new):
            yield Part(key, old, new)


def _in_another_order(key: str, old: str | None, new: str | None) -> bool:
    both = old is not None and new is not None
    return both and same_but_for_option_order(f"{key}{SEPARATOR}{old}", f"{key}{SEPARATOR}{new}")
