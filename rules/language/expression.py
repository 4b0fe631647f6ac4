"""Names in a CEL expression: which fields it reads, and which it gets wrong.

The CEL library compiles ``statemnt.verb == 1`` without a word and fails on it once a statement
comes by, or never where ``&&`` stops earlier. A rule that silently never matches is worse than one
that does not load, so names are checked here, on the tokens.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from rules.language.cel import literal
from rules.language.schema import VarValue

TOKEN = re.compile(
    r"""
    (?P<space>\s+|//[^\n]*)
  | (?P<string>
        [bB]?[rR] (?: \"{3}.*?\"{3} | '{3}.*?'{3} | "[^"\n]*" | '[^'\n]*' )
      | [bB]? (?: \"{3}(?:\\.|.)*?\"{3} | '{3}(?:\\.|.)*?'{3}
                | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' )
    )
  | (?P<number>\d[\w.]*)
  | (?P<name>[A-Za-z_]\w*)
  | (?P<sign>.)
    """,
    re.VERBOSE | re.DOTALL,
)
MACROS = frozenset({"all", "exists", "exists_one", "map", "filter"})
FUNCTIONS = MACROS | {
    "has", "size", "contains", "startsWith", "endsWith", "matches",
    "int", "uint", "double", "string", "bytes", "type", "dyn", "duration", "timestamp",
}  # fmt: skip
WORDS = frozenset({"true", "false", "null", "in"})
NAME = re.compile(r"[\w.-]+")
OPENING, CLOSING = "([{", ")]}"


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str
    offset: int


@dataclass(frozen=True, slots=True)
class Mistake:
    offset: int
    message: str


@dataclass(frozen=True, slots=True)
class Names:
    """``fields`` are those of the view (``statement.verbs``); ``inlined`` has vars as literals."""

    fields: frozenset[str]
    mistakes: tuple[Mistake, ...]
    inlined: str
    patterns: tuple[Token, ...] = ()
    """String literals given to ``matches``."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a rule set defines by name."""

    variables: Mapping[str, VarValue] = field(default_factory=dict)
    windows: tuple[str, ...] = ()
    data_classes: tuple[str, ...] = ()

    def named_in(self, path: str) -> tuple[str, tuple[str, ...]]:
        """What kind of names a list of the view holds, and which there are."""
        return {
            "time.windows": ("window", self.windows),
            "statement.data_classes": ("data class", self.data_classes),
        }.get(path, ("", ()))


def check_names(
    expression: str, fields: Collection[str], roots: Collection[str], known: Known
) -> Names:
    """``expression`` has compiled, so its tokens are sound."""
    return _Reader(expression, fields, roots, known).read()


def tokens(expression: str) -> list[Token]:
    return [
        Token(str(match.lastgroup), match[0], match.start())
        for match in TOKEN.finditer(expression)
        if match.lastgroup != "space"
    ]


class _Reader:
    def __init__(
        self,
        expression: str,
        fields: Collection[str],
        roots: Collection[str],
        known: Known,
    ) -> None:
        self.expression = expression
        self.known = fields
        self.roots = roots
        self.defined = known
        self.variables = known.variables
        self.tokens = [*tokens(expression), *[Token("end", "", len(expression))] * 4]
        self.fields: set[str] = set()
        self.mistakes: list[Mistake] = []
        self.patterns: list[Token] = []
        self.replaced: list[tuple[int, int, str]] = []
        self.bound: list[tuple[int, str]] = []  # depth of the macro's parenthesis, variable
        self.depth = 0

    def read(self) -> Names:
        for index, token in self._significant():
            if token.kind == "sign":
                self._nest(token)
            elif token.kind == "name" and self._text(index - 1) == ".":
                self._method(index)
            elif token.kind == "name" and token.text not in WORDS:
                self._root(index)
        return Names(
            frozenset(self.fields), tuple(self.mistakes), self._inline(), tuple(self.patterns)
        )

    def _significant(self) -> Iterator[tuple[int, Token]]:
        return enumerate(self.tokens[:-4])

    def _text(self, index: int) -> str:
        return self.tokens[index].text if index >= 0 else ""

    def _nest(self, token: Token) -> None:
        if token.text in OPENING:
            self.depth += 1
        elif token.text in CLOSING:
            self.depth -= 1
            self.bound = [(depth, name) for depth, name in self.bound if depth <= self.depth]

    def _method(self, index: int) -> None:
        token = self.tokens[index]
        if self._text(index + 1) != "(":
            return
        self._function(token)
        if token.text in MACROS and self._text(index + 3) == ",":
            self.bound.append((self.depth + 1, self._text(index + 2)))
        if token.text == "matches" and self.tokens[index + 2].kind == "string":
            self.patterns.append(self.tokens[index + 2])

    def _root(self, index: int) -> None:
        token = self.tokens[index]
        if self._text(index + 1) == "(":
            self._function(token)
        elif any(name == token.text for _, name in self.bound):
            return
        elif token.text in self.roots:
            self._field(index)
        else:
            self._mistake(token, f"unknown variable {token.text!r}", token.text, self.roots)

    def _field(self, index: int) -> None:
        root, name = self.tokens[index], self.tokens[index + 2]
        called = self._text(index + 3) == "("
        if self._text(index + 1) != "." or name.kind != "name" or called:
            self.mistakes.append(
                Mistake(root.offset, f"{root.text!r} alone is no value; write {root.text}.<field>")
            )
            return
        if root.text == "vars":
            self._variable(root, name)
            return
        path = f"{root.text}.{name.text}"
        if path not in self.known:
            siblings = [field for field in self.known if field.startswith(f"{root.text}.")]
            self._mistake(name, f"unknown field {path!r}", path, siblings)
        self.fields.add(path)
        self._member(index, path)

    def _member(self, index: int, path: str) -> None:
        """``'maintenance' in time.windows``: a name that nothing defines would never be there."""
        kind, names = self.defined.named_in(path)
        literal_before = self.tokens[index - 2] if index >= 2 else None
        if not kind or literal_before is None or self._text(index - 1) != "in":
            return
        word = literal_before.text[1:-1]
        if literal_before.kind == "string" and NAME.fullmatch(word) and word not in names:
            self._mistake(literal_before, f"unknown {kind} {word!r}", word, names)

    def _variable(self, root: Token, name: Token) -> None:
        if name.text not in self.variables:
            self._mistake(
                name, f"unknown variable 'vars.{name.text}'", name.text, list(self.variables)
            )
            return
        end = name.offset + len(name.text)
        self.replaced.append((root.offset, end, literal(self.variables[name.text])))

    def _function(self, token: Token) -> None:
        if token.text not in FUNCTIONS:
            self._mistake(token, f"unknown function {token.text!r}", token.text, FUNCTIONS)

    def _mistake(self, token: Token, message: str, word: str, known: Collection[str]) -> None:
        close = get_close_matches(word, sorted(known), n=1)
        there_are = f"known: {', '.join(sorted(known))}" if known else "none is defined"
        hint = f"did you mean {close[0]!r}?" if close else there_are
        self.mistakes.append(Mistake(token.offset, f"{message}; {hint}"))

    def _inline(self) -> str:
        text = self.expression
        for start, end, value in reversed(self.replaced):
            text = text[:start] + value + text[end:]
        return text
