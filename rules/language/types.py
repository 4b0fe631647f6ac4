"""Comparisons that are false whatever the statement: a list with a number, a text with a list.

The CEL library has no type checker: ``statement.verbs == 3`` compiles and is false for ever.
What is plain to see on the tokens is judged here: fields, constants, literals, sizes, and what
a macro takes out of a list of the view.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rules.language.expression import Mistake, Token, tokens

TEXT, NUMBER, BOOLEAN, LIST = "a text", "a number", "true or false", "a list"
TEXTS = "a list of texts"
"""All lists of the view and of constants are."""
LISTS = frozenset({LIST, TEXTS})
EQUAL, ORDER, IN = frozenset({"==", "!="}), frozenset({"<", "<=", ">", ">="}), "in"
PAIRS = frozenset({"==", "!=", "<=", ">=", "&&", "||"})
BEFORE = frozenset({"", "(", "[", ",", "&&", "||", "?", ":"})
AFTER = frozenset({"", ")", "]", ",", "&&", "||", "?", ":"})
"""What may stand around an operand for it to be the whole of it."""
OF_LISTS = frozenset({"exists", "all", "exists_one", "filter", "map"})


def kind_of(value: object) -> str:
    """The type of a Python value as rules know it."""
    if isinstance(value, bool):
        return BOOLEAN
    if isinstance(value, str):
        return TEXT
    return NUMBER if isinstance(value, int | float) else TEXTS


def check_types(expression: str, kinds: Mapping[str, str]) -> tuple[Mistake, ...]:
    """``kinds``: of each field and constant, by its whole name. Names have been checked."""
    return tuple(_Checker(expression, kinds).mistakes())


class _Checker:
    def __init__(self, expression: str, kinds: Mapping[str, str]) -> None:
        self._kinds = kinds
        self._tokens = list(_joined(tokens(expression)))
        self._bound = dict(self._variables())

    def mistakes(self) -> Iterator[Mistake]:
        for index, token in enumerate(self._tokens):
            if token.text not in EQUAL | ORDER and (token.text, token.kind) != (IN, "name"):
                continue
            left, right = self._before(index), self._after(index)
            if left and right and (message := _never(left, token.text, right)):
                yield Mistake(token.offset, message)

    def _variables(self) -> Iterator[tuple[str, str]]:
        """Of ``statement.verbs.exists(v, ...)`` v is a text. A name that is bound to something else
        as well is left out."""
        found: dict[str, str] = {}
        for index, token in enumerate(self._tokens):
            if token.text in OF_LISTS and self._text(index + 1) == "(":
                name = self._text(index + 2)
                of_list = self._text(index - 1) == "." and self._path(index - 2) == TEXTS
                known = found.get(name, TEXT)
                found[name] = known if of_list and known == TEXT else ""
        yield from found.items()

    def _text(self, index: int) -> str:
        return self._tokens[index].text if 0 <= index < len(self._tokens) else ""

    def _path(self, last: int) -> str:
        """The type of ``root.name`` that ends there."""
        if last < 2 or self._text(last - 1) != "." or self._text(last - 3) == ".":
            return ""
        return self._kinds.get(f"{self._text(last - 2)}.{self._text(last)}", "")

    def _before(self, operator: int) -> str:
        last = operator - 1
        first, kind = last, self._single(last)
        if self._text(last) == ")":
            first, kind = self._size_before(last)
        elif self._text(last) == "]":
            first, kind = self._opening(last), LIST
        elif self._text(last - 1) == ".":
            first, kind = last - 2, self._path(last)
        return kind if self._text(first - 1) in BEFORE else ""

    def _after(self, operator: int) -> str:
        first = operator + 1
        last, kind = first, self._single(first)
        if self._text(first) == "size" and self._text(first + 1) == "(":
            last, kind = self._closing(first + 1), NUMBER
        elif self._text(first) == "[":
            last, kind = self._closing(first), LIST
        elif self._text(first + 1) == "." and (kind := self._path(first + 2)):
            last = first + 2
            if self._text(last + 1) == "." and self._text(last + 2) == "size":
                last, kind = self._closing(last + 3), NUMBER
        return kind if self._text(last + 1) in AFTER else ""

    def _single(self, index: int) -> str:
        token = self._tokens[index] if 0 <= index < len(self._tokens) else Token("end", "", 0)
        if token.kind == "string":
            return TEXT if token.text[0] not in "bB" else ""
        if token.kind == "number":
            return NUMBER
        if token.text in ("true", "false"):
            return BOOLEAN
        return self._bound.get(token.text, "") if token.kind == "name" else ""

    def _size_before(self, last: int) -> tuple[int, str]:
        """``size(x)``, ``statement.reads.size()``; other calls are not known."""
        first = self._opening(last)
        if self._text(first - 1) != "size":
            return first, ""
        if self._text(first - 2) != ".":
            return first - 1, NUMBER
        return first - 5, NUMBER if self._path(first - 3) else ""

    def _opening(self, last: int) -> int:
        return self._partner(last, -1)

    def _closing(self, first: int) -> int:
        return self._partner(first, 1)

    def _partner(self, index: int, step: int) -> int:
        depth = 0
        while 0 <= index < len(self._tokens):
            text = self._text(index)
            depth += (text in ("(", "[", "{")) - (text in (")", "]", "}"))
            if depth == 0:
                return index
            index += step
        return index


def _joined(given: list[Token]) -> Iterator[Token]:
    """With operators of two characters in one piece."""
    rest = iter(range(len(given)))
    for index in rest:
        token = given[index]
        after = given[index + 1] if index + 1 < len(given) else None
        if (
            after is not None
            and token.kind == after.kind == "sign"
            and token.text + after.text in PAIRS
            and after.offset == token.offset + 1
        ):
            next(rest)
            yield Token("sign", token.text + after.text, token.offset)
        else:
            yield token


def _never(left: str, operator: str, right: str) -> str:
    if operator == IN:
        if right not in LISTS:
            return f"'in' looks into a list, and this is {right}"
        return f"{right} never holds {left}" if right == TEXTS and left != TEXT else ""
    if left != right and not {left, right} <= LISTS:
        return f"{left} never equals {right}" if operator in EQUAL else _unordered(left, right)
    return _unordered(left, right) if operator in ORDER and left in LISTS else ""


def _unordered(left: str, right: str) -> str:
    return f"{left} is neither more nor less than {right}"
