r"""A text without the literals that can stand for each other.

Two texts with one skeleton consist of the same tokens: they differ only inside strings, numbers and
comments of the kinds below. PostgreSQL's scanner works from left to right without looking back, so
when each literal of *one* such text is a token of its own (``blind.py`` asks the scanner), it is in
all of them. That is the proof; what this pattern misreads costs time, never truth.

It runs in the agent on bytes that strangers wrote: every repetition is possessive or counted, so
its time is linear.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

MAX_BYTES = 16 << 10
"""Longer texts are rare, and each would take much room for its skeleton."""

Skeleton = tuple[bytes | None, ...]
"""What lies between the literals, and of which kind each is."""


class Literal(NamedTuple):
    """``text[start:end]``, quotes and comment marks included; ``kind`` is the scanner's name."""

    kind: str
    start: int
    end: int


_LITERAL = re.compile(
    rb"""
    ['"0-9/-](?:                              # a set of bytes first: the search for it is fast
      (?<=[0-9])(?<![\w$.\x80-\xff][0-9])(?:  # not inside a name, a parameter or a number
          (?:(?<=[01])[0-9]{0,9}|[0-9]{0,8})  # below 2,000,000,000: an integer in every grammar
          (?![\w$.'"\x80-\xff])()
        | (?:(?<=[1-9])[0-9]{10,}+|(?<=[3-9])[0-9]{9}|[0-9]*+\.[0-9]++)  # surely none: above 2^31
          (?![\w$.'"\x80-\xff])
      )
    | (?<=')(?<![\w$&'"\x80-\xff]')(?:    # not E'', U&'', B'', X'', N''
          (%*+'(?!'))                       # LIKE '%' and || '' do nothing: they stay
        | [^']*+(?:''[^']*+)*+'()
      )
    | (?<=/)\*[^*/]*+(?:/(?!\*)[^*/]*+)*+\*/()                  # a comment without a star inside
    | (?<=["])([^"]*+"(?:[^'"0-9/-]*+"[^"]*+")*+)               # quoted names are no literals
    | (?<=-)(-[^\r\n]*+)                                        # nor are comments to the line's end
    )""",
    re.VERBOSE,
)
_NUMBER = re.compile(rb"(?<![\w$.'\"\\\x80-\xff])[0-9]+")
_KINDS = {None: "FCONST", 1: "ICONST", 3: "SCONST", 4: "C_COMMENT"}
"""By the pattern's group; the others are what stays in the skeleton."""


def skeleton_of(text: bytes) -> Skeleton | None:
    """None where a text is left to the parser."""
    return tuple(_LITERAL.split(text)) if has_skeleton(text) else None


def has_skeleton(text: bytes) -> bool:
    r"""Not if it is too long, is not UTF-8, or has ``\'``, which ends a string for some servers."""
    if len(text) > MAX_BYTES or b"\\'" in text or b"\0" in text:
        return False
    return text.isascii() or is_utf8(text)


def literals_in(text: bytes) -> Iterator[Literal]:
    """The literals that ``skeleton_of`` leaves out, in order."""
    for match in _LITERAL.finditer(text):
        kind = _KINDS.get(match.lastindex)
        if kind is not None:
            yield Literal(kind, match.start(), match.end())


def only_numbers_vary(text: bytes) -> bool:
    """Whether every number that stands alone in ``text`` is a literal that the skeleton leaves out,
    and nothing else is."""
    numbers = len(_NUMBER.findall(text))
    kinds = [literal.kind for literal in literals_in(text)]
    return len(kinds) == numbers and all(kind in ("ICONST", "FCONST") for kind in kinds)


def is_utf8(text: bytes) -> bool:
    """What is none reaches the parser with other bytes than these."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
