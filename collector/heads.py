"""Signed tree heads: "the ledger had this many entries, and this was their Merkle root".

A head is written to ``heads.jsonl`` after so many entries or seconds, by a thread of its own, only
about entries that are durable already; and appended to a file outside, where somebody who rewrites
this host's disk does not reach it.
"""

import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from collector.beside_key import BesideKey
from collector.checkpoint import Checkpoint, write_checkpoint
from collector.heads_outside import HeadsOutside
from collector.ledger import Ledger, fsync_folder
from collector.ledger_reading import last_line, whole_bytes
from collector.line_file import extend

NAME = "heads.jsonl"
KEY_NAME = "ledger.key"
PUBLIC_NAME = "ledger.pub"
CONTEXT = b"pgwarden ledger head v1\n"
"""Before what is signed, so that the signature means nothing elsewhere."""
FIRST = "0" * 64
ENTRIES_SIGNED = "signed"
"""A head says so: each entry after it has a signature of its own."""
RETRY_SECONDS = 5.0
STOP_SECONDS = 1.0
"""For what is left, here and outside: who stops us waits for all of it."""

_log = logging.getLogger(__name__)

TreeState = tuple[int, bytes]
"""Size and root."""


class HeadsError(Exception):
    """Heads cannot be signed; the message names the file."""


@dataclass(frozen=True, slots=True)
class Sealing:
    """When heads are signed, with what, and where else they go."""

    key: Path | None = None
    """None: ``ledger.key`` in the data directory."""
    outside: Path | None = None
    entries: int = 64
    seconds: float = 10.0
    tell: tuple[Callable[[bytes], None], ...] = ()
    """Others that get each line; they must not wait."""


def key_id(key: Ed25519PublicKey) -> str:
    raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:16]


def head_line(state: TreeState, at_us: int, prev: str, key: Ed25519PrivateKey) -> bytes:
    """``prev``: SHA-256 of the line before, so that none can be left out unseen."""
    size, root = state
    fields: dict[str, Any] = {
        "at_us": at_us,
        "entries": ENTRIES_SIGNED,
        "key": key_id(key.public_key()),
        "prev": prev,
        "root": root.hex(),
        "size": size,
    }
    signature = key.sign(CONTEXT + _canonical(fields))
    return _canonical({**fields, "sig": signature.hex()})


def open_key(data_dir: Path, path: Path | None) -> Ed25519PrivateKey:
    """The private key, made at the first start; its public half is added to ``ledger.pub``.

    Raises HeadsError.
    """
    file = path or data_dir / KEY_NAME
    try:
        if not file.exists():
            create_key(file)
        key = read_key(file)
        _publish(data_dir / PUBLIC_NAME, key.public_key())
    except OSError as error:
        raise HeadsError(f"{error.filename or file}: {error.strerror}") from error
    return key


