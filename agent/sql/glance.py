"""What can be said of a text without parsing it: that certain words do not stand in it.

Keywords of PostgreSQL cannot be written with escapes or be split by comments. A text in which the
word DROP occurs nowhere, not even in a literal, does not drop anything at the top level.
"""

from __future__ import annotations

import re

HARMLESS = "harmless"

_WORDS = (
    b"alter", b"call", b"copy", b"delete", b"do", b"drop", b"execute", b"grant", b"import",
    b"merge", b"prepare", b"reassign", b"revoke", b"truncate", b"update", b"role", b"user",
)  # fmt: skip
_COMMANDS = (b"set", b"reset", b"load", b"create", b"comment", b"security", b"refresh")
"""Columns often have these names; in a list of those a comma or parenthesis follows."""
_CALLS = (b"pg_", b"lo_", b"set_config", b"dblink")
"""How server-side functions and catalogs begin."""
_DANGEROUS = re.compile(
    rb"(?<![\w$\x80-\xff])(?:(?:%s|(?:%s)(?!\s*[,)=.]))(?![\w$\x80-\xff])|%s)"
    % (b"|".join(_WORDS), b"|".join(_COMMANDS), b"|".join(_CALLS)),
    re.I,
)
"""Whatever a rule that denies could be about, but reads."""
_BEGINS_DANGEROUS = re.compile(
    rb"\s*+(?:%s)(?![\w$\x80-\xff])" % b"|".join(word for word in _WORDS if word != b"do"), re.I
)
_ASKING = re.compile(rb"(?<![\w$\x80-\xff])(?:select|table|with|declare)(?![\w$\x80-\xff])", re.I)
"""What a rule may be about beside that: reads."""
_UNCERTAIN = re.compile(rb"--|/\*|[\"$\\]")
_LITERAL = re.compile(rb"'[^']*'")
_QUERYING = re.compile(rb"(?<![\w$\x80-\xff])(?:select|table|with)(?![\w$\x80-\xff])", re.I)
_UPSERT = re.compile(rb"\bon\s+conflict\b|\bdo\s+update\b(?:\s+set\b)?|;", re.I)


def is_harmless(text: bytes) -> bool:
    """True only where no dangerous word stands outside a plain string.

    Strings are left out only where their ends are beyond doubt: no comment, no quoted name, no
    dollar quoting and no backslash anywhere in the text. What looks dangerous may still be prose
    in a literal; then somebody has to parse it.
    """
    if _BEGINS_DANGEROUS.match(text):
        return False  # the same answer, and at once for a text of any length
    bare = _without_strings(text)
    return not _DANGEROUS.search(text if bare is None else _without_upserts(bare))


def is_plain_data(text: bytes) -> bool:
    """True only for what is nothing but rows to insert, so that nobody has to parse it."""
    if _BEGINS_DANGEROUS.match(text):
        return False  # at once: who asks has a deadline
    bare = _without_strings(text)
    bare = text if bare is None else bare
    return not (_DANGEROUS.search(bare) or _ASKING.search(bare))


def _without_strings(text: bytes) -> bytes | None:
    """None where a string's end is in doubt."""
    return None if _UNCERTAIN.search(text) else _LITERAL.sub(b"''", text)


def _without_upserts(text: bytes) -> bytes:
    """Each ON CONFLICT excuses one DO UPDATE behind it in the same statement, where all rows stand
    in the text. In one pass, however often the words stand there: it is a client who wrote them.
    """
    if _QUERYING.search(text):
        return text
    kept, begun, conflict = [], 0, False
    for word in _UPSERT.finditer(text):
        if word[0][:1] in b"oO":
            conflict = True
        elif word[0] == b";":
            conflict = False
        elif conflict:
            conflict = False
            kept.append(text[begun : word.start()])
            begun = word.end()
    kept.append(text[begun:])
    return b"".join(kept)
