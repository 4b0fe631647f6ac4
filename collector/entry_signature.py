"""The collector's signature over one entry of its ledger."""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from collector.heads import key_id
from collector.ledger_entry import Entry, Signature, signed_digest
from collector.pgwarden_verify import ENTRY_CONTEXT


class Signer:
    """``Ledger.sign``."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._id = key_id(key.public_key())

    def __call__(self, digest: bytes) -> Signature:
        signature = self._key.sign(ENTRY_CONTEXT + digest)
        return Signature(self._id, b2a_base64(signature, newline=False).decode())


def is_signed(entry: Entry, keys: Mapping[str, Ed25519PublicKey]) -> bool:
    """``keys``: by id."""
    if entry.signed is None or entry.signed.key not in keys:
        return False
    try:
        signature = a2b_base64(entry.signed.sig)
        keys[entry.signed.key].verify(signature, ENTRY_CONTEXT + signed_digest(entry))
    except (InvalidSignature, ValueError):
        return False
    return True
