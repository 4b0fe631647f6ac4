"""``NOT`` moved inwards: ``NOT ctid < '(0,0)'`` is ``ctid >= '(0,0)'``. Nulls are passed over."""

from __future__ import annotations

from typing import Any

from agent.sql.tree import Node, dotted, unwrap

_SIGNS = {
    "=": "<>", "<>": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">",
    "~~": "!~~", "!~~": "~~", "~~*": "!~~*", "!~~*": "~~*",
}  # fmt: skip
_KINDS = {
    "AEXPR_OP_ANY": "AEXPR_OP_ALL",
    "AEXPR_OP_ALL": "AEXPR_OP_ANY",
    "AEXPR_DISTINCT": "AEXPR_NOT_DISTINCT",
    "AEXPR_NOT_DISTINCT": "AEXPR_DISTINCT",
    "AEXPR_BETWEEN": "AEXPR_NOT_BETWEEN",
    "AEXPR_NOT_BETWEEN": "AEXPR_BETWEEN",
}
_SAME_SIGN = frozenset(_KINDS) - {"AEXPR_OP_ANY", "AEXPR_OP_ALL"}
_JUNCTIONS = {"AND_EXPR": "OR_EXPR", "OR_EXPR": "AND_EXPR"}
_TESTS = {"IS_NULL": "IS_NOT_NULL", "IS_NOT_NULL": "IS_NULL"}


def negated(value: Any) -> Node | None:
    """A condition that is true where this one is false; None where nobody knows one without NOT."""
    kind, fields = unwrap(value)
    if kind == "BoolExpr":
        return _of_junction(fields)
    if kind == "NullTest":
        return {kind: {**fields, "nulltesttype": _TESTS[fields["nulltesttype"]]}}
    if kind != "A_Expr" or "lexpr" not in fields:
        return None
    way, sign = str(fields.get("kind")), dotted(fields.get("name"))
    if way in _SAME_SIGN:
        return {kind: {**fields, "kind": _KINDS[way]}}
    if sign not in _SIGNS or way not in ("AEXPR_OP", "AEXPR_IN", *_KINDS):
        return None
    name = [{"String": {"sval": _SIGNS[sign]}}]
    return {kind: {**fields, "kind": _KINDS.get(way, way), "name": name}}


def _of_junction(fields: Node) -> Node:
    junction, arguments = str(fields.get("boolop")), fields.get("args", [])
    if junction == "NOT_EXPR":
        return dict(arguments[0])
    turned = [_turned(argument) for argument in arguments]
    return {"BoolExpr": {"boolop": _JUNCTIONS[junction], "args": turned}}


def _turned(value: Any) -> Node:
    """What is a junction itself is turned when it is judged: once, however deep they are nested."""
    found = None if "BoolExpr" in value else negated(value)
    return found or {"BoolExpr": {"boolop": "NOT_EXPR", "args": [value]}}
