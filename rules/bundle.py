"""Rule files as one signed whole: made by whoever holds the private key, believed by who holds the
public one, carried by anybody.

The signature is over the bytes as they travel, so nothing depends on how they are written anew.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

FORMAT = 1
MAX_BYTES = 3 * 1024 * 1024
"""It travels as one message, and gRPC refuses those over 4 MiB."""
MAX_VERSION = 2**63 - 1
SUFFIXES = (".yaml", ".yml")
_PURPOSE = b"pgwarden rules bundle\0"
"""Signed with the rest: a signature of the same key over something else is none of ours."""


class BundleError(Exception):
    """It is no bundle, or nobody we trust has signed it; the message says why."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """As it travels and lies on disk: nothing of it is believed yet."""

    payload: bytes = field(repr=False)
    signature: bytes

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.payload + self.signature).hexdigest()


@dataclass(frozen=True, slots=True)
class Bundle:
    """``version`` grows from bundle to bundle; ``not_before`` is in Unix seconds."""

    version: int
    not_before: int
    files: Mapping[str, bytes] = field(repr=False)


def seal(bundle: Bundle, key: Ed25519PrivateKey) -> Sealed:
    """Raises BundleError for what no agent would take."""
    tree = {
        "format": FORMAT,
        "version": bundle.version,
        "not_before": bundle.not_before,
        "files": {name: base64.b64encode(data).decode() for name, data in bundle.files.items()},
    }
    payload = orjson.dumps(tree, option=orjson.OPT_SORT_KEYS)
    if len(payload) > MAX_BYTES:
        raise BundleError(f"more than {MAX_BYTES} bytes")
    _read(payload)
    return Sealed(payload, key.sign(_PURPOSE + payload))


def unseal(sealed: Sealed, key: Ed25519PublicKey) -> Bundle:
    """The bundle, if the signature is right. Raises BundleError."""
    # Not above: an agent without central rules does without OpenSSL, and that is 10 MB.
    from cryptography.exceptions import InvalidSignature

    if len(sealed.payload) > MAX_BYTES:
        raise BundleError(f"more than {MAX_BYTES} bytes")
    try:
        key.verify(sealed.signature, _PURPOSE + sealed.payload)
    except InvalidSignature:
        raise BundleError("the signature is not one of the trusted key over these bytes") from None
    return _read(sealed.payload)


def claimed_version(sealed: Sealed) -> int:
    """What it says of itself; not verified. Raises BundleError."""
    return _read(sealed.payload).version


def to_file(sealed: Sealed) -> bytes:
    words = {
        "payload": base64.b64encode(sealed.payload).decode(),
        "signature": base64.b64encode(sealed.signature).decode(),
    }
    return orjson.dumps(words, option=orjson.OPT_INDENT_2) + b"\n"


def from_file(data: bytes) -> Sealed:
    """Raises BundleError."""
    tree = _tree(data)
    return Sealed(_decoded(tree.get("payload")), _decoded(tree.get("signature")))


def folder_files(folder: Path) -> dict[str, bytes]:
    """The rule files of a folder by name. Raises OSError."""
    files = sorted(each for each in folder.iterdir() if each.suffix in SUFFIXES)
    return {file.name: file.read_bytes() for file in files}


def private_key(pem: bytes) -> Ed25519PrivateKey:
    """Raises BundleError."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise BundleError(f"no private key: {error}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise BundleError("no Ed25519 private key")
    return key


def public_key(pem: bytes) -> Ed25519PublicKey:
    """Raises BundleError. A private key is refused: it has no place where bundles are read."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem)
    except ValueError as error:
        raise BundleError(f"no public key: {error}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise BundleError("no Ed25519 public key")
    return key


def next_version() -> int:
    """Grows by itself, for who keeps no count."""
    return int(time.time())


def _read(payload: bytes) -> Bundle:
    tree = _tree(payload)
    version, not_before, files = (tree.get(name) for name in ("version", "not_before", "files"))
    if tree.get("format") != FORMAT:
        raise BundleError(f"format {tree.get('format')!r}: another release of pgwarden made it")
    if type(version) is not int or not 0 < version <= MAX_VERSION:
        raise BundleError(f"{version!r} is no version")
    if type(not_before) is not int or not 0 <= not_before <= MAX_VERSION:
        raise BundleError(f"{not_before!r} is no time")
    if not isinstance(files, dict) or not files:
        raise BundleError("no rule files in it")
    for name in files:
        if not _is_name(name):
            raise BundleError(f"{name!r} is no name of a rule file")
    return Bundle(version, not_before, {name: _decoded(text) for name, text in files.items()})


def _is_name(name: str) -> bool:
    """A plain name: it becomes a file on the hosts."""
    plain = name.isascii() and name.isprintable() and len(name) <= 200
    return plain and name.endswith(SUFFIXES) and "/" not in name and not name.startswith(".")


def _tree(data: bytes) -> dict[str, Any]:
    try:
        tree = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BundleError(f"no bundle: {error}") from None
    if not isinstance(tree, dict):
        raise BundleError("no bundle")
    return tree


def _decoded(text: object) -> bytes:
    try:
        return base64.b64decode(text if isinstance(text, str) else "-", validate=True)
    except (binascii.Error, ValueError):
        raise BundleError("no bundle: not base64") from None
