"""Reading libpg_query's JSON: names and constants.

A node is either wrapped, ``{"RangeVar": {...}}``, or, where its field allows only one type, bare:
``"relation": {"relname": ...}``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from model.names import escaped

Node = dict[str, Any]


def unwrap(value: Any) -> tuple[str, Node]:
    """Type and fields of a wrapped node; type is empty for anything else."""
    if type(value) is not dict:
        return "", {}
    if len(value) == 1:
        for key, fields in value.items():
            if key < "a" and type(fields) is dict:  # types begin with a capital, fields do not
                return key, fields
    return "", value


def fields_of(value: Any, kind: str) -> Node:
    """Fields of a node of ``kind``, wrapped or bare; empty if it is of another type."""
    found, fields = unwrap(value)
    return fields if found in ("", kind) else {}


def strings(value: Any) -> list[str]:
    """The String items of a list, a List node or a single String node; others are skipped."""
    kind, fields = unwrap(value)
    if kind == "String":
        return [fields.get("sval", "")]
    if kind == "List":
        value = fields.get("items", [])
    if kind == "TypeName" or (not kind and "names" in fields):
        value = fields.get("names", [])
    if kind == "ObjectWithArgs" or (not kind and "objname" in fields):
        value = fields.get("objname", [])
    if not isinstance(value, list):
        return []
    return [item["String"].get("sval", "") for item in value if "String" in item]


def dotted(value: Any) -> str:
    """``schema.name`` of a list of strings (see model/names.py); ``pg_catalog.`` is left out: it is
    always searched."""
    parts = strings(value)
    if len(parts) > 1 and parts[0] == "pg_catalog":
        parts = parts[1:]
    return ".".join(map(escaped, parts))


def relation_name(range_var: Any) -> str:
    fields = fields_of(range_var, "RangeVar")
    parts = [fields.get(key, "") for key in ("catalogname", "schemaname", "relname")]
    return ".".join(escaped(part) for part in parts if part)


def role_names(values: Any) -> list[str]:
    """Roles of one RoleSpec or a list of them; ``public`` and ``current_user`` in lower case."""
    items = values if isinstance(values, list) else [values]
    names = []
    for item in items:
        fields = fields_of(item, "RoleSpec")
        spec = str(fields.get("roletype", ""))
        if spec == "ROLESPEC_CSTRING":
            names.append(fields.get("rolename", ""))
        elif spec:
            names.append(spec.removeprefix("ROLESPEC_").lower())
    return names


def options(fields: Node, key: str = "options") -> Iterator[tuple[str, Any]]:
    """Name and argument of each DefElem."""
    for item in fields.get(key, []):
        kind, element = unwrap(item)
        if kind == "DefElem":
            yield element.get("defname", ""), element.get("arg")


def constant_text(value: Any) -> str | None:
    """The text of a string constant or String node."""
    kind, fields = unwrap(value)
    if kind == "String":
        return str(fields.get("sval", ""))
    if kind == "A_Const" and "sval" in fields:
        return str(fields["sval"].get("sval", ""))
    if kind == "TypeCast":
        return constant_text(fields.get("arg"))
    return None


def switched_on(argument: Any) -> bool:
    """How PostgreSQL reads a boolean option: absent argument is true."""
    kind, fields = unwrap(argument)
    if kind == "Boolean":
        return bool(fields.get("boolval"))
    if kind == "Integer":
        return bool(fields.get("ival"))
    text = option_text(argument)
    return text is None or text.lower() not in ("false", "off", "no", "0")


def option_text(argument: Any) -> str | None:
    """``off`` without quotes, as in ``SET (security_barrier = off)``, is a type to the parser."""
    kind, _ = unwrap(argument)
    return ".".join(strings(argument)) if kind == "TypeName" else constant_text(argument)


def is_null(value: Any) -> bool:
    return unwrap(value)[0] == "A_Const" and bool(unwrap(value)[1].get("isnull"))


def nodes(value: Any, *kinds: str) -> Iterator[tuple[str, Node]]:
    """Type and fields of all nodes of these types, at any depth."""
    rest = [value]
    while rest:
        item = rest.pop()
        if type(item) is list:
            rest += item
        elif type(item) is dict:
            kind, fields = unwrap(item)
            if kind in kinds:
                yield kind, fields
            rest += item.values()


def each(values: Iterable[Any] | None) -> Iterator[tuple[str, Node]]:
    for value in values or ():
        yield unwrap(value)