def read_key(file: Path) -> Ed25519PrivateKey:
    """Raises HeadsError, OSError."""
    try:
        key = load_pem_private_key(file.read_bytes(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise HeadsError(f"{file}: not an Ed25519 private key in PEM without password") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise HeadsError(f"{file}: not an Ed25519 private key")
    return key


class Heads:
    """Signs where the ledger stands. ``problems``: how it contradicts what was signed."""

    def __init__(
        self, data_dir: Path, sealing: Sealing, ledger: Ledger, key: Ed25519PrivateKey
    ) -> None:
        """Raises HeadsError."""
        self._data_dir = data_dir
        self._path = data_dir / NAME
        self._sealing = sealing
        self._ledger = ledger
        self._key = key
        self._checkpoint: Checkpoint | None = ledger.checkpoint
        self._length = 0
        """Of heads that are durable, in bytes."""
        self._last = self._open()
        self.public_key = key.public_key().public_bytes_raw()
        self.signed = _state_of(self._last)
        self._beside = BesideKey(data_dir, sealing.key)
        self.problems = self._contradictions()
        self._failures = 0
        self._said = ""
        self.on_contradiction: Callable[[str], None] = lambda problem: None
        """Hears of what the file outside tells after the start."""
        self._outside = self._open_outside()
        self._wake = threading.Event()
        self._stopping = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="heads", daemon=True)
        if not self._last or (not self.problems and not self._is_ours(self._last)):
            # Entries without a head of this key and release are what an attacker would leave.
            self.signed = None
            self.sign()

    def _is_ours(self, head: bytes) -> bool:
        said = {"entries": ENTRIES_SIGNED, "key": key_id(self._key.public_key())}
        return all(json.loads(head).get(name) == value for name, value in said.items())

    @property
    def newest(self) -> bytes:
        """The last signed line; any thread may read it."""
        return self._last

    @property
    def signed_at_us(self) -> int:
        """When it was signed; 0: there is none."""
        try:
            return int(json.loads(self._last)["at_us"])
        except (ValueError, TypeError, KeyError):
            return 0

    @property
    def failures(self) -> int:
        """How often a head could not be written, here or outside."""
        return self._failures + (self._outside.failures if self._outside is not None else 0)

    @property
    def left_out(self) -> int:
        """Heads that the file outside will not get: too many waited for it."""
        return self._outside.left_out if self._outside is not None else 0

    @property
    def problem(self) -> str:
        """Why heads do not go outside, where that does not end by itself."""
        return self._outside.problem if self._outside is not None else ""

    def start(self) -> None:
        self._offer()
        self._thread.start()

    def committed(self) -> None:
        """After each commit: signs early when many entries have come. Never waits."""
        size, _ = self._ledger.state
        if size - (self.signed[0] if self.signed else 0) >= self._sealing.entries:
            self._wake.set()

    def close(self) -> None:
        """Sign what is left. A file outside that hangs does not hold that up."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)
        self.sign()
        if self._outside is not None:
            self._outside.stop(STOP_SECONDS)

    def told_outside(self, seconds: float = STOP_SECONDS) -> bool:
        """Whether the file outside, if there is one, has every head."""
        return self._outside is None or self._outside.flush(seconds)

    def sign(self) -> bool:
        """Whether everything durable is signed now; the file outside may be behind."""
        with self._lock:
            try:
                checkpoint = self._ledger.checkpoint
                self._sign()
                self._keep(checkpoint)
            except OSError as error:
                self._failures += 1
                self._say(f"{error.filename or self._path}: {error.strerror}")
                return False
            finally:
                if self._outside is not None:
                    self._outside.hurry()
            self._said = ""
            return True

    def _run(self) -> None:
        while not self._stopping:
            good = self.sign()
            self._hear_outside()
            self._wake.wait(self._sealing.seconds if good else RETRY_SECONDS)
            self._wake.clear()

    def _sign(self) -> None:
        state = self._ledger.state
        if state == self.signed:
            return
        prev = hashlib.sha256(self._last).hexdigest() if self._last else FIRST
        line = head_line(state, time.time_ns() // 1000, prev, self._key)
        length = extend(self._path, self._length, line)
        if not self._last:
            fsync_folder(self._data_dir)
        self._length, self._last, self.signed = length, line, state
        self._beside.keep(line)
        if self._outside is not None:
            self._outside.offer(line)
        self._offer()

    def _offer(self) -> None:
        for tell in self._sealing.tell if self._last else ():
            tell(self._last)

    def _keep(self, checkpoint: Checkpoint | None) -> None:
        """Write it down, now that a signed head covers it."""
        if checkpoint is None or checkpoint is self._checkpoint:
            return
        write_checkpoint(self._data_dir, checkpoint, self._key, key_id(self._key.public_key()))
        self._checkpoint = checkpoint

    def _open(self) -> bytes:
        """The last whole line; a half one behind it is what a crash leaves, and is set aside."""
        try:
            whole = whole_bytes(self._path)
            if self._path.exists() and self._path.stat().st_size != whole:
                folder = self._data_dir / "quarantine"
                folder.mkdir(exist_ok=True)
                with self._path.open("rb") as file:
                    file.seek(whole)
                    (folder / f"heads-tail-{whole}.bin").write_bytes(file.read())
                os.truncate(self._path, whole)
            self._length = whole
            return last_line(self._path)
        except OSError as error:
            raise HeadsError(f"{error.filename or self._path}: {error.strerror}") from error

    def _open_outside(self) -> HeadsOutside | None:
        self._is_outside_read = self._sealing.outside is None
        if self._sealing.outside is None:
            return None
        outside = HeadsOutside(self._sealing.outside, self._path, self._length, self._last)
        if outside.looked():
            self._is_outside_read = True
            self.problems += outside.problems
        return outside

    def _hear_outside(self) -> None:
        """A file that did not answer when we started may do so now."""
        if self._is_outside_read or self._outside is None or not self._outside.looked(0.0):
            return
        self._is_outside_read = True
        for problem in self._outside.problems:
            self.problems.append(problem)
            self.on_contradiction(problem)

    def _contradictions(self) -> list[str]:
        """What only somebody who changed the files can have done, or a disk that forgot."""
        if not self._last:
            return []
        if self.signed is None:
            return [f"{NAME}: its last line is no head"]
        size, root = self.signed
        present, _ = self._ledger.state
        if size > present:
            return [f"a head was signed over {size} entries, and there are {present}"]
        if self._ledger.root_at_start(size) != root:
            return [f"the first {size} entries are not those that were signed"]
        public = self._key.public_key()
        beside = self._beside.problem(key_id(public), public, present, self._ledger.root_at_start)
        return [beside] if beside else []

    def _say(self, problem: str) -> None:
        if problem != self._said:
            self._said = problem
            _log.error("a ledger head could not be written: %s", problem)


def _state_of(line: bytes) -> TreeState | None:
    try:
        fields = json.loads(line)
        return int(fields["size"]), bytes.fromhex(fields["root"])
    except (ValueError, TypeError, KeyError):
        return None


def create_key(file: Path) -> None:
    """Whole or not at all, and never over an older key."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    part = file.with_name(f".{file.name}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as new:
        new.write(pem)
        new.flush()
        os.fsync(new.fileno())
    part.rename(file)
    fsync_folder(file.parent)


def _publish(file: Path, key: Ed25519PublicKey) -> None:
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    if file.exists() and pem in file.read_bytes():
        return
    with file.open("ab") as public:
        public.write(pem)
        public.flush()
        os.fsync(public.fileno())


def _canonical(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
