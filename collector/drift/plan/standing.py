"""What stands on what: read from names and definitions, in which every name has its schema."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from collector.drift.baseline import Difference
from collector.drift.lines import granted_to, lines_of, parts
from collector.drift.mentions import PART, base_of, mentioned
from collector.drift.plan.steps import Step
from model.catalog import CatalogKind, DriftChange

_COLLATE = re.compile(rf" collate (?:{PART}\.)?({PART})")
"""Columns name a collation without its schema."""
_OPERATOR = re.compile(r"OPERATOR\(([^()]+)\)")
_BY_KIND = {
    "column": CatalogKind.TABLE, "table": CatalogKind.TABLE, "sequence": CatalogKind.SEQUENCE,
    "function": CatalogKind.FUNCTION, "procedure": CatalogKind.FUNCTION,
    "aggregate": CatalogKind.FUNCTION, "type": CatalogKind.TYPE, "schema": CatalogKind.SCHEMA,
    "foreign_server": CatalogKind.FOREIGN_SERVER, "language": CatalogKind.LANGUAGE,
    "foreign_data_wrapper": CatalogKind.FOREIGN_SERVER, "database": CatalogKind.DATABASE,
    "tablespace": CatalogKind.TABLESPACE,
}  # fmt: skip
"""What a privilege is on."""
_BY_TEXT = frozenset(
    (
        CatalogKind.SCHEMA, CatalogKind.TABLE, CatalogKind.SEQUENCE, CatalogKind.FUNCTION,
        CatalogKind.TYPE, CatalogKind.OPERATOR,
    )
)  # fmt: skip
"""Kinds that definitions name with their schema."""


@dataclass(frozen=True)
class Planned:
    """One of the steps that a difference needs."""

    step: Step
    kind: CatalogKind
    difference: Difference
    first: bool
    last: bool


def names_of(kind: CatalogKind, name: str) -> frozenset[str]:
    """What others say where they speak of it: in definitions, and in other kinds' names.

    >>> sorted(names_of(CatalogKind.FUNCTION, "hr.f(integer)"))
    ['function:hr.f(integer)', 'hr.f']
    """
    exact = f"{kind}:{name}"
    if kind is CatalogKind.OPERATOR:
        return frozenset((exact, _sign(name.partition("(")[0])))
    return frozenset((exact, base_of(kind, name)) if kind in _BY_TEXT else (exact,))


def needed_by(planned: Planned) -> frozenset[str]:
    """Names of what has to be there before it is done."""
    kind, name = planned.kind, planned.difference.name
    found = set(_said(planned.step.text))
    if kind is CatalogKind.PRIVILEGE:
        found |= set(_granted_on(name))
    elif kind is CatalogKind.SETTING:
        found |= set(_set_for(name))
    found |= set(_unqualified(kind, name, planned.difference.desired))
    if not planned.first:
        found.add(f"{kind}:{name}")
    return frozenset(found)


def stood_on_by(planned: Planned) -> frozenset[str]:
    """Names of what can only go after it was done."""
    difference, kind = planned.difference, planned.kind
    if kind is CatalogKind.SETTING:
        return frozenset(_set_for(difference.name))
    if difference.change is DriftChange.CHANGED:
        changed = [part for part in parts(kind, difference) if part.after is not None]
        return _said("\n".join(f"{part.key} {part.after}" for part in changed))
    if difference.change is not DriftChange.ADDED or kind is CatalogKind.PRIVILEGE:
        return frozenset()
    if not planned.last:
        return _said(planned.step.text)
    lines = lines_of(difference.observed)
    text = "\n".join(f"{key} {text}" for key, text in lines.items() if not _lets_go(key, text))
    said = _said(f"{difference.name}\n{text}")
    return said | frozenset(_unqualified(kind, difference.name, difference.observed))


def _lets_go(key: str, text: str) -> bool:
    """A foreign key and a rule are dropped by themselves, a sequence goes with its column."""
    return text.startswith("FOREIGN KEY") or key.startswith("rule ") or key == "owned by"


def _said(text: str) -> frozenset[str]:
    signs = {_sign(sign) for sign in _OPERATOR.findall(text)}
    return mentioned(text) | signs | {_collation(each) for each in _COLLATE.findall(text)}


def names_about(step: Step) -> frozenset[str]:
    """As ``names_of``, of what is in a schema and no item."""
    own = {_collation(step.about.rpartition(".")[2])} if "collation" in step.text.lower() else set()
    return frozenset((step.about, *own))


def _collation(own: str) -> str:
    return f"collation {own}"


def _sign(operator: str) -> str:
    return f"operator {operator}"


def _granted_on(name: str) -> Iterator[str]:
    what, _, thing = granted_to(name)[0].partition(":")
    if what == "default":
        yield f"{CatalogKind.SCHEMA}:{thing.rpartition(' in ')[2]}"
    elif what == "column":
        yield f"{CatalogKind.TABLE}:{thing.rpartition('.')[0]}"
        yield from mentioned(thing)
    elif what == "foreign_data_wrapper":
        yield f"{CatalogKind.FOREIGN_SERVER}:wrapper {thing}"
    elif what in _BY_KIND:
        yield f"{_BY_KIND[what]}:{thing}"


def _set_for(name: str) -> Iterator[str]:
    """``jit@ROLE``, ``jit@DATABASE`` or ``jit@ROLE/DATABASE``."""
    _, found, whom = name.partition("@")
    if found:
        of, _, inside = whom.rpartition("/")
        for kind in (CatalogKind.ROLE, CatalogKind.DATABASE):
            yield from (f"{kind}:{each}" for each in (whom, of, inside))


def _unqualified(kind: CatalogKind, name: str, value: str) -> Iterator[str]:
    """Servers, wrappers, languages and schemas that are named by a line of their own."""
    if kind is CatalogKind.USER_MAPPING:
        yield f"{CatalogKind.FOREIGN_SERVER}:{name.rpartition('<-')[0]}"
        return
    lines = lines_of(value) if kind in _WITH_LINES else {}
    if "server" in lines:
        yield f"{CatalogKind.FOREIGN_SERVER}:{lines['server']}"
    if "wrapper" in lines:
        yield f"{CatalogKind.FOREIGN_SERVER}:wrapper {lines['wrapper']}"
    if "schema" in lines:
        yield from names_of(CatalogKind.SCHEMA, lines["schema"])


_WITH_LINES = frozenset((CatalogKind.TABLE, CatalogKind.FOREIGN_SERVER, CatalogKind.EXTENSION))
