"""What of a statement's bind parameters leaves the host: nothing, hashes, or the values.

Values of statements that deal with credentials never do, not even as hashes: a password is short
enough to be guessed, and two equal hashes would tell that two accounts share one.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path

from agent.probes.layout import ParameterState
from agent.sources.parameters import Bound, bound, count_of, shown
from config.schema import Parameters
from model.statement import Shape

KEY_BYTES = 32
HASH_HEX = 32
"""128 bits."""
CREDENTIAL_WORDS = re.compile(
    rb"passw|passphrase|pwd|secret|crypt|credential|token|api_?key|private_?key|set_config|otp"
    rb"|\bpin\b|pgp_|hmac|digest|dblink|u&\"",
    re.IGNORECASE,
)
r"""In the text of a statement whose parameters may be credentials: names of columns and functions,
and ``U&"p\0061ss"``, which may hide one."""

_NAME = rb'(?:"(?:[^"]|"")+"|[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*)'
_COLUMNS = re.compile(
    rb"\binsert\s+(?:into\s+%b(?:\s*\.\s*%b)*(?:\s+as\s+%b)?\s*)?"
    rb"\((?!\s*(?:\(|select\b|with\b|values\b|table\b))" % (_NAME, _NAME, _NAME),
    re.IGNORECASE,
)
"""INSERT with the names of its columns."""
_INSERT = re.compile(rb"\binsert\b", re.IGNORECASE)

Show = Callable[[bytes, bytes, int, Shape], str]
"""Captured parameters, the statement's text, its full length, its Shape -> what is recorded."""


class KeyFileError(Exception):
    """The key of the installation cannot be used; the message says why."""


def show_nothing(captured: bytes, text: bytes, text_bytes: int, shape: Shape) -> str:
    return ""


def printer(how: Parameters, key_file: Path) -> Show:
    """Raises KeyFileError."""
    if how is Parameters.NONE:
        return show_nothing
    key = installation_key(key_file) if how is Parameters.HASHED else b""
    value_of = _hashed(key) if how is Parameters.HASHED else _readable

    def show(captured: bytes, text: bytes, text_bytes: int, shape: Shape) -> str:
        if not captured:
            return ""
        chosen = _withheld if names_credentials(text, text_bytes, shape) else value_of
        values = [{"type": one.type_name} | _described(one, chosen) for one in bound(captured)]
        missing = count_of(captured) - len(values)
        more: list[dict[str, object]] = [{"more": missing}] if missing else []
        return json.dumps([*values, *more], ensure_ascii=False, separators=(",", ":"))

    return show


def names_credentials(text: bytes, text_bytes: int, shape: Shape) -> bool:
    """In doubt it does: of a text that was cut nobody knows how it goes on."""
    return (
        len(text) < text_bytes
        or "password" in shape.flags
        or CREDENTIAL_WORDS.search(text) is not None
        or goes_by_position(text)
    )


def goes_by_position(text: bytes) -> bool:
    """An INSERT without the names of its columns: nobody knows by it which value is a password."""
    return len(_INSERT.findall(text)) > len(_COLUMNS.findall(text))


def installation_key(path: Path) -> bytes:
    """Made at first use; with another key, equal values would no longer have equal hashes."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return _new_key(path)
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        if os.fstat(descriptor).st_mode & 0o077:
            raise KeyFileError(f"{path} may be read by others: chmod 600 it")
        key = file.read()
    if len(key) != KEY_BYTES:
        raise KeyFileError(f"{path} is damaged: restore it, or remove it for a new key")
    return key


def _new_key(path: Path) -> bytes:
    """Whole or not at all: a crash must not leave half a key."""
    key, new = secrets.token_bytes(KEY_BYTES), path.with_suffix(".new")
    try:
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}") from error
    return key


def _described(one: Bound, value_of: Callable[[Bound], dict[str, object]]) -> dict[str, object]:
    if one.state is ParameterState.NULL:
        return {"value": None}
    if one.state is not ParameterState.VALUE:
        return {"unread": one.state.name.lower()}
    return value_of(one)


def _readable(one: Bound) -> dict[str, object]:
    return {"value": shown(one)} | _length(one)


def _hashed(key: bytes) -> Callable[[Bound], dict[str, object]]:
    def value_of(one: Bound) -> dict[str, object]:
        # With its length: of long values only the beginning is there.
        told = f"{one.full_bytes if one.cut else ''}:{shown(one)}".encode("utf-8", "surrogatepass")
        return {"hash": hmac.new(key, told, hashlib.sha256).hexdigest()[:HASH_HEX]} | _length(one)

    return value_of


def _withheld(one: Bound) -> dict[str, object]:
    return {"withheld": True}


def _length(one: Bound) -> dict[str, object]:
    return {"bytes": one.full_bytes} if one.cut else {}
