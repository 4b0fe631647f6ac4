"""What is secret in a URL, so that it can be found where it stands without the rest of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, unquote, urlsplit

LONG = 20
"""A part of a path that is as long is no word."""
SHORTEST_WITH_DIGIT = 8
_TELLING = re.compile(r"key|tok|pass|pwd|secret|sig|auth|code|cred", re.IGNORECASE)


def secrets_in(url: str) -> Iterator[str]:
    """Password, what a query calls a key or a token, and parts of the path that are no words: a
    chat's webhook has nothing else. ``services`` and ``critical`` stay, or no log could be read."""
    try:
        parts = urlsplit(url)
        user, password = parts.username or "", parts.password or ""
    except ValueError:
        return
    if password:
        yield from (password, unquote(password), unquote(f"{user}:{password}"))
    elif user:
        yield from (user, unquote(user))
    for name, value in parse_qsl(parts.query):
        if _TELLING.search(name) or _is_no_word(value):
            yield value
    for each in (*parts.path.split("/"), parts.fragment):
        if _is_no_word(unquote(each)):
            yield from (each, unquote(each))


def _is_no_word(text: str) -> bool:
    has_digit = any(character.isdigit() for character in text)
    return len(text) >= (SHORTEST_WITH_DIGIT if has_digit else LONG)
