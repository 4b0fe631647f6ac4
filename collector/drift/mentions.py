"""Which objects a definition names, and the same definition after one of them got another name."""

from __future__ import annotations

import re
from functools import lru_cache

from model.catalog import CatalogKind

HASH = ("sha256:", "hidden ")
"""So begin lines that stand for a text."""
MOST_CHARACTERS = 200_000
PART = r'(?:"(?:[^"]|"")*"|[^\W\d][\w$]*)'
_NAME = re.compile(rf"({PART})((?:\.{PART})*)")
_SECOND = re.compile(rf"\.({PART})")


def mentioned(text: str) -> frozenset[str]:
    """Names of objects with their schema, quoted as they are, and schemas with a dot.

    >>> sorted(mentioned('CHECK (hr.ok(t.i))'))
    ['hr.', 'hr.ok', 't.', 't.i']
    """
    found = set()
    for match in _NAME.finditer(text, 0, MOST_CHARACTERS):
        if second := _SECOND.match(match[2]):
            found |= {f"{match[1]}.", f"{match[1]}.{second[1]}"}
    return frozenset(found)


def base_of(kind: CatalogKind, name: str) -> str:
    """As definitions name it: a schema by what is in it, a function without its arguments.

    >>> base_of(CatalogKind.FUNCTION, "hr.f(hr.ty)"), base_of(CatalogKind.SCHEMA, "hr")
    ('hr.f', 'hr.')
    """
    if kind is CatalogKind.SCHEMA:
        return f"{name}."
    return name.partition("(")[0] if kind is CatalogKind.FUNCTION else name


def put(kind: CatalogKind, old: str, new: str, text: str) -> str:
    """
    >>> put(CatalogKind.TYPE, "hr.ty", "hr.ty2", "hr.f(hr.ty, hr.tyx)")
    'hr.f(hr.ty2, hr.tyx)'
    """
    return _pattern(kind, old).sub(base_of(kind, new).replace("\\", "\\\\"), text)


def put_bare(old: str, new: str, text: str) -> str:
    """
    >>> put_bare("j", "jj", "(t.j > 0) AND (jot > 1)")
    '(t.jj > 0) AND (jot > 1)'
    """
    return word(old).sub(new.replace("\\", "\\\\"), text)


def same_lines(kind: CatalogKind, old: str, new: str, before: str, after: str) -> bool:
    """Whether lines differ in nothing but this name, and hashes of texts."""
    was = [line for line in before.splitlines() if not _is_hash(line)]
    now = sorted(line for line in after.splitlines() if not _is_hash(line))
    if sorted(put(kind, old, new, line) for line in was) == now:
        return True
    if kind is CatalogKind.SCHEMA or len(was) != len(now):
        return False
    # In a query the bare name stands in front of columns.
    ends = (_last(base_of(kind, old)), _last(base_of(kind, new)))
    return all(ends) and now == sorted(put_bare(*ends, put(kind, old, new, line)) for line in was)


def _is_hash(line: str) -> bool:
    return any(f": {each}" in line for each in HASH)


def _last(name: str) -> str:
    """The last part, quoted as it is."""
    found = re.search(rf"({PART})$", name)
    return found[1] if found else ""


@lru_cache(maxsize=10_000)
def _pattern(kind: CatalogKind, name: str) -> re.Pattern[str]:
    begin = rf'(?<![\w$".]){re.escape(base_of(kind, name))}'
    if kind is CatalogKind.SCHEMA:
        return re.compile(begin)
    return re.compile(begin + (r"(?=\()" if kind is CatalogKind.FUNCTION else r'(?![\w$"])'))


@lru_cache(maxsize=10_000)
def word(name: str) -> re.Pattern[str]:
    return re.compile(rf'(?<![\w$"]){re.escape(name)}(?![\w$"])')
