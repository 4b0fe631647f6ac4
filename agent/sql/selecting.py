"""Conditions that ask a query: ``EXISTS (SELECT 1)``, ``id IN (SELECT id FROM the same)``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agent.sql.always import answers_itself
from agent.sql.by_row import BY_ROW, FALSE, TRUE, Truth
from agent.sql.same import ANY_ROW, Row, number_of, same, with_itself, with_queries
from agent.sql.tree import Node, dotted, each, fields_of, is_null, nodes, strings, unwrap

Judge = Callable[[Any, Row], Truth]
"""What a condition is: truth.judge."""

_CHOOSING = ("larg", "havingClause", "valuesLists")
_YES = {"A_Const": {"boolval": {"boolval": True}}}
_NULL = {"A_Const": {"isnull": True}}
_ZERO: Node = {"A_Const": {"ival": {}}}
_OF_EACH_GROUP = frozenset({"min", "max", "any_value", "first_value", "last_value"})
"""Of a group whose rows agree in it they answer with the value itself."""
_SUMMING = _OF_EACH_GROUP | {
    "count", "sum", "avg", "bool_and", "bool_or", "every", "array_agg", "string_agg", "json_agg",
    "jsonb_agg",
}  # fmt: skip
NO_LIMIT = 100_000
"""``id IN (SELECT id FROM t LIMIT ...)`` with so many or more is meant for all rows."""
_REACHING = ("", "=", ">=", "<=")
"""True of a value and a set that the value itself is in."""


def asked(fields: Node, row: Row, judge: Judge) -> Truth:
    """``fields``: of a SubLink."""
    select = fields_of(fields.get("subselect"), "SelectStmt")
    link = fields.get("subLinkType")
    if link == "EXISTS_SUBLINK" and has_no_rows(select, judge, row):
        return FALSE
    if link in ("ANY_SUBLINK", "ALL_SUBLINK"):
        if has_no_rows(select, judge, row):
            return Truth(link == "ALL_SUBLINK")
        if link == "ANY_SUBLINK" and answers_itself(fields, select, row):
            return TRUE
    if link == "ANY_SUBLINK" and select.get("op") == "SETOP_UNION":
        arms = [{**fields, "subselect": select[side]} for side in ("larg", "rarg")]
        return TRUE if any(asked(arm, row, judge) is TRUE for arm in arms) else BY_ROW
    if any(key in select for key in _CHOOSING) or any(select.get("distinctClause", ())):
        return BY_ROW
    if number_of(select.get("limitOffset", _ZERO)) != 0:
        return BY_ROW
    limit = select.get("limitCount", _NULL)
    if not is_null(limit):
        if link != "ANY_SUBLINK" or _of_itself(fields, select, row, judge) is not TRUE:
            return BY_ROW
        return TRUE if (number_of(limit) or 0) >= NO_LIMIT else BY_ROW
    if link == "EXISTS_SUBLINK":
        if _has_one_row(select):
            return TRUE
        if "fromClause" not in select:
            where = select.get("whereClause")
            return TRUE if where is None else judge(where, row)
    return _of_itself(fields, select, row, judge)


def _of_itself(fields: Node, select: Node, row: Row, judge: Judge) -> Truth:
    """Of a query over the relation that is changed, which has all its rows."""
    inner = with_itself(select, with_queries(row, select))
    if inner is None or judge(select.get("whereClause", _YES), inner) is not TRUE:
        return BY_ROW
    link = fields.get("subLinkType")
    if link == "EXISTS_SUBLINK":
        return TRUE
    if link != "ANY_SUBLINK" or dotted(fields.get("operName")) not in _REACHING:
        return BY_ROW
    tested, targets = fields.get("testexpr"), [t for _, t in each(select.get("targetList"))]
    values = unwrap(tested)[1].get("args") if unwrap(tested)[0] == "RowExpr" else [tested]
    pairs = zip(values or (), (target.get("val") for target in targets), strict=False)
    reached = all(_has_each(select, value, answer, inner) for value, answer in pairs)
    return TRUE if targets and reached else BY_ROW


def _has_each(select: Node, value: Any, answer: Any, row: Row) -> bool:
    """Whether the query answers with ``value`` of each row: ``max(id) ... GROUP BY id`` as well."""
    if same(value, answer, row):
        return True
    kind, call = unwrap(answer)
    name, arguments = dotted(call.get("funcname")), call.get("args", [])
    if kind != "FuncCall" or not arguments:
        return False
    if name == "unnest":
        inner, gathering = unwrap(arguments[0])
        gathers = inner == "FuncCall" and dotted(gathering.get("funcname")) == "array_agg"
        return gathers and same(value, gathering["args"][0], row)
    groups = call["over"].get("partitionClause") if "over" in call else select.get("groupClause")
    return (
        name in _OF_EACH_GROUP
        and same(value, arguments[0], row)
        and any(same(value, group, row) or _is_place(group) for group in groups or ())
    )


def _is_place(value: Any) -> bool:
    return strings(unwrap(value)[1].get("fields"))[-1:] == ["ctid"]


def as_set(link: Node) -> Node:
    """``(SELECT array_agg(id) FROM t)`` as the query that brings what is in the array."""
    select = fields_of(link.get("subselect"), "SelectStmt")
    values = [target.get("val") for _, target in each(select.get("targetList"))]
    name = [{"String": {"sval": "unnest"}}]
    parts = [{"ResTarget": {"val": {"FuncCall": {"funcname": name, "args": [v]}}}} for v in values]
    return {"SelectStmt": {**select, "targetList": parts}}


def is_count(link: Node) -> bool:
    """``(SELECT count(*) FROM ...)``, which is there and never negative."""
    select = fields_of(link.get("subselect"), "SelectStmt")
    if link.get("subLinkType") != "EXPR_SUBLINK" or not _has_one_row(select):
        return False
    values = [unwrap(target.get("val")) for _, target in each(select.get("targetList"))]
    return [dotted(call.get("funcname")) for _, call in values] == ["count"]


def _has_one_row(select: Node) -> bool:
    """An aggregate without GROUP BY answers whatever it is asked about."""
    if any(key in select for key in (*_CHOOSING, "groupClause", "limitOffset", "limitCount")):
        return False
    values = [unwrap(target.get("val")) for _, target in each(select.get("targetList"))]
    return any(
        kind == "FuncCall" and "over" not in call and dotted(call.get("funcname")) in _SUMMING
        for kind, call in values
    )


def has_no_rows(select: Node, judge: Judge, row: Row = ANY_ROW) -> bool:
    """``SELECT ... WHERE false``, ``LIMIT 0``; a count has a row all the same."""
    if "limitCount" in select and number_of(select["limitCount"]) == 0:
        return True
    if "whereClause" not in select or judge(select["whereClause"], row) is not FALSE:
        return False
    counts = any(nodes(select.get("targetList"), "FuncCall"))
    return "groupClause" in select or not counts
