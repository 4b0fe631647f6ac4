"""The schemas that a session looks for names in, as SET search_path says them.

Values of settings stay on the host as any literal does. These are names of schemas, which stand in
the catalog's snapshots and in many statements: without them nobody can tell whose table it is that
a statement names without a schema.
"""

from __future__ import annotations

import re

SETTING = "search_path"
PATH, LOCAL = "search path", "search path of the transaction"
MOST_SCHEMAS, MOST_NAME = 20, 63
_SPACE = rb"(?:\s|/\*[^*]*\*/|--[^\n]*\n)*"
_PLAIN = rb"[a-z_][a-z0-9_$]*"
_ELEMENT = rb"(?:[A-Za-z_][\w$]*|\"(?:%b|\$user)\"|'%b')" % (_PLAIN, _PLAIN)
_LIST = rb"%b(?:\s*,\s*%b)*" % (_ELEMENT, _ELEMENT)
_INNER = rb"(?:%b(?:\s*,\s*%b)*)" % (_PLAIN, _PLAIN)
_WAYS = (
    rb"SET\s+(?:SESSION\s+|(?P<local>LOCAL)\s+)?search_path(?:\s*=\s*|\s+TO\s+)(?P<list>%b)"
    % _LIST,
    rb"SET\s+(?:SESSION\s+|(?P<local>LOCAL)\s+)?SCHEMA\s+(?P<list>'%b')" % _PLAIN,
    rb"SELECT\s+(?:pg_catalog\s*\.\s*)?set_config\s*\(\s*'search_path'\s*,\s*'(?P<list>%b)'\s*,"
    rb"\s*(?:false|(?P<local>true))\s*\)" % _INNER,
)
_FIRST = [
    re.compile(rb"%b%b\s*(?:;|\Z)" % (_SPACE, way), re.IGNORECASE | re.DOTALL) for way in _WAYS
]
_AGAIN = re.compile(rb"search_path|set_config|\bschema\s*'|\breset\b|\bdiscard\b", re.IGNORECASE)


def told(text: bytes) -> str:
    """As an entry of ``objects``; empty where a text says it in another way, or not before anything
    else, or more than once.

    >>> told(b'set search_path to Hr, "$user"; GRANT SELECT ON t TO x')
    'search path:hr, $user'
    >>> told(b"SET LOCAL search_path = hr"), told(b"SET search_path TO DEFAULT")
    ('search path of the transaction:hr', '')
    >>> told(b"SELECT set_config('search_path', 'a, b', false)")
    'search path:a, b'
    """
    found = next((match for way in _FIRST if (match := way.match(text))), None)
    if found is None or _AGAIN.search(text, found.end()):
        return ""
    words = [word.strip() for word in found["list"].split(b",")]
    names = [word.strip(b"\"'").decode().lower() for word in words]
    if b"default" in {word.lower() for word in words} or len(names) > MOST_SCHEMAS:
        return ""
    if any(len(name) > MOST_NAME for name in names):
        return ""
    return f"{LOCAL if found['local'] else PATH}:{', '.join(names)}"
