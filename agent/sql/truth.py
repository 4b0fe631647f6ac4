"""Whether a condition chooses rows: true for each, for none, alike for all, or different for some.

Nulls are passed over: ``id = id`` is true for every row that has an id. What a value is compared
with is looked at only where the answer may depend on it (see blind.py).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from agent.sql.always import (
    contains_all,
    fixed_number,
    has_each_sign,
    is_all_of_a_range,
    is_bound,
    is_by_chance,
    is_comparison,
    is_empty_array,
    is_empty_range,
    is_empty_text,
    is_every_boolean,
    is_like_itself,
    is_never_null,
    is_outermost,
    is_own_number,
    is_real_place,
    is_true_call,
    is_whole_row_as_text,
    matches_every,
    stripped,
)
from agent.sql.arms import TURNED, covers
from agent.sql.by_row import ALIKE, BY_ROW, FALSE, TRUE, Truth
from agent.sql.negation import negated
from agent.sql.neutral import is_unchanged
from agent.sql.same import (
    ANY_ROW,
    Negative,
    Row,
    constant_kind,
    is_alike,
    number_of,
    same,
    text_of,
)
from agent.sql.selecting import as_set, asked, is_count
from agent.sql.spelled import as_operator, without_escape
from agent.sql.tree import Node, dotted, each, is_null, unwrap

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "=": operator.eq,
    "": operator.eq,  # IS NOT DISTINCT FROM has no operator name
    "<>": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
_CONTAINS = ("@>", "<@")
_NOT_NEGATIVE = frozenset(
    {
        "abs",
        "length",
        "char_length",
        "character_length",
        "octet_length",
        "bit_length",
        "cardinality",
        "strpos",
        "position",
        "num_nulls",
        "num_nonnulls",
        "pg_column_size",
    }
)


def truth(value: Any, row: Row = ANY_ROW) -> bool | None:
    """What a condition is for every row: True (also where it is not known, but alike for all),
    False, or None where it depends on the row."""
    found = judge(value, row)
    return None if found is BY_ROW else found is not FALSE


def judge(value: Any, row: Row = ANY_ROW) -> Truth:
    found = _judge(value, row)
    return ALIKE if found is BY_ROW and is_alike(value, row) else found


def _judge(value: Any, row: Row) -> Truth:
    kind, fields = unwrap(value)
    match kind:
        case "A_Const":
            return _constant(fields)
        case "TypeCast":
            return _judge(fields.get("arg"), row)
        case "BoolExpr":
            return _combined(str(fields.get("boolop")), fields.get("args", []), row)
        case "A_Expr":
            return _comparison(fields, row)
        case "BooleanTest":
            return _boolean_test(fields, row)
        case "NullTest":
            return _null_test(fields, row)
        case "FuncCall":
            spelled = as_operator(fields)
            if spelled is not None:
                return _comparison(spelled, row)
            return TRUE if is_true_call(fields, row) else BY_ROW
        case "SubLink":
            return asked(fields, row, judge)
        case "CoalesceExpr":
            return _coalesce(fields, row)
        case "CaseExpr":
            return _case(fields, row)
    return BY_ROW


def _constant(fields: Node) -> Truth:
    if fields.get("isnull"):
        return FALSE
    if "boolval" in fields:
        return Truth(bool(fields["boolval"].get("boolval")))
    if "ival" in fields:
        return Truth(bool(fields["ival"].get("ival")))
    text = fields.get("sval", {}).get("sval", "").strip().lower()
    if "\\" in text:
        return TRUE  # where standard_conforming_strings is off, '\164' is 't'
    if text and any(word.startswith(text) for word in ("true", "yes", "on", "1")):
        return TRUE
    return FALSE


def _combined(junction: str, arguments: Sequence[Any], row: Row) -> Truth:
    if junction == "NOT_EXPR":
        turned = negated(arguments[0])
        if turned is not None:
            return judge(turned, row)
        found = judge(arguments[0], row)
        return {TRUE: FALSE, FALSE: TRUE}.get(found, found)
    parts = [judge(argument, row) for argument in arguments]
    decisive = TRUE if junction == "OR_EXPR" else FALSE
    if decisive in parts:
        return decisive
    if BY_ROW in parts:
        return TRUE if decisive is TRUE and covers(arguments, row) else BY_ROW
    return ALIKE if ALIKE in parts else FALSE if decisive is TRUE else TRUE


def _comparison(fields: Node, row: Row) -> Truth:
    """``1 = 1``, ``1 < 2``, ``id = id``, ``id IN (7, id)``, ``name LIKE '%'``."""
    kind, sign = fields.get("kind"), dotted(fields.get("name"))
    left, right = fields.get("lexpr"), fields.get("rexpr")
    match kind:
        case "AEXPR_IN":
            return _in(left, unwrap(right)[1].get("items", []), sign, row)
        case "AEXPR_LIKE" | "AEXPR_ILIKE":
            pattern = without_escape(right)
            return TRUE if sign in ("~~", "~~*") and is_like_itself(left, pattern, row) else BY_ROW
        case "AEXPR_SIMILAR" if sign == "~":
            pattern = unwrap(right)[1].get("args", [None])[0]
            return TRUE if is_like_itself(left, pattern, row) else BY_ROW
        case "AEXPR_OP_ALL":
            return TRUE if is_empty_array(right) else BY_ROW
        case "AEXPR_OP_ANY" if sign == "=":
            return TRUE if _has_itself(left, right, row) else BY_ROW
        case "AEXPR_OP_ANY" if sign in ("~~", "~~*"):
            patterns = unwrap(right)[1].get("elements", [])
            return TRUE if any(is_like_itself(left, one, row) for one in patterns) else BY_ROW
        case "AEXPR_BETWEEN":
            low, high = unwrap(right)[1].get("items", [])
            both = _compared(left, low, ">=", row), _compared(left, high, "<=", row)
            return both[0] if both[0] is both[1] else BY_ROW
        case "AEXPR_BETWEEN_SYM":
            ends = unwrap(right)[1].get("items", [])
            return TRUE if any(same(left, end, row) for end in ends) else BY_ROW
        case "AEXPR_NOT_BETWEEN":
            low, high = unwrap(right)[1].get("items", [])
            return TRUE if _compared(low, high, ">", row) is TRUE else BY_ROW
        case "AEXPR_NOT_DISTINCT":
            return _compared(left, right, "", row)
        case "AEXPR_DISTINCT" if is_null(right):
            return _null_test({"arg": left, "nulltesttype": "IS_NOT_NULL"}, row)
        case "AEXPR_DISTINCT":
            found = _compared(left, right, "", row)
            return {TRUE: FALSE, FALSE: TRUE}.get(found, found)
        case "AEXPR_OP" if left is not None:
            if sign in ("~", "~*"):
                all_match = matches_every(text_of(right)) or same(left, right, row)
                return TRUE if all_match else BY_ROW
            if sign == "^@":
                return TRUE if is_empty_text(right) or same(left, right, row) else BY_ROW
            if sign == "&&":
                return TRUE if is_all_of_a_range(left) or is_all_of_a_range(right) else BY_ROW
            if sign in _CONTAINS:
                whole, part = (left, right) if sign == "@>" else (right, left)
                if is_empty_range(whole):
                    return FALSE
                return TRUE if same(left, right, row) or contains_all(whole, part) else BY_ROW
            return _compared(stripped(left), stripped(right), sign, row)
    return BY_ROW


def _compared(left: Any, right: Any, sign: str, row: Row) -> Truth:
    if sign not in _COMPARE:
        return BY_ROW
    if same(left, right, row):
        return Truth(sign in ("", "=", "<=", ">="))
    kinds = constant_kind(left), constant_kind(right)
    if kinds == ("number", "number"):
        a, b = number_of(left), number_of(right)
        return BY_ROW if a is None or b is None else Truth(_COMPARE[sign](a, b))
    if kinds == ("text", "text"):
        return {"=": FALSE, "<>": TRUE}.get(sign, BY_ROW)
    if is_every_boolean(left, sign, right) or is_every_boolean(right, TURNED.get(sign, ""), left):
        return TRUE
    return _shifted(left, right, sign, row)


def _shifted(left: Any, right: Any, sign: str, row: Row) -> Truth:
    """``id < id + 1``, ``id + 0 = id``, ``abs(id) >= 0``."""
    for one, other, compare in ((left, right, sign), (right, left, TURNED.get(sign, sign))):
        kind, call = unwrap(one)
        if kind == "MinMaxExpr" and is_bound(one, other, compare, row):
            return TRUE
        if compare in ("=", "") and is_own_number(one, other, row):
            return TRUE
        if kind == "ColumnRef" and is_real_place(one, compare, other):
            return TRUE
        if is_whole_row_as_text(one, compare, other, row):
            return TRUE
        if kind == "SubLink" and is_outermost(call, other, TURNED.get(compare, ""), row):
            return TRUE
        if kind == "SubLink" and compare == "=" and call.get("subLinkType") == "EXPR_SUBLINK":
            as_any = {**call, "subLinkType": "ANY_SUBLINK", "testexpr": other}
            if asked(as_any, row, judge) is TRUE:
                return TRUE
        if compare in ("", "=", "<=", ">=") and is_unchanged(one, other, row):
            return TRUE
        if kind in ("FuncCall", "A_Expr"):
            fixed = fixed_number(one, compare, row)
            end = None if fixed is None else number_of(other)
            if fixed is not None and end is not None:
                return Truth(_COMPARE[compare](fixed, end))
        base, step = _with_step(other)
        if base is not None and same(one, base, row):
            distance = number_of(step)
            return BY_ROW if distance is None else Truth(_COMPARE[compare](0.0, distance))
        if kind == "FuncCall" and is_by_chance(call, compare, other):
            return TRUE
        if _is_not_negative(kind, call, row):
            least = number_of(other) if compare in (">", ">=", "<>") else None
            if least is not None and (least < 0 or (least == 0 and compare == ">=")):
                return TRUE
    return BY_ROW


def _is_not_negative(kind: str, fields: Node, row: Row) -> bool:
    if kind == "SubLink":
        return is_count(fields)
    if kind == "FuncCall":
        return dotted(fields.get("funcname")) in _NOT_NEGATIVE
    sign = dotted(fields.get("name")) if kind == "A_Expr" else ""
    if "lexpr" not in fields:
        return sign in ("@", "|/")
    return sign == "*" and same(fields["lexpr"], fields.get("rexpr"), row)


def _with_step(value: Any) -> tuple[Any, Any]:
    """``x + 1`` as x and 1; of anything else None. What is subtracted counts with its sign."""
    kind, fields = unwrap(value)
    sign = dotted(fields.get("name")) if kind == "A_Expr" else ""
    if sign not in ("+", "-") or fields.get("kind") != "AEXPR_OP" or "lexpr" not in fields:
        return None, None
    step = fields.get("rexpr")
    if constant_kind(step) != "number":
        return None, None
    return fields["lexpr"], step if sign == "+" else Negative(step)


def _in(left: Any, items: Sequence[Any], sign: str, row: Row) -> Truth:
    found = any(same(item, left, row) for item in items)
    found = found or _has_both(items) or has_each_sign(left, items)
    if sign == "=":
        return TRUE if found else BY_ROW
    return FALSE if found else BY_ROW


def _has_both(items: Sequence[Any]) -> bool:
    """``(id > 5) IN (true, false)``."""
    constants = [fields for kind, fields in each(items) if kind == "A_Const"]
    values = {_constant(fields) for fields in constants if "boolval" in fields}
    return {TRUE, FALSE} <= values


def _has_itself(left: Any, array: Any, row: Row) -> bool:
    kind, fields = unwrap(array)
    if kind == "TypeCast":
        return _has_itself(left, fields.get("arg"), row)
    if kind == "SubLink":
        whole = fields.get("subLinkType") == "ARRAY_SUBLINK"
        query = fields.get("subselect") if whole else as_set(fields)
        link = {"subLinkType": "ANY_SUBLINK", "testexpr": left, "subselect": query}
        return asked(link, row, judge) is TRUE
    elements = fields.get("elements", ()) if kind == "A_ArrayExpr" else ()
    return any(same(one, left, row) for one in elements)


def _boolean_test(fields: Node, row: Row) -> Truth:
    inner, test = judge(fields.get("arg"), row), str(fields.get("booltesttype"))
    if test == "IS_NOT_UNKNOWN" and is_comparison(fields.get("arg")):
        return TRUE
    if inner not in (TRUE, FALSE):
        return BY_ROW
    positive = test == ("IS_TRUE" if inner is TRUE else "IS_FALSE")
    negative = test in (
        ("IS_NOT_FALSE", "IS_NOT_UNKNOWN") if inner is TRUE else ("IS_NOT_TRUE", "IS_NOT_UNKNOWN")
    )
    return Truth(positive or negative)


def _null_test(fields: Node, row: Row) -> Truth:
    """``1 IS NOT NULL``: a constant that is there; ``(x IS NULL) IS NOT NULL``;
    ``nullif(x, x) IS NULL``."""
    kind, tested = unwrap(fields.get("arg"))
    negative = fields.get("nulltesttype") == "IS_NOT_NULL"
    if tested.get("kind") == "AEXPR_NULLIF":
        never = same(tested.get("lexpr"), tested.get("rexpr"), row)
        return Truth(not negative) if never else BY_ROW
    if kind in ("NullTest", "BooleanTest") or is_comparison(fields.get("arg")):
        return Truth(negative)
    if is_never_null(kind, tested):
        return Truth(negative)
    return Truth(bool(tested.get("isnull")) != negative) if kind == "A_Const" else BY_ROW


def _coalesce(fields: Node, row: Row) -> Truth:
    """The first argument that is not null: of a condition on columns nobody knows which."""
    for argument in fields.get("args", []):
        kind, constant = unwrap(argument)
        if kind == "A_Const" and constant.get("isnull"):
            continue
        return judge(argument, row)
    return FALSE


def _case(fields: Node, row: Row) -> Truth:
    results = []
    first = next(each(fields.get("args")), ("", {}))[1]
    if "arg" in fields and same(fields["arg"], first.get("expr"), row):
        return judge(first.get("result"), row)
    if "arg" in fields:
        results = [judge(when.get("result"), row) for _, when in each(fields.get("args"))]
        results.append(judge(fields["defresult"], row) if "defresult" in fields else FALSE)
    else:
        for _, when in each(fields.get("args")):
            condition = judge(when.get("expr"), row)
            if condition is FALSE:
                continue
            results.append(judge(when.get("result"), row))
            if condition is TRUE:
                break
        else:
            results.append(judge(fields["defresult"], row) if "defresult" in fields else FALSE)
    return results[0] if results and len(set(results)) == 1 else BY_ROW
