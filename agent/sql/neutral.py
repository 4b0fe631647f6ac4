"""Arithmetic that leaves a number as it is: ``id * 1``, ``id - 0``, ``id | 0``, ``- (- id)``."""

from __future__ import annotations

from typing import Any

from agent.sql.same import Row, constant_kind, number_of, same
from agent.sql.tree import dotted, unwrap

_TO_THE_RIGHT = {
    "+": 0, "-": 0, "*": 1, "/": 1, "^": 1, "|": 0, "#": 0, "&": -1, "<<": 0, ">>": 0
}  # fmt: skip
_TO_THE_LEFT = {"+": 0, "*": 1, "|": 0, "#": 0, "&": -1}
MOST_STEPS = 20


def is_unchanged(value: Any, other: Any, row: Row) -> bool:
    """Whether ``value`` is ``other`` and some arithmetic that comes to nothing. Numbers are looked
    at last: each look makes texts that differ in it differ."""
    numbers: list[tuple[Any, int]] = []
    for _ in range(MOST_STEPS):
        kind, fields = unwrap(value)
        sign = dotted(fields.get("name"))
        if kind != "A_Expr" or fields.get("kind") != "AEXPR_OP":
            return False
        left, right = fields.get("lexpr"), fields.get("rexpr")
        if left is None and sign == "+":
            value = right
        elif left is None:
            inner, negated = unwrap(right)
            if (sign, inner, dotted(negated.get("name"))) != ("-", "A_Expr", "-"):
                return False
            if "lexpr" in negated:
                return False
            value = negated.get("rexpr")
        elif sign in ("|", "&") and same(left, right, row):
            value = left
        elif constant_kind(right) == "number" and sign in _TO_THE_RIGHT:
            numbers.append((right, _TO_THE_RIGHT[sign]))
            value = left
        elif constant_kind(left) == "number" and sign in _TO_THE_LEFT:
            numbers.append((left, _TO_THE_LEFT[sign]))
            value = right
        else:
            return False
        if same(value, other, row):
            return all(number_of(number) == neutral for number, neutral in numbers)
    return False
