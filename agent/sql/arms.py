"""Arms of an OR that together leave no row out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agent.sql.same import Row, column_key, constant_kind, number_of, same
from agent.sql.tree import Node, dotted, each

TURNED = {"=": "=", "<>": "<>", "<": ">", ">": "<", "<=": ">=", ">=": "<="}
_TEST_OF = {"NullTest": "nulltesttype", "BooleanTest": "booltesttype"}
_OTHER_TEST = {
    "IS_NULL": "IS_NOT_NULL",
    "IS_TRUE": "IS_NOT_TRUE",
    "IS_FALSE": "IS_NOT_FALSE",
    "IS_UNKNOWN": "IS_NOT_UNKNOWN",
}
FEW, MANY = 8, 500
"""Arms of an OR that are compared with each other."""
_OPPOSITES = {
    ("AEXPR_IN", "<>"): ("AEXPR_IN", "="),
    ("AEXPR_LIKE", "!~~"): ("AEXPR_LIKE", "~~"),
    ("AEXPR_ILIKE", "!~~*"): ("AEXPR_ILIKE", "~~*"),
    ("AEXPR_SIMILAR", "!~"): ("AEXPR_SIMILAR", "~"),
    ("AEXPR_OP", "!~"): ("AEXPR_OP", "~"),
    ("AEXPR_OP", "!~*"): ("AEXPR_OP", "~*"),
    ("AEXPR_NOT_BETWEEN", "NOT BETWEEN"): ("AEXPR_BETWEEN", "BETWEEN"),
    ("AEXPR_DISTINCT", "="): ("AEXPR_NOT_DISTINCT", "="),
}
"""Kind and name of what is true where the other one is not."""


def covers(arguments: Sequence[Any], row: Row) -> bool:
    """``x IS NULL OR x IS NOT NULL``, ``id = 1 OR id <> 1``, ``id > 0 OR id < 5``. Once through
    them: a list of values may be thousands of arms long."""
    tests: dict[str, set[str]] = {}
    ranges: dict[str, list[tuple[str, Any]]] = {}
    negated: list[Any] = []
    compared: list[Node] = []
    for kind, fields in each(arguments):
        if kind in _TEST_OF:
            key = column_key(fields.get("arg"), row)
            tests.setdefault(key, set()).add(str(fields.get(_TEST_OF[kind])))
        elif kind == "A_Expr":
            column, sign, end = _range(fields)
            ranges.setdefault(column_key(column, row), []).append((sign, end))
            compared.append(fields)
        elif kind == "BoolExpr" and fields.get("boolop") == "NOT_EXPR":
            negated += fields["args"]
    tests.pop("", None)
    ranges.pop("", None)
    return (
        any(_OTHER_TEST.get(test) in found for found in tests.values() for test in found)
        or any(_leave_nothing_out(found, row) for found in ranges.values())
        or any(same(one, other, row) for one in negated[:FEW] for other in arguments[:MANY])
        or _has_opposites(compared, row)
    )


def _has_opposites(compared: Sequence[Node], row: Row) -> bool:
    """``name LIKE 'a%' OR name NOT LIKE 'a%'``, ``id IN (1) OR id NOT IN (1)``."""
    negative = [fields for fields in compared if _way(fields) in _OPPOSITES][:FEW]
    return any(
        _way(other) == _OPPOSITES[_way(one)]
        and same(one.get("lexpr"), other.get("lexpr"), row)
        and same(one.get("rexpr"), other.get("rexpr"), row)
        for one in negative
        for other in compared[:MANY]
    )


def _way(fields: Node) -> tuple[str, str]:
    return str(fields.get("kind")), dotted(fields.get("name"))


def _range(fields: Node) -> tuple[Any, str, Any]:
    """What is compared, how, and with what; a constant last."""
    sign = dotted(fields.get("name")) if fields.get("kind") == "AEXPR_OP" else ""
    left, right = fields.get("lexpr"), fields.get("rexpr")
    if sign not in TURNED:
        return None, "", None
    return (right, TURNED[sign], left) if constant_kind(left) else (left, sign, right)


def _leave_nothing_out(ranges: Sequence[tuple[str, Any]], row: Row) -> bool:
    """Of one column."""
    ends: dict[str, list[Any]] = {}
    for sign, end in ranges:
        ends.setdefault(sign, []).append(end)
    others = ends.get("<>", [])
    if others and any(not same(others[0], end, row) for end in others[1:]):
        return True
    pairs = (("=", "<>"), ("<", ">="), ("<=", ">"), ("<=", ">="))
    for one, other in pairs:
        for end in ends.get(one, ())[:MANY]:
            if any(same(end, each_end, row) for each_end in ends.get(other, ())[:FEW]):
                return True
    lows = [number_of(end) for end in (*ends.get(">", ()), *ends.get(">=", ()))]
    highs = [number_of(end) for end in (*ends.get("<", ()), *ends.get("<=", ()))] if lows else []
    known = [[n for n in numbers if n is not None] for numbers in (lows, highs)]
    return all(known) and min(known[0]) < max(known[1])
