"""ALTER TABLE ... ALTER c TYPE that replaces the values of a column by others.

``left(email, 0)`` and ``CASE WHEN false THEN email END`` name the column and keep nothing of it. So
what a USING may be is a short list, of what PostgreSQL itself refuses where a value does not fit.
"""

from __future__ import annotations

from typing import Any

from agent.sql.tree import Node, constant_text, dotted, fields_of, strings, unwrap

_CUT = frozenset({"bpchar", "varchar", "bit", "varbit"})
"""A cast to these with a length cuts, where an assignment is refused. The text does not tell how
long the column was."""
_CUT_ALWAYS = frozenset({"char", "name"})
"""Assignment cuts too: ``"char"``, of one byte, and ``name``."""
_FEW_VALUES = _CUT_ALWAYS | {"bool", "tsvector", "cidr"}
_LOSSLESS = frozenset({"text", "varchar"})
"""A cast on the way to the type: ``status::text::hr.status``."""


def overwrites(column: str, definition: Node) -> bool:
    """Of the ColumnDef of ALTER ... TYPE."""
    target = definition.get("typeName", {})
    if _name(target) in _CUT_ALWAYS or _rounds_away(target):
        return True
    using = definition.get("raw_default")
    return using is not None and not _keeps(using, column, target)


def _keeps(using: Any, column: str, target: Node) -> bool:
    kind, fields = unwrap(using)
    while kind == "TypeCast":
        if not _is_plain(fields.get("typeName", {}), target):
            return False
        kind, fields = unwrap(fields.get("arg"))
    if kind == "FuncCall":
        kind, fields = _moved_to_zone(fields)
    path = fields.get("fields", [])
    return kind == "ColumnRef" and strings(path)[-1:] == [column] and "A_Star" not in path[-1]


def _is_plain(cast: Node, target: Node) -> bool:
    name = _name(cast)
    if name in _FEW_VALUES or _rounds_away(cast) or (name in _CUT and "typmods" in cast):
        return False
    same = name == _name(target) and cast.get("arrayBounds") == target.get("arrayBounds")
    return same or (name in _LOSSLESS and "arrayBounds" not in cast)


def _moved_to_zone(call: Node) -> tuple[str, Node]:
    """What stands before AT TIME ZONE 'Europe/Berlin'; nothing for another call."""
    arguments = call.get("args", [])
    words = call.get("funcformat") == "COERCE_SQL_SYNTAX" and len(arguments) == 2
    if not words or dotted(call.get("funcname")) != "timezone" or not constant_text(arguments[0]):
        return "", {}
    return unwrap(arguments[1])


def _rounds_away(type_name: Node) -> bool:
    """``numeric(3, -30)`` makes zeros."""
    numbers = (
        fields_of(given, "A_Const").get("ival", {}) for given in type_name.get("typmods", [])
    )
    return any(number.get("ival", 0) < 0 for number in numbers)


def _name(type_name: Node) -> str:
    return dotted(type_name.get("names"))
