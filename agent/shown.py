"""What of a statement's Shape is sent: mostly all, and for four commands a little more.

PREPARE TRANSACTION, COMMIT PREPARED and ROLLBACK PREPARED name a transaction by a literal, which
stays on the host. What goes is a short hash under a key that stays too: the same at both ends, so
that who prepared is known whoever ends it, from whichever session. Of ALTER SYSTEM see
``agent/catalog/items/system_value.py``.
"""

import hmac
import re
from collections.abc import Callable
from dataclasses import replace

from agent.catalog.items import system_value
from model.statement import Shape

Shown = Callable[[Shape, bytes], Shape]
"""A statement's Shape and its text, as captured -> the Shape that is sent."""

OPERATIONS = frozenset(("prepare transaction", "commit prepared", "rollback prepared"))
OBJECT = "prepared transaction"
HASH_HEX = 16
_PURPOSE = b"prepared transaction:"
_SPACE = rb"(?:\s|/\*[^*]*\*/|--[^\n]*\n)*"
_STATEMENT = re.compile(
    rb"%b(?:PREPARE\s+TRANSACTION|(?:COMMIT|ROLLBACK)\s+PREPARED)\s*'((?:[^'\\]|'')*)'[\s;]*%b"
    % (_SPACE, _SPACE),
    re.IGNORECASE,
)
"""Alone in its string, the name in plain quotes; what is written otherwise has no hash."""


def as_it_is(shape: Shape, text: bytes) -> Shape:
    return shape


def shown_with(key: bytes, *, catalog_key: bytes = b"", full_text: bool = False) -> Shown:
    """``catalog_key``: of the hashes in snapshots; empty: none are made. With ``full_text`` no
    literal is hidden."""

    def shown(shape: Shape, text: bytes) -> Shape:
        if shape.operation in OPERATIONS and (name := prepared_name(key, text)):
            shape = replace(shape, objects=(*shape.objects, f"{OBJECT}:{name}"))
        if catalog_key and shape.summary == "ALTER SYSTEM":
            shape = _with_value(shape, catalog_key, text)
        if not full_text:
            return shape
        return replace(shape, redacted_text=text.decode("utf-8", "backslashreplace"))

    return shown


def _with_value(shape: Shape, key: bytes, text: bytes) -> Shape:
    told = system_value.of_statement(key, text)
    objects = (*shape.objects, f"{system_value.OBJECT}:{told}")
    return replace(shape, objects=objects) if told else shape


def prepared_name(key: bytes, text: bytes) -> str:
    """The hash; empty where the text says the name in another way.

    >>> prepared, ended = b"PREPARE TRANSACTION 'a'", b"commit prepared 'a';"
    >>> prepared_name(b"k", prepared) == prepared_name(b"k", ended)
    True
    >>> prepared_name(b"k", b"COMMIT PREPARED E'a'")
    ''
    """
    found = _STATEMENT.fullmatch(text)
    if found is None:
        return ""
    name = found[1].replace(b"''", b"'")
    return hmac.digest(key, _PURPOSE + name, "sha256").hex()[:HASH_HEX]
