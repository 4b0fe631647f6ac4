"""Text from the database is hostile: what a client names itself ends up on somebody's pager."""

import unicodedata

# Cc: controls and ANSI escapes; Cf: bidirectional overrides and zero-width; Cs: lone surrogates,
# which no JSON encoder accepts; Co, Cn: private and unassigned; Zl, Zp: line separators.
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_ELLIPSIS = "..."


def plain(text: str, limit: int) -> str:
    """``text`` on one line, every unsafe character escaped, at most ``limit`` characters.

    >>> plain("psql\\n\\x1b[31mall good", 40)
    'psql\\\\x0a\\\\x1b[31mall good'
    """
    # An escape is never shorter than its character, so a longer prefix cannot be needed.
    escaped = "".join(_escape(character) for character in text[: limit + 1])
    if len(escaped) <= limit:
        return escaped
    return escaped[: max(0, limit - len(_ELLIPSIS))] + _ELLIPSIS[:limit]


def _escape(character: str) -> str:
    if character.isascii() and character.isprintable():
        return character
    if unicodedata.category(character) not in _UNSAFE_CATEGORIES:
        return character
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    if code < 0x10000:
        return f"\\u{code:04x}"
    return f"\\U{code:08x}"
