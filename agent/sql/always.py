"""Calls and operators that answer alike for all rows: ``starts_with(a, '')``, ``id - id = 0``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from agent.sql.same import (
    Row,
    constant_kind,
    matches_all,
    number_of,
    same,
    text_of,
    with_itself,
)
from agent.sql.tree import Node, dotted, each, fields_of, is_null, strings, unwrap

_SYSTEM_COLUMNS = frozenset({"tableoid", "ctid", "xmin", "cmin", "xmax", "cmax"})
_NEVER_NULL = frozenset(
    {"concat", "quote_nullable", "num_nulls", "num_nonnulls", "row_to_json", "json_build_array",
     "json_build_object", "jsonb_build_array", "jsonb_build_object", "random", "clock_timestamp",
     "timeofday", "gen_random_uuid"}
)  # fmt: skip
_BEFORE_ALL_ROWS = re.compile(r"\s*\(\s*0+\s*,\s*(0+|0*1)\s*\)\s*")
"""A row's place: the first one is (0,1)."""
_BEHIND_ALL_ROWS = re.compile(r"\s*\(\s*0*4294967295\s*,\s*\d+\s*\)\s*")
"""No table has that many blocks."""
_ALL_OF_A_RANGE = frozenset({"(,)", "[,)", "(,]", "[,]"})
_PLAIN_PATTERN = re.compile(r"[\w\s.*?|()\[\],-]{1,60}")
_PLACE_OF_TEXT = frozenset({"strpos", "position"})
_POWERS = frozenset({"power", "pow"})
_LENGTHS = frozenset({"length", "char_length", "character_length", "octet_length"})


def is_true_call(call: Node, row: Row) -> bool:
    name, arguments = dotted(call.get("funcname")), call.get("args", [])
    if name == "starts_with" and len(arguments) == 2:
        return is_empty_text(arguments[1]) or same(arguments[0], arguments[1], row)
    if name == "overlaps" and len(arguments) == 4:
        return all(same(arguments[i], arguments[i + 2], row) for i in (0, 1))
    return False


def matches_every(pattern: str | None) -> bool:
    """A regular expression that matches nothing at all matches within every text: ``.*``, ``x?``.
    PostgreSQL reads more signs than Python does, so only plain ones count."""
    if pattern in ("", "^", "$", "^.*", ".*$", "^.*$"):
        return True
    if pattern is None or not _PLAIN_PATTERN.fullmatch(pattern):
        return False
    try:
        return re.fullmatch(pattern, "") is not None
    except re.error:
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
    """``name`` of ``name || ''``, ``'' || name``, ``concat(name, '')`` and ``(SELECT name)``."""
    kind, fields = unwrap(value)
    if kind == "SubLink" and fields.get("subLinkType") == "EXPR_SUBLINK":
        rows = list(answers(fields_of(fields.get("subselect"), "SelectStmt")))
        return stripped(rows[0][0]) if len(rows) == 1 and len(rows[0]) == 1 else value
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
    if kind == "FuncCall":
        return _fixed_call(fields, sign)
    if kind != "A_Expr" or fields.get("kind") != "AEXPR_OP" or "lexpr" not in fields:
        return None
    left, right = fields["lexpr"], fields.get("rexpr")
    match dotted(fields.get("name")):
        case "-" if same(left, right, row):
            return 0.0
        case "#" if same(left, right, row):
            return 0.0
        case "/" if same(left, right, row):
            return 1.0
        case "%" if sign == "=" and constant_kind(right) == "number" and number_of(right) == 1:
            return 0.0
        case "*" | "&" if sign == "=":
            numbers = [side for side in (left, right) if constant_kind(side) == "number"]
            return 0.0 if len(numbers) == 1 and number_of(numbers[0]) == 0 else None
    return None


def _fixed_call(call: Node, sign: str) -> float | None:
    """``power(id, 0)``, ``length(md5(name))``."""
    name, arguments = dotted(call.get("funcname")), call.get("args", [])
    if name in _POWERS and len(arguments) == 2 and sign == "=":
        is_zero = constant_kind(arguments[1]) == "number" and number_of(arguments[1]) == 0
        return 1.0 if is_zero else None
    if name in _LENGTHS and len(arguments) == 1:
        kind, inner = unwrap(arguments[0])
        return 32.0 if kind == "FuncCall" and dotted(inner.get("funcname")) == "md5" else None
    return None


