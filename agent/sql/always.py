"""Calls and operators that answer alike for all rows: ``starts_with(a, '')``, ``id - id = 0``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agent.sql.same import Row, constant_kind, number_of, same, text_of
from agent.sql.tree import Node, dotted, strings, unwrap

_PLACE_OF_TEXT = frozenset({"strpos", "position"})


def is_true_call(call: Node, row: Row) -> bool:
    name, arguments = dotted(call.get("funcname")), call.get("args", [])
    if name == "starts_with" and len(arguments) == 2:
        return is_empty_text(arguments[1])
    if name == "overlaps" and len(arguments) == 4:
        return all(same(arguments[i], arguments[i + 2], row) for i in (0, 1))
    return False


def is_empty_text(value: Any) -> bool:
    """A value that is hidden (blind.py) is none: skeleton.py leaves no empty string out."""
    kind, fields = unwrap(value)
    if kind == "TypeCast":
        return is_empty_text(fields.get("arg"))
    text = fields["sval"].get("sval", "") if kind == "A_Const" and "sval" in fields else None
    return isinstance(text, str) and not text


def is_empty_array(value: Any) -> bool:
    kind, fields = unwrap(value)
    if kind == "TypeCast":
        return is_empty_array(fields.get("arg"))
    return not fields.get("elements") if kind == "A_ArrayExpr" else text_of(value) == "{}"


def stripped(value: Any) -> Any:
    """``name`` of ``name || ''``, ``'' || name`` and ``concat(name, '')``."""
    kind, fields = unwrap(value)
    if kind not in ("A_Expr", "FuncCall"):
        return value
    if kind == "A_Expr" and dotted(fields.get("name")) == "||" and "lexpr" in fields:
        parts: Sequence[Any] = (fields["lexpr"], fields.get("rexpr"))
    elif kind == "FuncCall" and dotted(fields.get("funcname")) == "concat":
        parts = fields.get("args", [])
    else:
        return value
    left = [part for part in parts if not is_empty_text(part)]
    return stripped(left[0]) if len(left) == 1 and len(parts) > 1 else value


def fixed_number(value: Any, sign: str, row: Row) -> float | None:
    """What an expression over columns comes to for each row. ``sign``: how it is compared; a factor
    is looked at for ``=`` alone, for each look at a number makes texts that differ in it differ."""
    kind, fields = unwrap(value)
    if kind == "FuncCall" and dotted(fields.get("funcname")) in _PLACE_OF_TEXT:
        arguments = fields.get("args", [])
        return 1.0 if len(arguments) == 2 and is_empty_text(arguments[1]) else None
    if kind != "A_Expr" or fields.get("kind") != "AEXPR_OP" or "lexpr" not in fields:
        return None
    left, right = fields["lexpr"], fields.get("rexpr")
    match dotted(fields.get("name")):
        case "-" if same(left, right, row):
            return 0.0
        case "*" if sign == "=":
            numbers = [side for side in (left, right) if constant_kind(side) == "number"]
            return 0.0 if len(numbers) == 1 and number_of(numbers[0]) == 0 else None
    return None


def is_bound(value: Any, end: Any, sign: str, row: Row) -> bool:
    """``greatest(id, 1) >= id``."""
    kind, fields = unwrap(value)
    wanted = {">=": "IS_GREATEST", "<=": "IS_LEAST"}.get(sign)
    if kind != "MinMaxExpr" or fields.get("op") != wanted:
        return False
    return any(same(one, end, row) for one in fields.get("args", []))


def is_own_number(left: Any, right: Any, row: Row) -> bool:
    """``tableoid = 'orders'::regclass``: what ONLY would choose, which is no condition either."""
    kind, cast = unwrap(right)
    if kind != "TypeCast" or not row.relation:
        return False
    if strings(unwrap(left)[1].get("fields"))[-1:] != ["tableoid"]:
        return False
    if strings(cast.get("typeName"))[-1:] != ["regclass"]:
        return False
    said = (text_of(cast.get("arg")) or "").replace('"', "")
    own = {row.relation, row.relation.rpartition(".")[2]}
    return said in own or said.rpartition(".")[2] == row.relation
