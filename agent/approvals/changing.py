"""Which statements may have changed what a grant is about, as their words go. Pure.

A statement that defines something begins with the word that says so; what a function or DO block
runs by itself is told as a statement of its own. So a text is cut into its tokens, without strings
and comments, and only what begins so counts. Who asks must not wait, so no parser is asked; the
catalog, which is asked beside this, has the last word.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from model.approval import Grant

MAX_BYTES = 64 << 10
"""Longer texts are not cut into tokens: the thread that asks has others to look after."""
_CHANGES = re.compile(rb"\b(?:alter|drop|create|rename)\b", re.IGNORECASE)
_ESCAPED_NAME = re.compile(rb"\bu&\"", re.IGNORECASE)
"""A name written in escapes may be any name."""
_TOKEN = re.compile(
    rb"""
      (?P<skipped> [\s]++ | --[^\n\r]*+ | /\*(?:[^*/]++|\*(?!/)|/(?!\*))*+\*/
        | '[^']*+' | \$(?P<tag>(?:[a-z_\x80-\xff][\w\x80-\xff]*+)?)\$(?s:.)*?\$(?P=tag)\$ )
    | (?P<quoted> "(?:[^"]++|"")*+" )
    | (?P<word> [a-z_\x80-\xff][\w$\x80-\xff]*+ )
    | (?P<broken> ['"$\\] | /\* )
    | (?: [0-9]++[\w$.]*+ | (?s:.) )
    """,
    re.VERBOSE | re.IGNORECASE,
)
_DEFINING = frozenset((b"alter", b"drop", b"create"))
_RUNNING = frozenset((b"do", b"execute", b"call"))
"""What these run may stand in their strings."""
_MAKING = re.compile(
    rb"create (?:or replace )?(?:(?:global|local|temp|temporary|unlogged|recursive|foreign"
    rb"|materialized) )*(?:table|view)\b"
)
"""What is made of a query changes nothing that the query reads."""


def may_change(text: bytes, grant: Grant) -> bool:
    """A relation's or function's own name counts in any schema, for a search path may lead there;
    the schema's name where the schema itself is changed."""
    if not _CHANGES.search(text):
        return False
    full = [_plain(name) for name in (*grant.relations, *grant.functions)]
    names = {name for each in full for name in (each, each.rpartition(b".")[2]) if name}
    schemas = {name.rpartition(b".")[0] for name in full} - {b""}
    escaped = bool(_ESCAPED_NAME.search(text))
    if len(text) > MAX_BYTES or (statements := _statements(text)) is None:
        return escaped or _names_one(text, names | schemas)
    for statement in statements:
        if statement[0] in _RUNNING:
            if escaped or _names_one(text, names | schemas):
                return True
        elif _DEFINING.intersection(statement[:1] if statement[0] != b"explain" else statement):
            about = _unquoted(_targets(statement))
            if escaped or not names.isdisjoint(about):
                return True
            if statement[1:2] == [b"schema"] and not schemas.isdisjoint(about):
                return True
    return False


def _plain(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape").lower()  # ASCII alone, as the tokens


def _names_one(text: bytes, names: Collection[bytes]) -> bool:
    """As a whole word, wherever it stands."""
    lower = text.lower()
    return any(
        re.search(rb"(?<![\w$\x80-\xff])" + re.escape(name) + rb"(?![\w$\x80-\xff])", lower)
        for name in names
    )


def _statements(text: bytes) -> list[list[bytes]] | None:
    """The tokens of each, in lower case; None where the end of a string or comment is in doubt."""
    if b"\\" in text and b"'" in text:
        return None  # whether it escapes a quote, a setting decides
    statements: list[list[bytes]] = [[]]
    for token in _TOKEN.finditer(text):
        if token["broken"]:
            return None
        if token["skipped"]:
            continue
        if token[0] == b";":
            statements.append([])
        else:
            statements[-1].append(token[0].lower())
    return [statement for statement in statements if statement]


def _targets(statement: list[bytes]) -> Iterable[bytes]:
    if not _MAKING.match(b" ".join(statement[:8])):
        return statement
    return _made(statement)


def _made(statement: list[bytes]) -> Iterator[bytes]:
    """Its name, what it refers to, is a partition of, inherits; not columns, and not the query."""
    depth, before, refers = 0, b"", False
    for token in statement:
        if token == b"(":
            depth += before != b"inherits"
            refers = False
        elif token == b")":
            depth = max(0, depth - 1)
        elif token == b"as" and not depth:
            return
        elif token in (b"references", b","):
            refers = token == b"references"
        elif not depth or refers:
            yield token
        before = token


def _unquoted(tokens: Iterable[bytes]) -> set[bytes]:
    return {
        token[1:-1].replace(b'""', b'"') if token.startswith(b'"') else token for token in tokens
    }