def has_each_sign(value: Any, items: Sequence[Any]) -> bool:
    """``sign(id) IN (-1, 0, 1)``."""
    kind, call = unwrap(value)
    if kind != "FuncCall" or dotted(call.get("funcname")) != "sign":
        return False
    return {-1.0, 0.0, 1.0} <= {number_of(each) for each in items}


def is_whole_row_as_text(value: Any, sign: str, end: Any, row: Row) -> bool:
    """``o::text <> ''`` of ``orders o``: a row is written with its parentheses. A column may be
    called like its table, so a table's own name does not count."""
    kind, cast = unwrap(value)
    if kind != "TypeCast" or sign not in ("<>", ">", ">=") or not is_empty_text(end):
        return False
    kind, column = unwrap(cast.get("arg"))
    path = strings(column.get("fields"))
    own = row.names - {row.relation.rpartition(".")[2]}
    return kind == "ColumnRef" and len(path) == 1 and len(column["fields"]) == 1 and path[0] in own


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
    column, named = unwrap(left)
    if column == "TypeCast" and strings(named.get("typeName"))[-1:] == ["regclass"]:
        column, named = unwrap(named.get("arg"))
    if kind != "TypeCast" or column != "ColumnRef" or not row.relation:
        return False
    if strings(named.get("fields"))[-1:] != ["tableoid"]:
        return False
    if strings(cast.get("typeName"))[-1:] != ["regclass"]:
        return False
    said = (text_of(cast.get("arg")) or "").replace('"', "")
    own = {row.relation, row.relation.rpartition(".")[2]}
    return said in own or said.rpartition(".")[2] == row.relation


def is_real_place(column: Any, sign: str, end: Any) -> bool:
    """``ctid >= '(0,0)'``, ``tableoid > 0``: true of each row that there is."""
    name = strings(unwrap(column)[1].get("fields"))[-1:]
    if name == ["ctid"] and sign in ("<", "<="):
        return _BEHIND_ALL_ROWS.fullmatch(text_of(end) or "") is not None
    if name == ["ctid"] and sign in (">", ">=", "<>"):
        place = _BEFORE_ALL_ROWS.fullmatch(text_of(end) or "")
        return place is not None and (sign == ">=" or not int(place[1]))
    if name == ["tableoid"] and sign in (">", ">=", "<>"):
        return number_of(end) == 0
    return sign == ">=" and constant_kind(end) == "text" and is_empty_text(end)


def is_never_null(kind: str, fields: Node) -> bool:
    if kind == "ColumnRef":
        return not _SYSTEM_COLUMNS.isdisjoint(strings(fields.get("fields"))[-1:])
    if kind == "CoalesceExpr":
        return any(constant_kind(argument) for argument in fields.get("args", []))
    return kind == "A_ArrayExpr" or (
        kind == "FuncCall" and dotted(fields.get("funcname")) in _NEVER_NULL
    )


def is_like_itself(value: Any, pattern: Any, row: Row) -> bool:
    """``LIKE '%'``, ``note LIKE note``, ``note LIKE '%' || note``."""
    parts = list(_parts(pattern))
    own = [part for part in parts if same(part, value, row)]
    others = [part for part in parts if not same(part, value, row)]
    if len(own) > 1 or not all(is_empty_text(part) or matches_all(part) for part in others):
        return False
    return bool(own) or any(matches_all(part) for part in others)


def _parts(value: Any) -> Iterator[Any]:
    """What is joined to one text."""
    kind, fields = unwrap(value)
    if kind == "A_Expr" and dotted(fields.get("name")) == "||" and "lexpr" in fields:
        yield from _parts(fields["lexpr"])
        yield from _parts(fields.get("rexpr"))
    elif kind == "FuncCall" and dotted(fields.get("funcname")) == "concat":
        for argument in fields.get("args", []):
            yield from _parts(argument)
    else:
        yield value


