"""What the server numbers: an object keeps its number under another name, and a new one gets a new
one. It stands in the detail of an item, for it is of one server alone and is never compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

PARTS = (("column", "columns"), ("constraint", "constraints"))
"""Beginnings of lines, and the rows' columns with the numbers of these lines in their order."""


def numbers(row: Mapping[str, Any]) -> str:
    """``oid 16384; column 1-3,5; constraint 16390``: the first line of a column has the number 1,
    the fourth the number 5. Empty for what has no number.

    >>> numbers({"oid": 16384, "columns": [1, 2, 3, 5], "constraints": [16390]})
    'oid 16384; column 1-3,5; constraint 16390'
    >>> numbers({"oid": 16391}), numbers({})
    ('oid 16391', '')
    """
    if not row.get("oid"):
        return ""
    parts = [f"oid {row['oid']}"]
    for word, column in PARTS:
        if of_lines := row.get(column):
            parts.append(f"{word} {_ranges(of_lines)}")
    return "; ".join(parts)


def _ranges(numbers: Sequence[int]) -> str:
    """Thousands of columns in a few words: where none was dropped they follow on each other."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][-1] + 1:
            found[-1] = [found[-1][0], number]
        else:
            found.append([number])
    return ",".join(_range(each) for each in found)


def _range(ends: Iterable[int]) -> str:
    return "-".join(map(str, ends))
