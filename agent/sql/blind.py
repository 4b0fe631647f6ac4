"""Classifying with closed eyes: which literals of a text does its Shape depend on?

The values of all constants are taken out of the parse tree, and what stands in their place refuses
to be looked at. Facts that come about nevertheless are those of every text with the same skeleton.
A value that was asked for (``1 = 1``, ``'x' = 'x'``, ``set_config('role', ...)``) is put back and
counts as decisive: a Shape holds only for texts that share it.

Why this is enough: a literal is left out of the skeleton only where it is a token of the scanner
and became a constant node of the tree, each exactly once. The grammar looks at no such value; where
it does (``float(25)``, ``UESCAPE '!'``, column numbers in DDL) it leaves no constant, and the text
is refused. redact.py shows every such token as ``?`` and no comment, and libpg_query's fingerprint
leaves out constants.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from agent.sql.classify import Parse, classify
from agent.sql.facts import Facts
from agent.sql.redact import Token
from agent.sql.skeleton import Literal, has_skeleton, literals_in
from agent.sql.tree import Node, unwrap

MAX_LITERALS = 500
MAX_DECISIVE = 6
"""Each costs another pass over the tree."""

_STATEMENTS = frozenset(
    {"SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "TransactionStmt"}
)
"""Other statements have grammar rules that look at values (roles, options, column numbers)."""
_VALUES = {
    "ICONST": ("ival", 0), "FCONST": ("fval", ""), "SCONST": ("sval", ""), "boolean": ("boolval", 0)
}  # fmt: skip
_COMMENTS = frozenset({"C_COMMENT", "SQL_COMMENT"})
_WATCHED = frozenset({"ICONST", "FCONST", "SCONST", "ASCII_45"}) | _COMMENTS


class LiteralReadError(Exception):
    """A decision is about to depend on a literal's value."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index


class _Unseen:
    """Stands for any value. Whatever is asked of it is a LiteralReadError, or a TypeError where
    Python knows no answer for a plain object."""

    __slots__ = ("_index",)

    def __init__(self, index: int) -> None:
        self._index = index

    def _refuse(self, *_: object) -> NoReturn:
        raise LiteralReadError(self._index)

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __hash__ = _refuse
    __bool__ = __len__ = __iter__ = __contains__ = __getitem__ = _refuse
    __str__ = __repr__ = __format__ = __float__ = __int__ = __index__ = _refuse
    __add__ = __radd__ = __getattr__ = _refuse


class _Constant:
    """The value of one literal in the tree."""

    def __init__(self, holder: Node, key: str) -> None:
        self._holder = holder
        self._key = key
        self._value = holder[key]

    def hide(self, index: int) -> None:
        self._holder[self._key] = _Unseen(index)

    def show(self) -> None:
        self._holder[self._key] = self._value


def classify_blind(
    text: str, tokens: Sequence[Token], tree: Node, parse: Parse
) -> tuple[Facts, tuple[int, ...]] | None:
    """Facts of ``text``, and the indices of its literals that they depend on.

    None where nothing can be promised; ``tree`` is as before then.
    """
    constants = _constants(text, tokens, tree)
    if constants is None:
        return None
    hidden = {index: constant for index, constant in enumerate(constants) if constant}
    for index, constant in hidden.items():
        constant.hide(index)
    decisive: list[int] = []
    try:
        while len(decisive) <= MAX_DECISIVE:
            try:
                facts = classify(tree, parse)
            except LiteralReadError as error:
                hidden.pop(error.index).show()
                decisive.append(error.index)
                continue
            except (TypeError, AttributeError):
                return None
            # The digest of what holds a password is not that of the text.
            return None if "password" in facts.flags else (facts, tuple(sorted(decisive)))
        return None
    finally:
        for constant in hidden.values():
            constant.show()


def _constants(text: str, tokens: Sequence[Token], tree: Node) -> list[_Constant | None] | None:
    """One for each literal, None for a comment; None altogether where one is not what it seems."""
    kinds = {unwrap(statement.get("stmt"))[0] for statement in tree.get("stmts", [])}
    data = text.encode()
    if not kinds <= _STATEMENTS or not has_skeleton(data):
        return None
    literals = list(literals_in(data))
    if not 0 < len(literals) <= MAX_LITERALS:
        return None
    before = _tokens_by_start(text, tokens)
    nodes = _nodes_by_location(tree)
    constants: list[_Constant | None] = []
    for literal in literals:
        name, end, sign = before.get(literal.start, ("", 0, -1))
        if (name, end) != (literal.kind, literal.end):
            return None
        if name == "C_COMMENT":
            constants.append(None)
            continue
        constant = _constant_of(literal, nodes, sign)
        if constant is None:
            return None
        constants.append(constant)
    return constants


def _tokens_by_start(text: str, tokens: Sequence[Token]) -> dict[int, tuple[str, int, int]]:
    """Name, end and the start of a minus sign before it (or -1) of each literal, by start; the
    scanner counts characters, this counts bytes."""
    found: dict[int, tuple[str, int, int]] = {}
    sign = -1
    at_char = at_byte = 0
    is_ascii = text.isascii()
    for token in tokens:
        name = token.name
        if name not in _WATCHED:
            sign = -1
            continue
        start, end = token.start, token.end + 1
        if not is_ascii:
            start_char, end_char = start, end
            start = at_byte + len(text[at_char:start_char].encode())
            end = start + len(text[start_char:end_char].encode())
            at_char, at_byte = end_char, end
        found[start] = (name, end, sign)
        if name not in _COMMENTS:
            sign = start if name == "ASCII_45" else -1
    return found


def _constant_of(literal: Literal, nodes: dict[int, list[Node]], sign: int) -> _Constant | None:
    """The grammar takes a minus sign into the constant, which then begins there."""
    found = nodes.get(literal.start, [])
    if not found and literal.kind != "SCONST":
        found = nodes.get(sign, [])
    key, _ = _VALUES[literal.kind]
    if len(found) != 1 or key not in found[0]:
        return None
    return _Constant(found[0][key], key)


def _nodes_by_location(tree: Node) -> dict[int, list[Node]]:
    """All constants. Zero and the empty string, which the JSON leaves out, are put in: else a
    comparison could tell them from other values by their form."""
    found: dict[int, list[Node]] = {}
    for node in _constant_nodes(tree):
        for key, default in _VALUES.values():
            if key in node:
                node[key].setdefault(key, default)
        found.setdefault(node.get("location", 0), []).append(node)
    return found


def _constant_nodes(tree: Node) -> list[Node]:
    found: list[Node] = []
    rest: list[Any] = [tree["stmts"]]
    while rest:
        item = rest.pop()
        for value in item if type(item) is list else item.values():
            if type(value) is list:
                rest.append(value)
            elif type(value) is dict:
                constant = value.get("A_Const")
                if constant is not None:
                    found.append(constant)
                elif "String" not in value:
                    rest.append(value)
    return found
