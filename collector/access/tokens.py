"""Tokens at rest: one file each, named by the SHA-256 of a secret that nobody can guess."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from collector.ledger import fsync_folder
from model.access import AccessRole

FOLDER = "tokens"
PREFIX = "pgw_"
SECRET_BYTES = 32
ID_DIGITS = 12
MAX_NAME = 100


class TokenError(ValueError):
    """It cannot be issued or revoked; the message says why."""


@dataclass(frozen=True, slots=True)
class Token:
    id: str
    """The beginning of the secret's hash."""
    name: str
    role: AccessRole
    issued_at_us: int
    ends_at_us: int
    by: str


class Tokens:
    """Nothing is kept in memory: who removes a file has revoked it."""

    def __init__(
        self, data_dir: Path, now_us: Callable[[], int] = lambda: time.time_ns() // 1000
    ) -> None:
        self._folder = data_dir / FOLDER
        self._now_us = now_us

    def issue(self, name: str, role: str, lasts_us: int, by: str) -> tuple[str, Token]:
        """The secret, told only here, and what is known of it. Raises TokenError, OSError."""
        if not 0 < len(name) <= MAX_NAME or not name.isprintable() or name != name.strip():
            raise TokenError(f"a name has 1 to {MAX_NAME} printable characters")
        if role not in list(AccessRole):
            raise TokenError(f"no role {role!r}; there are {', '.join(AccessRole)}")
        if lasts_us <= 0:
            raise TokenError("a token must last for some time")
        secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
        digest, now_us = _digest(secret), self._now_us()
        token = Token(digest[:ID_DIGITS], name, AccessRole(role), now_us, now_us + lasts_us, by)
        self._write(digest, token)
        return secret, token

    def find(self, secret: str) -> Token | None:
        """None for one that is unknown, revoked or has ended."""
        token = self._read(self._folder / _digest(secret))
        return token if token and self._now_us() < token.ends_at_us else None

    def is_good(self, token: Token) -> bool:
        """Still, for who is connected already."""
        return self._now_us() < token.ends_at_us and any(self._folder.glob(f"{token.id}*"))

    def all(self) -> list[Token]:
        """Those that have ended too, until they are revoked."""
        files = self._folder.glob("[0-9a-f]*") if self._folder.exists() else ()
        found = [token for file in files if (token := self._read(file))]
        return sorted(found, key=lambda token: token.issued_at_us)

    def revoke(self, which: str) -> list[Token]:
        """By id, or all of a name. Raises TokenError where there is none, and OSError."""
        gone = [token for token in self.all() if which in (token.id, token.name)]
        if not gone:
            raise TokenError(f"no token {which!r}: see pgwarden token list")
        for token in gone:
            for file in self._folder.glob(f"{token.id}*"):
                file.unlink(missing_ok=True)
        fsync_folder(self._folder)
        return gone

    def _write(self, digest: str, token: Token) -> None:
        """Whole or not at all."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        part = self._folder / f".{digest}.part"
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(asdict(token), file)
            file.flush()
            os.fsync(file.fileno())
        part.rename(self._folder / digest)
        fsync_folder(self._folder)

    def _read(self, file: Path) -> Token | None:
        try:
            fields = json.loads(file.read_bytes())
            return Token(**{**fields, "role": AccessRole(fields["role"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
