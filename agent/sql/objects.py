"""Names and types of what a command is about."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agent.sql.tree import Node, dotted, fields_of, relation_name, unwrap

_CALLED = {
    "matview": "materialized view", "tabconstraint": "constraint",
    # The name that such a command says is the domain's, or the type's.
    "domconstraint": "domain", "attribute": "type",
}  # fmt: skip


def said(verb: str, object_kind: str) -> str:
    return f"{verb} {object_kind}".strip().upper().replace("_", " ")


def object_kind(value: Any) -> str:
    """``OBJECT_MATVIEW`` is ``materialized view``."""
    word = str(value or "").removeprefix("OBJECT_").lower()
    return _CALLED.get(word, word.replace("_", " "))


def named(fields: Node, spec: str) -> Iterator[tuple[str, str]]:
    """Objects by a spec of words ``kind=field``; a field may be a path, a relation or a list.

    Kind ``@field`` takes the kind from an OBJECT_... field.
    """
    for word in spec.split():
        kind, _, path = word.partition("=")
        kind = object_kind(fields.get(kind[1:])) if kind.startswith("@") else kind
        value: Any = fields
        for step in path.split("."):
            value = value.get(step) if isinstance(value, dict) else None
        two = unwrap(value)[1].get("items", []) if kind == "cast" else []
        for name in [cast_name(*two)] if len(two) == 2 else names_in(value):
            yield kind.replace("_", " "), name


def names_in(value: Any) -> Iterator[str]:
    """Names in a field: text, relation, list of strings (one dotted name) or list of either."""
    if isinstance(value, str):
        yield value
        return
    kind, fields = unwrap(value)
    if kind == "RangeVar" or "relname" in fields:
        yield relation_name(value)
    elif isinstance(value, list) and value and "String" not in value[0]:
        for item in value:
            yield from names_in(item)
    elif value:
        yield dotted(value)


def cast_name(source: Any, target: Any) -> str:
    """``int4 AS hr.money``, as the catalog names types."""
    return f"{_type_name(source)} AS {_type_name(target)}"


def _type_name(value: Any) -> str:
    return dotted(value) + ("[]" if fields_of(value, "TypeName").get("arrayBounds") else "")
