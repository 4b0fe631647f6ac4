"""Tokens that let a host ask for its first certificate, once.

A token holds a secret and the fingerprint of the authority, so that the host knows whom it may tell
the secret. At rest there is only the secret's SHA-256: it is random, so nothing can be guessed.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from cli.pki.authority import Authority, PkiError, check_name
from cli.pki.placing import PRIVATE, place, private_folder, remove

SECRET_BYTES = 32
ID_CHARACTERS = 12
_FILE = re.compile(r"[0-9a-f]{64}")
REFUSED = "the token is unknown, used or ended: pgwarden pki token makes another"


@dataclass(frozen=True, slots=True)
class Token:
    secret: str
    fingerprint: str
    """SHA-256 of the authority's certificate, in hex."""

    def __str__(self) -> str:
        return f"{self.secret}.{self.fingerprint}"


@dataclass(frozen=True, slots=True)
class Outstanding:
    """A token that somebody may still use."""

    file: Path
    agent: str
    ends: datetime

    @property
    def id(self) -> str:
        """Of the secret's hash: enough to name it by, nothing to use it with."""
        return self.file.name[:ID_CHARACTERS]


def parsed(text: str) -> Token:
    """Raises PkiError."""
    secret, dot, fingerprint = text.strip().partition(".")
    if not secret or not dot or len(fingerprint) != 64:
        raise PkiError("this is no token: give what pgwarden pki token has printed, whole")
    return Token(secret, fingerprint)


def fingerprint(authority: x509.Certificate) -> str:
    return authority.fingerprint(hashes.SHA256()).hex()


def make(authority: Authority, name: str, ends: datetime, now: datetime) -> Token:
    """For the agent ``name``; ended ones are cleared away. Raises PkiError for what is no name."""
    check_name(name)
    outstanding(authority, now)
    secret = secrets.token_urlsafe(SECRET_BYTES)
    record = json.dumps({"agent": name, "ends": ends.isoformat()}).encode()
    place(_file(private_folder(authority.folder / "tokens"), secret), record, PRIVATE)
    return Token(secret, fingerprint(authority.certificate))


def take(authority: Authority, secret: str, now: datetime) -> str:
    """The agent's name; the token is gone before anything is made of it. Raises PkiError."""
    file = _file(authority.folder / "tokens", secret)
    try:
        record = json.loads(file.read_bytes())
        remove(file)
    except FileNotFoundError:
        raise PkiError(REFUSED) from None
    if now >= datetime.fromisoformat(record["ends"]):
        raise PkiError(REFUSED)
    return str(record["agent"])


def outstanding(authority: Authority, now: datetime) -> list[Outstanding]:
    """The next to end first. What has ended, or is damaged so that nobody can use it, is removed.
    Raises OSError."""
    found = []
    for file in _files(authority.folder / "tokens"):
        try:
            record = json.loads(file.read_bytes())
            each = Outstanding(file, str(record["agent"]), datetime.fromisoformat(record["ends"]))
            good = now < each.ends
        except (ValueError, KeyError, TypeError):
            good = False
        if good:
            found.append(each)
        else:
            remove(file)
    return sorted(found, key=lambda each: each.ends)


def withdraw(authority: Authority, which: str, now: datetime) -> list[Outstanding]:
    """Those of an agent's name, or the one with this id. Raises OSError."""
    gone = [each for each in outstanding(authority, now) if which in (each.agent, each.id)]
    for each in gone:
        remove(each.file)
    return gone


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (file for file in sorted(folder.iterdir()) if _FILE.fullmatch(file.name))


def _file(folder: Path, secret: str) -> Path:
    return folder / hashlib.sha256(secret.encode()).hexdigest()
