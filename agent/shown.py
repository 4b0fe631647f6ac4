"""What of a statement's Shape is sent: mostly all, and for five commands a little more.

PREPARE TRANSACTION, COMMIT PREPARED and ROLLBACK PREPARED name a transaction by a literal, which
stays on the host. What goes is a short hash under a key that stays too: the same at both ends, so
that who prepared is known whoever ends it, from whichever session. Of ALTER SYSTEM see
``agent/catalog/items/system_value.py``, of SET search_path ``agent/search_path.py``.
"""

import hmac
import re
from collections.abc import Callable
from dataclasses import replace

from agent import search_path
from agent.catalog.items import system_value
from model.statement import Shape

Shown = Callable[[Shape, bytes], Shape]
"""A statement's Shape and its text, as captured -> the Shape that is sent."""

OPERATIONS = frozenset(("prepare transaction", "commit prepared", "rollback prepared"))
NO_SUCH_ROLE = ("22023", "42704")
PREPARE = "prepare transaction"
OBJECT = "prepared transaction"
HASH_HEX = 16
_PURPOSE = b"prepared transaction:"
_SPACE = rb"(?:\s|/\*[^*]*\*/|--[^\n]*\n)*"
_NAME = rb"'((?:[^'\\]|'')*)'[\s;]*%b" % _SPACE
_STATEMENT = re.compile(
    rb"%b(?:PREPARE\s+TRANSACTION|(?:COMMIT|ROLLBACK)\s+PREPARED)\s*%b" % (_SPACE, _NAME),
    re.IGNORECASE,
)
"""Alone in its string, the name in plain quotes; what is written otherwise has no hash."""
_AT_THE_END = re.compile(rb";%bPREPARE\s+TRANSACTION\s*%b\Z" % (_SPACE, _NAME), re.IGNORECASE)
"""``BEGIN; GRANT ...; PREPARE TRANSACTION 'x'``; the two that end one stand alone always."""


def as_it_is(shape: Shape, text: bytes) -> Shape:
    return shape


def shown_with(key: bytes, *, catalog_key: bytes = b"", full_text: bool = False) -> Shown:
    """``catalog_key``: of the hashes in snapshots; empty: none are made. With ``full_text`` no
    literal is hidden."""

    def shown(shape: Shape, text: bytes) -> Shape:
        names_one = shape.operation in OPERATIONS or PREPARE in shape.verbs
        if names_one and (name := prepared_name(key, text)):
            shape = replace(shape, objects=(*shape.objects, f"{OBJECT}:{name}"))
        if catalog_key and shape.summary == "ALTER SYSTEM":
            shape = _with_value(shape, catalog_key, text)
        if search_path.SETTING in shape.settings and (path := search_path.told(text)):
            shape = replace(shape, objects=(*shape.objects, path))
        if not full_text:
            return shape
        return replace(shape, redacted_text=text.decode("utf-8", "backslashreplace"))

    return shown


def without_strangers(shape: Shape, sqlstate: str) -> Shape:
    """A literal in the place of a role, where the server has no such role, may be anything: it
    stays here as every other literal does."""
    if sqlstate not in NO_SUCH_ROLE or not shape.roles:
        return shape
    named = tuple(role for role in shape.roles if role in shape.redacted_text)
    return replace(shape, roles=named)


def _with_value(shape: Shape, key: bytes, text: bytes) -> Shape:
    told = system_value.of_statement(key, text)
    objects = (*shape.objects, f"{system_value.OBJECT}:{told}")
    return replace(shape, objects=objects) if told else shape


def prepared_name(key: bytes, text: bytes) -> str:
    """The hash; empty where the text says the name in another way.

    >>> prepared, ended = b"PREPARE TRANSACTION 'a'", b"commit prepared 'a';"
    >>> prepared_name(b"k", prepared) == prepared_name(b"k", ended)
    True
    >>> string = b"BEGIN; SELECT 1; " + prepared
    >>> prepared_name(b"k", prepared) == prepared_name(b"k", string)
    True
    >>> prepared_name(b"k", b"COMMIT PREPARED E'a'")
    ''
    """
    found = _STATEMENT.fullmatch(text) or _AT_THE_END.search(text)
    if found is None:
        return ""
    name = found[1].replace(b"''", b"'")
    return hmac.digest(key, _PURPOSE + name, "sha256").hex()[:HASH_HEX]
