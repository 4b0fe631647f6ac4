"""What can be said of a text without parsing it: that certain words do not stand in it.

Keywords of PostgreSQL cannot be written with escapes or be split by comments. A text in which the
word DROP occurs nowhere, not even in a literal, does not drop anything at the top level.

Whoever asks has a deadline, and others wait meanwhile: a pattern that looks at each place of a
megabyte in turn takes half a second, and holds the interpreter for all of it. So each word has a
pattern that begins with it, which is as fast as a search for plain bytes, in a text of lower case.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

HARMLESS = "harmless"

_WORDS = (
    b"alter", b"call", b"copy", b"delete", b"do", b"drop", b"execute", b"grant", b"import",
    b"merge", b"prepare", b"reassign", b"revoke", b"truncate", b"update", b"role", b"user",
)  # fmt: skip
_COMMANDS = (b"set", b"reset", b"load", b"create", b"comment", b"security", b"refresh")
"""Columns often have these names; in a list of those a comma or parenthesis follows."""
_CALLS = (b"pg_", b"lo_", b"set_config", b"dblink")
"""How server-side functions and catalogs begin."""
_QUERIES = (b"select", b"table", b"with")
_IN_NAMES = rb"[\w$\x80-\xff]"


def _pattern(word: bytes, behind: bytes) -> re.Pattern[bytes]:
    """``word`` at the beginning of a name; what must not come before it is looked at behind it, so
    that the pattern begins with plain bytes."""
    return re.compile(rb"%s(?<!%s%s)%s" % (word, _IN_NAMES, word, behind))


def _whole(words: Iterable[bytes]) -> tuple[re.Pattern[bytes], ...]:
    return tuple(_pattern(word, rb"(?!%s)" % _IN_NAMES) for word in words)


_DANGEROUS = (
    *_whole(_WORDS),
    *(_pattern(word, rb"(?!%s)(?!\s*+[,)=.])" % _IN_NAMES) for word in _COMMANDS),
    *(_pattern(word, b"") for word in _CALLS),
)
"""Whatever a rule that denies could be about, but reads."""
_QUERYING = _whole(_QUERIES)
_ASKING = (*_QUERYING, *_whole((b"declare",)))
"""What a rule may be about beside that: reads."""


def _beginning(words: Iterable[bytes]) -> re.Pattern[bytes]:
    return re.compile(rb"\s*+(?:%s)(?!%s)" % (b"|".join(words), _IN_NAMES), re.I)


_BEGINS_DANGEROUS = _beginning(word for word in _WORDS if word != b"do")
_BEGINS_ASKING = _beginning((*_QUERIES, b"declare"))
_UNCERTAIN = (b"--", b"/*", b'"', b"$", b"\\")
_UPSERT = re.compile(rb"\bon\s+conflict\b|\bdo\s+update\b(?:\s+set\b)?")


def is_harmless(text: bytes) -> bool:
    """True only where no dangerous word stands outside a plain string.

    Strings are left out only where their ends are beyond doubt: no comment, no quoted name, no
    dollar quoting and no backslash anywhere in the text. What looks dangerous may still be prose
    in a literal; then somebody has to parse it.
    """
    if _BEGINS_DANGEROUS.match(text):
        return False  # the same answer, and at once for a text of any length
    lower = text.lower()
    if not _stands(_DANGEROUS, lower):
        return True  # nowhere: what is a string need not be known
    bare = _without_strings(lower)
    return bare is not None and not _stands(_DANGEROUS, _without_upserts(bare))


def is_plain_data(text: bytes) -> bool:
    """True only for what is nothing but rows to insert, so that nobody has to parse it."""
    if _BEGINS_DANGEROUS.match(text) or _BEGINS_ASKING.match(text):
        return False  # at once: who asks has a deadline
    lower, words = text.lower(), (*_ASKING, *_DANGEROUS)
    if not _stands(words, lower):
        return True
    bare = _without_strings(lower)
    return bare is not None and not _stands(words, bare)


def _stands(words: Iterable[re.Pattern[bytes]], text: bytes) -> bool:
    return any(word.search(text) for word in words)


def _without_strings(text: bytes) -> bytes | None:
    """None where a string's end is in doubt. Of one that has no end, all is left."""
    if any(mark in text for mark in _UNCERTAIN):
        return None
    pieces = text.split(b"'")
    rest = b"" if len(pieces) % 2 else b"'" + pieces.pop()
    return b"''".join(pieces[::2]) + rest


def _without_upserts(text: bytes) -> bytes:
    """Each ON CONFLICT excuses one DO UPDATE behind it in the same statement, where all rows stand
    in the text. In one pass, however often the words stand there: it is a client who wrote them.
    """
    if b"conflict" not in text or _stands(_QUERYING, text):
        return text
    kept, begun, conflict = [], 0, -1
    for word in _UPSERT.finditer(text):
        if word[0][:1] == b"o":
            conflict = word.end()
        elif conflict >= 0:
            excused = text.find(b";", conflict, word.start()) < 0
            conflict = -1
            if excused:
                kept.append(text[begun : word.start()])
                begun = word.end()
    kept.append(text[begun:])
    return b"".join(kept)