def contains_all(whole: Any, part: Any) -> bool:
    """``ARRAY[id] @> '{}'``, ``'(,)'::int4range @> id``. In JSON '{}' is in objects alone, so one
    side has to be an array beyond doubt."""
    if "A_ArrayExpr" in (_uncast(whole)[0], _uncast(part)[0]):
        return is_empty_array(part)
    return is_all_of_a_range(whole)


def is_empty_range(value: Any) -> bool:
    """``int4range(1, 1)``, ``'empty'::daterange``: nothing is in it."""
    kind, fields = unwrap(value)
    if kind == "TypeCast":
        return (text_of(value) or "").strip().lower() == "empty"
    arguments = fields.get("args", [])
    if kind != "FuncCall" or not dotted(fields.get("funcname")).endswith("range"):
        return False
    low, high = (number_of(one) for one in arguments) if len(arguments) == 2 else (None, None)
    return low is not None and low == high


def is_all_of_a_range(value: Any) -> bool:
    return unwrap(value)[0] == "TypeCast" and text_of(value) in _ALL_OF_A_RANGE


def _uncast(value: Any) -> tuple[str, Node]:
    kind, fields = unwrap(value)
    return _uncast(fields.get("arg")) if kind == "TypeCast" else (kind, fields)


def answers(select: Node) -> Iterator[list[Any]]:
    """The rows of VALUES, or the one of a SELECT without FROM."""
    if set(select) - {"valuesLists", "targetList", "limitOption", "op"}:
        return
    for _, values in each(select.get("valuesLists")):
        yield values.get("items", [])
    if "targetList" in select:
        yield [target.get("val") for _, target in each(select["targetList"])]


def answers_itself(fields: Node, select: Node, row: Row) -> bool:
    """``id IN (VALUES (t.id))``, ``id IN (SELECT t.id)``: a query without FROM."""
    if dotted(fields.get("operName")) not in ("", "="):
        return False
    tested = fields.get("testexpr")
    return any(len(values) == 1 and same(tested, values[0], row) for values in answers(select))


def is_outermost(link: Node, value: Any, sign: str, row: Row) -> bool:
    """``id >= (SELECT min(id) FROM the same)``."""
    select = fields_of(link.get("subselect"), "SelectStmt")
    wanted = {">=": "min", "<=": "max"}.get(sign)
    if wanted is None or set(select) - {"targetList", "fromClause", "limitOption", "op"}:
        return False
    inner = with_itself(select, row)
    targets = [target.get("val") for _, target in each(select.get("targetList"))]
    kind, call = unwrap(targets[0]) if len(targets) == 1 else ("", {})
    if inner is None or kind != "FuncCall" or dotted(call.get("funcname")) != wanted:
        return False
    return set(call) <= {"funcname", "args", "funcformat", "location"} and same(
        call["args"][0], value, inner
    )


def is_every_boolean(value: Any, sign: str, end: Any) -> bool:
    """``(id < 10) >= false``: whatever is compared is one of the two."""
    constant = unwrap(end)[1]
    if sign not in (">=", "<=") or "boolval" not in constant:
        return False
    return bool(constant["boolval"].get("boolval")) is (sign == "<=")


def is_comparison(value: Any) -> bool:
    """``id = 1``: null only where the column is, and who asks for that writes ``id IS NULL``. With
    ``transform_null_equals`` that is what ``id = NULL`` asks."""
    kind, fields = unwrap(value)
    sides = fields.get("lexpr"), fields.get("rexpr")
    return (
        kind == "A_Expr"
        and fields.get("kind") == "AEXPR_OP"
        and dotted(fields.get("name")) in ("=", "<>", "<", ">", "<=", ">=")
        and any(constant_kind(side) or is_null(side) for side in sides)
    )


def is_by_chance(call: Node, sign: str, end: Any) -> bool:
    """``random() < 2``: it is below 1, and never negative."""
    if dotted(call.get("funcname")) != "random" or call.get("args"):
        return False
    number = number_of(end) if sign in ("<", "<=", ">", ">=", "<>") else None
    if number is None:
        return False
    above, below = number >= 1, number < 0 or (number == 0 and sign == ">=")
    return {"<": above, "<=": above, ">": below, ">=": below, "<>": above or number < 0}[sign]
