"""Tables, functions and all that has lines: ``key: text``, each key once, each on one line."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from agent.catalog.items import secrets
from agent.catalog.items.numbers import numbers
from model.catalog import CatalogItem, CatalogKind

Row = Mapping[str, Any]

LARGE = 200_000
"""Characters. The wire may cut such a value: a hash in front still tells that its end changed."""
_KEY = re.compile(r'((?:"(?:[^"]|"")*"|[^":])*): (.*)', re.DOTALL)
_QUOTED_NAME = re.compile(r'"((?:[^"]|"")*)"')
_SPACE = re.compile(r"""('(?:[^']|'')*'|"(?:[^"]|"")*")|\s+""")


class TornError(Exception):
    """The definition of an object vanished while it was read: somebody changes the catalog."""


def objects(kind: CatalogKind, database: str, rows: Iterable[Row]) -> list[CatalogItem]:
    """``rows`` have ``name`` and ``lines``, and may have ``options`` and ``settings``
    (``name=value`` each), a ``detail`` that is not compared (else it is their number), the
    ``definition`` of a view or the ``body`` of a function. Raises TornError."""
    return [
        CatalogItem(kind, database, _name(row), _value(row), row.get("detail") or numbers(row))
        for row in rows
    ]


def _name(row: Row) -> str:
    if row["name"] is None:
        raise TornError("the name of an object")
    return str(row["name"])


def _value(row: Row) -> str:
    value = "\n".join(_lines(row))
    if len(value) <= LARGE:
        return value
    return f"digest: {text_hash(value)}\n{value}"


def _lines(row: Row) -> Iterator[str]:
    definition, body = row.get("definition", ""), row.get("body", "")
    if definition is None or body is None:
        raise TornError(str(row["name"]))
    whole = one_line(definition or body)
    shown = secrets.line("text", whole)
    # Beside a text without its secrets a plain hash of the whole would let them be guessed.
    hides = shown != whole
    for entry in row["lines"]:
        if entry is None:
            raise TornError(str(row["name"]))
        is_body = hides and entry.startswith("body: ")
        yield f"body: {secrets.digest('body', body)}" if is_body else _line(entry)
    options: Sequence[str] = row.get("options") or ()
    if options:
        yield f"foreign options: {one_line(', '.join(map(secrets.option, options)))}"
    for entry in row.get("settings") or ():
        name, _, value = entry.partition("=")
        yield f"set {name}: {one_line(secrets.hidden(name, value))}"
    if definition:
        told = secrets.digest("definition", definition) if hides else text_hash(definition)
        yield f"definition: {told}"
    if shown:
        yield f"text: {shown}"


def _line(entry: str) -> str:
    found = _KEY.fullmatch(entry)
    if found is None:
        return one_line(entry)
    key = plain_key(found[1])
    return f"{key}: {secrets.line(key, one_line(found[2]))}"


def plain_key(key: str) -> str:
    r"""Quoted names hold what would end a key or a line in the form that SQL has for that.

    >>> print(plain_key('column "a: b"'), plain_key('column "a b"'))
    column U&"a\003A b" column "a b"
    """
    return _QUOTED_NAME.sub(_unicode_form, key) if '"' in key else key


def _unicode_form(found: re.Match[str]) -> str:
    name = found[1]
    if not re.search(r"[:\x00-\x1f\x7f\u0085\u2028\u2029]", name):
        return found.group()
    name = name.replace("\\", "\\\\")
    escaped = re.sub(
        r"[:\x00-\x1f\x7f\u0085\u2028\u2029]", lambda one: f"\\{ord(one[0]):04X}", name
    )
    return f'U&"{escaped}"'


def one_line(text: str) -> str:
    r"""
    >>> print(one_line("CASE\n    WHEN a = 'x\ny'"))
    CASE WHEN a = 'x\ny'
    """
    if not re.search(r"[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]", text):
        return text
    text = _SPACE.sub(lambda found: found[1] or " ", text).strip()
    return "".join(f"\\{name}" if (name := _ENDS.get(one)) else one for one in text)


_ENDS = {
    "\n": "n", "\r": "r", "\x0b": "v", "\x0c": "f", "\x1c": "x1c", "\x1d": "x1d", "\x1e": "x1e",
    "\x85": "x85", "\u2028": "u2028", "\u2029": "u2029",
}  # fmt: skip
"""All that str.splitlines takes for the end of a line."""


def text_hash(text: str) -> str:
    told = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return f"sha256:{told}"
