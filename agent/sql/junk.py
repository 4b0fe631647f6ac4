"""Numbers with letters right behind them: ``SELECT 1a; SET role = x``.

PostgreSQL 12 to 14 read that as ``1 AS a``, later ones and libpg_query's scanner refuse it. With a
space between them the text means to all what it means to the older ones.
"""

from __future__ import annotations

import re

_START = "[A-Za-z_\u0080-\U0010ffff]"
_TOKEN = re.compile(
    rf"""(?P<comment>/\*.*?(?:\*/|\Z)) | --[^\r\n]*
    | [eE]'(?:[^'\\]|\\.|'')*'? | '[^']*'? | "[^"]*"?
    | (?P<dollar>\$(?:{_START}[\w\u0080-\U0010ffff]*)?\$).*?(?:(?P=dollar)|\Z)
    | {_START}[\w$\u0080-\U0010ffff]*
    | (?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)""",
    re.X | re.S,
)
"""What is not closed goes on to the end: no text is gone over twice."""
_LETTER = re.compile(_START)


def without_junk(text: str) -> str | None:
    """``text`` with those spaces; None where it needs none, or has a comment within a comment."""
    parts: list[str] = []
    begun = 0
    for token in _TOKEN.finditer(text):
        if token["comment"] and "/*" in token["comment"][2:]:
            return None
        if token["number"] and _LETTER.match(text, token.end()):
            parts.append(text[begun : token.end()])
            begun = token.end()
    return " ".join((*parts, text[begun:])) if parts else None
