"""Signed tree heads: "the ledger had this many entries, and this was their Merkle root".

A head is written to ``heads.jsonl`` after so many entries or seconds, by a thread of its own, only
about entries that are durable already; and appended to a file outside, where somebody who rewrites
this host's disk does not reach it.
"""

import errno
import hashlib
import json
import logging
import os
import threading
import time
from collections import deque
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

from collector.checkpoint import Checkpoint, write_checkpoint
from collector.ledger import Ledger, fsync_folder
from collector.ledger_reading import last_line, whole_bytes

NAME = "heads.jsonl"
KEY_NAME = "ledger.key"
PUBLIC_NAME = "ledger.pub"
CONTEXT = b"pgwarden ledger head v1\n"
"""Before what is signed, so that the signature means nothing elsewhere."""
FIRST = "0" * 64
ENTRIES_SIGNED = "signed"
"""A head says so: each entry after it has a signature of its own."""
RETRY_SECONDS = 5.0
MAX_UNTOLD = 10_000
"""Heads that wait for the file outside; beyond that the oldest are left out."""

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
        self._last = self._open()
        self.public_key = key.public_key().public_bytes_raw()
        self.signed = _state_of(self._last)
        self.problems = self._contradictions()
        self.failures = 0
        """How often a head could not be written, here or outside."""
        self._said = ""
        self._untold = deque(self._not_outside(), MAX_UNTOLD)
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

    def start(self) -> None:
        self._offer()
        self._thread.start()

    def committed(self) -> None:
        """After each commit: signs early when many entries have come. Never waits."""
        size, _ = self._ledger.state
        if size - (self.signed[0] if self.signed else 0) >= self._sealing.entries:
            self._wake.set()

    def close(self) -> None:
        """Sign what is left."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(10.0)
        self.sign()

    def sign(self) -> bool:
        """Whether everything durable is signed, and told outside, when this returns."""
        with self._lock:
            try:
                checkpoint = self._ledger.checkpoint
                self._sign()
                self._tell_outside()
                self._keep(checkpoint)
            except OSError as error:
                self.failures += 1
                self._say(f"{error.filename or self._path}: {error.strerror}")
                return False
            self._said = ""
            return True

    def _run(self) -> None:
        while not self._stopping:
            good = self.sign()
            self._wake.wait(self._sealing.seconds if good else RETRY_SECONDS)
            self._wake.clear()

    def _sign(self) -> None:
        state = self._ledger.state
        if state == self.signed:
            return
        prev = hashlib.sha256(self._last).hexdigest() if self._last else FIRST
        line = head_line(state, time.time_ns() // 1000, prev, self._key)
        append_line(self._path, line)
        if not self._last:
            fsync_folder(self._data_dir)
        self._last, self.signed = line, state
        if self._sealing.outside is not None:
            self._untold.append(line)
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

    def _tell_outside(self) -> None:
        if self._sealing.outside is None:
            return
        while self._untold:
            append_line(self._sealing.outside, self._untold[0])
            self._untold.popleft()

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
            return last_line(self._path)
        except OSError as error:
            raise HeadsError(f"{error.filename or self._path}: {error.strerror}") from error

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
        return []

    def _not_outside(self) -> list[bytes]:
        """Heads that the file outside does not have yet."""
        outside = self._sealing.outside
        if outside is None:
            return []
        try:
            if self._last and outside.exists() and last_line(outside) == self._last:
                return []  # each head binds the one before: there is nothing to compare
            lines = self._path.read_bytes().split(b"\n")[:-1] if self._last else []
        except OSError as error:
            self._say(f"{error.filename}: {error.strerror}")
            return []
        try:
            known = outside.read_bytes().split(b"\n") if outside.exists() else []
        except OSError as error:
            self._say(f"{outside}: {error.strerror}")
            return lines
        ours = {line: number for number, line in enumerate(lines, 1)}
        strangers = [line for line in known if line not in ours and _state_of(line)]
        if strangers:
            self.problems.append(f"{outside} has {len(strangers)} heads that {NAME} does not have")
        return lines[max((ours[line] for line in known if line in ours), default=0) :]

    def _say(self, problem: str) -> None:
        if problem != self._said:
            self._said = problem
            _log.error("a ledger head could not be written: %s", problem)


def append_line(path: Path, line: bytes) -> None:
    """Durable when it returns. What an earlier try left half written ends its line first."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        length = os.fstat(descriptor).st_size
        torn = length > 0 and os.pread(descriptor, 1, length - 1) != b"\n"
        data = (b"\n" if torn else b"") + line + b"\n"
        if os.write(descriptor, data) != len(data):
            os.ftruncate(descriptor, length)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
