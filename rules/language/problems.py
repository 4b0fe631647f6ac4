"""What is wrong with rule files: every problem at once, each with its place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

MOST_SHOWN = 160
"""Characters of a line."""


@dataclass(frozen=True, slots=True)
class Problem:
    """``column`` counts within ``expression`` where there is one, else within the file's line."""

    path: str
    line: int
    column: int
    message: str
    expression: str = ""
    shown: str = ""
    """The file's line, to be shown with a mark."""

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else self.path
        if not self.expression:
            place += f":{self.column}" if self.line and self.column else ""
            if not self.shown:
                return f"{place}: {self.message}"
            return f"{place}: {self.message}:\n    {_marked(self.shown, self.column - 1)}"
        row, column = row_and_column(self.expression, self.column)
        text = self.expression.splitlines()[row] if self.expression.strip() else ""
        return f"{place}: {self.message}, column {column + 1}:\n    {_marked(text, column)}"


class RuleError(Exception):
    """Rules that cannot be used; ``problems`` holds all that is wrong with them."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


def _marked(text: str, column: int) -> str:
    """The part of a line around this character of it, and a mark below that."""
    start = max(0, column - MOST_SHOWN // 2) if len(text) > MOST_SHOWN else 0
    start += len(text[start:column]) - len(text[start:column].lstrip())
    return f"{text[start : start + MOST_SHOWN].rstrip()}\n    {' ' * (column - start)}^"


def row_and_column(text: str, offset: int) -> tuple[int, int]:
    """Both from 0; an offset past the end is the end of the last line."""
    before = text[:offset].split("\n")
    rows = text.splitlines() or [""]
    row = min(len(before), len(rows)) - 1
    return row, min(len(before[-1]), len(rows[row])) if row == len(before) - 1 else len(rows[row])
