"""Where the statements of one string end, so that each is told by the comment within its own part.

Not a parser: where its answer may be wrong (a body of BEGIN ATOMIC, a long text) there is none.
"""

from __future__ import annotations

import re
from functools import lru_cache

MAX_BYTES = 1 << 14
"""A longer one is not gone through: who asks may hold a backend meanwhile."""
KEPT = 16
_TOKEN = re.compile(
    rb"""(?P<comment>/\*) | (?P<line>--[^\r\n]*)
    | [eE]'(?:[^'\\]|\\.|'')*'? | '[^']*'? | "[^"]*"?
    | (?P<dollar>\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$).*?(?:(?P=dollar)|\Z)
    | [A-Za-z0-9_\x80-\xff][A-Za-z0-9_$\x80-\xff]*
    | [^\s]""",
    re.X | re.S,
)
"""What is not closed goes on to the end: no text is gone over twice."""
_COMMENT_MARK = re.compile(rb"/\*|\*/")
_ATOMIC = re.compile(rb"\batomic\b", re.IGNORECASE)


def own_part(text: bytes, number: int) -> bytes:
    """The statement with this number, from 1, with the comments before and behind it; empty where
    it is not known, or alone."""
    if not number or len(text) > MAX_BYTES or b";" not in text:
        return b""
    parts = _parts(text)
    return parts[number - 1] if 1 < len(parts) >= number else b""


@lru_cache(KEPT)
def _parts(text: bytes) -> tuple[bytes, ...]:
    if _ATOMIC.search(text):
        return ()
    parts: list[bytes] = []
    begun = at = depth = 0
    holds = False
    while token := _TOKEN.search(text, at):
        at = token.end()
        if token["comment"]:
            at = _behind_comment(text, at)
        elif token[0] == b";" and depth <= 0:
            if holds:  # what is empty is no statement
                parts.append(text[begun : token.start()])
            begun, holds = at, False
        elif token["line"] is None:
            depth += (token[0] == b"(") - (token[0] == b")")  # a rule has several in parentheses
            holds = True
    return (*parts, text[begun:]) if holds else tuple(parts)


def _behind_comment(text: bytes, at: int) -> int:
    """PostgreSQL's comments nest."""
    open_comments = 1
    while open_comments:
        mark = _COMMENT_MARK.search(text, at)
        if mark is None:
            return len(text)
        open_comments += 1 if mark[0] == b"/*" else -1
        at = mark.end()
    return at
