"""Taking out of a text what must not leave: first by where it stands, then by what it is."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, unquote

from pydantic import BaseModel, SecretStr

from cli.support.url_secrets import secrets_in
from config import Config

HIDDEN = "(hidden)"
FREE_TEXTS = frozenset({"because", "query"})
"""Keys whose values people write as they like."""
SHORTEST = 6
"""A shorter secret would take half of the bundle with it."""
_URL = re.compile(r"([a-z][a-z0-9+.-]*://)([^\s/?#\"']*@)?([^\s/\"'?#]*)([^\s\"']*)", re.IGNORECASE)
_PRIVATE = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*-----", re.DOTALL)
_CONNECTION = re.compile(r"\bpassword\s*=\s*('(?:[^'\\]|\\.)*'|\S+)", re.IGNORECASE)
_TOKENS = re.compile(
    rb"pgw_[A-Za-z0-9_-]{8,}"
    rb"|(?<=\bbearer )\s*[^\s\"'\\]+|(?<=\bbasic )\s*[A-Za-z0-9+/=_-]{6,}"
    rb"|(?<=TOKEN=)[^\s]+|(?<=PASSWORD=)[^\s]+|(?<=SECRET=)[^\s]+",
    re.IGNORECASE,
)
"""By their form or place: access tokens, headers, variables as ``PGWARDEN_TOKEN``."""
_PASSFILE = re.compile(
    rb"(?<![^\s\"'=])((?:(?:\\.|[^\s:\\\"'])+:)(?:[0-9]{1,5}|\*):(?:(?:\\.|[^\s:\\\"'])+:){2})"
    rb"(?:\\.|[^\s:\\\"'])+(?![^\s\"'])"
)
"""A line as in ``.pgpass``: host, port, database, user; the fifth is the password."""
LINE_BYTES = 40
"""A line of a key file that is as long is a part of the key, and secret by itself."""


def configuration(settings: Config) -> Any:
    """As ``shown``, without free texts."""
    return _plain(settings.model_dump(mode="json", by_alias=True), FREE_TEXTS)


def shown(settings: Config) -> Any:
    """As JSON values: secrets and all of a URL but its host are hidden."""
    return _plain(settings.model_dump(mode="json", by_alias=True), frozenset())


def _plain(value: Any, hidden: frozenset[str], key: str = "") -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(each, hidden, str(name)) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each, hidden, key) for each in value]
    if isinstance(value, str) and value:
        return HIDDEN if key in hidden else text(value)
    return value


def text(value: str) -> str:
    """URLs keep scheme and host: the rest is often a secret."""
    return _CONNECTION.sub(f"password={HIDDEN}", _URL.sub(_host_alone, value))


def _host_alone(url: re.Match[str]) -> str:
    scheme, user, host, rest = url.groups()
    if "@" in rest:  # a password that should have been quoted: what reads as the host is a part
        return f"{scheme}{HIDDEN}"
    return f"{scheme}{host}/{HIDDEN}" if user or rest.strip("/") else url.group()


def secrets_of(settings: Config) -> list[bytes]:
    """Values that the configuration holds, and what stands in key files that it names, the longest
    first: none of them may be in the bundle, however it came there."""
    found = {form.encode() for each in _secrets(settings) for form in _forms(each)}
    for folder in (settings.agent.state_dir, settings.collector.data_dir):
        found |= set(_keys(folder.glob("*.key")))
    return sorted((each for each in found if len(each) >= SHORTEST), key=len, reverse=True)


def _secrets(value: Any) -> Iterable[str]:
    if isinstance(value, SecretStr):
        secret = value.get_secret_value()
        yield secret
        # Of a DSN also the password alone, as it stands there and as it is.
        for found in (m.group(1) for m in _CONNECTION.finditer(secret)):
            bare = found.strip("'")
            yield from (bare, re.sub(r"\\(.)", r"\1", bare))
        for found in re.findall(r"://[^/@:\s]*:([^/\s]+)@", secret):
            yield from (found, unquote(found))
        for found in re.findall(r"[?&](?:ssl)?password=([^&\s]+)", secret):
            yield from (found, unquote(found))
    elif isinstance(value, str) and "://" in value:
        yield from secrets_in(value)
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets(getattr(value, name))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _secrets(each)
    elif isinstance(value, dict):
        for each in value.values():
            yield from _secrets(each)


def _forms(secret: str) -> Iterable[str]:
    """As it is written elsewhere: in JSON, in JSON within JSON, in a URL, by ``repr``."""
    yield secret
    for plain in (False, True):
        once = json.dumps(secret, ensure_ascii=plain)[1:-1]
        yield from (once, json.dumps(once, ensure_ascii=plain)[1:-1])
    for quoted in (quote(secret), quote(secret, safe=""), quote_plus(secret)):
        yield from (quoted, re.sub("%..", lambda code: code.group().lower(), quoted))
    yield repr(secret)[1:-1]
    yield b64encode(secret.encode()).decode()
    yield from _within_base64(secret.encode())


def _within_base64(secret: bytes) -> Iterable[str]:
    """As it stands in the middle of more, ``user:password`` of a header say: at each of three
    places in a group, without the characters that hold bits of its neighbours."""
    for before in range(3):
        ends_early = (before + len(secret)) % 3 != 0
        whole = b64encode(bytes(before) + secret).decode().rstrip("=")
        inner = whole[(0, 2, 3)[before] : len(whole) - ends_early]
        yield from (inner, inner.replace("+", "-").replace("/", "_"))


def _keys(files: Iterable[Path]) -> Iterable[bytes]:
    for file in files:
        try:
            data = file.read_bytes().strip()
        except OSError:
            continue
        yield from (data, data.hex().encode(), b64encode(data))
        yield from (line for line in data.split(b"\n") if len(line) >= LINE_BYTES)


def cleaned(data: bytes, secrets: Iterable[bytes]) -> bytes:
    """The last look at each file."""
    data = _TOKENS.sub(HIDDEN.encode(), _PRIVATE.sub(HIDDEN.encode(), data))
    data = _PASSFILE.sub(rb"\1" + HIDDEN.encode(), data)
    for secret in secrets:
        data = data.replace(secret, HIDDEN.encode())
    return data
