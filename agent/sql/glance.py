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
"""Whatever a rule that denies could be about. Server-side functions and catalogs begin with pg_."""
_DANGEROUS = re.compile(
    rb"(?<![\w$\x80-\xff])(?:(?:%s)(?![\w$\x80-\xff])|pg_)" % b"|".join(_WORDS), re.I
)
_UNCERTAIN = re.compile(rb"--|/\*|[\"$\\]")
_LITERAL = re.compile(rb"'[^']*'")
_UPSERT = re.compile(rb"\bon\s+conflict\b[^;]{0,1000}?\bdo\s+update\b", re.I)


def is_harmless(text: bytes) -> bool:
    """True only where no dangerous word stands outside a plain string.

    Strings are left out only where their ends are beyond doubt: no comment, no quoted name, no
    dollar quoting and no backslash anywhere in the text. What looks dangerous may still be prose
    in a literal; then somebody has to parse it.
    """
    if not _UNCERTAIN.search(text):
        text = _UPSERT.sub(b"", _LITERAL.sub(b"''", text))
    return not _DANGEROUS.search(text)
