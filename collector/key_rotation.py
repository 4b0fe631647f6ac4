"""Another key for the ledger's heads, named and signed by the one before it.

The note of it (``ledger_key``) is what leads a verifier from the key that it knows to the new one.
Its entry is the last that the older key signs. A crash in between is made good at the next start.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from collector.anchor import predecessor_file
from collector.checkpoint import NAME as CHECKPOINT
from collector.entry_signature import Signer
from collector.heads import (
    KEY_NAME,
    Heads,
    Sealing,
    create_key,
    key_id,
    open_key,
    read_key,
)
from collector.ledger import Ledger, fsync_folder
from collector.ledger_reading import NAME as LEDGER
from collector.line_file import append_line
from collector.own_entries import examine
from collector.pgwarden_verify import KEY_CONTEXT, canonical, signed_head
from collector.successions import SUCCESSIONS, successions

KIND = "ledger_key"


class RotationError(Exception):
    """The key stays as it is; the message says why."""


def rotate(data_dir: Path, sealing: Sealing) -> tuple[str, str]:
    """Ids of the older and the new key. The caller holds the folder's lock.

    Raises RotationError, HeadsError, LedgerError, OSError.
    """
    file = sealing.key or data_dir / KEY_NAME
    if not file.exists():
        raise RotationError(f"{file}: there is no key to rotate")
    ledger = Ledger(data_dir)
    if ledger.problems:
        raise RotationError(f"{data_dir / LEDGER} does not hold: pgwarden ledger verify")
    finish(data_dir, file, ledger.last_notes.get(KIND))
    old = open_key(data_dir, sealing.key)
    if problems := examine(data_dir, old, file, False).problems:
        raise RotationError(f"start the collector once, which notes it: {'; '.join(problems)}")
    ledger.sign = Signer(old)
    heads = Heads(data_dir, sealing, ledger, old)
    if heads.problems:
        raise RotationError("; ".join(heads.problems))
    _next_of(file).unlink(missing_ok=True)
    create_key(_next_of(file))
    new = read_key(_next_of(file)).public_key()
    ledger.append(_now_us(), (), notes=(_note(old, new, ledger.seq + 1),))
    heads.sign()
    heads.told_outside()  # what cannot be told now is told at the next start
    heads.close()
    finish(data_dir, file, ledger.last_notes.get(KIND))
    ledger.close()
    ledger = Ledger(data_dir)
    # Its public half goes to ledger.pub; its own head says that all before is ours.
    first = Heads(data_dir, sealing, ledger, open_key(data_dir, sealing.key))
    first.told_outside()
    first.close()
    forget_predecessor(file)
    ledger.close()
    return key_id(old.public_key()), key_id(new)


def finish(data_dir: Path, file: Path, note: Mapping[str, Any] | None) -> bool:
    """Put the new key in the older one's place, once the ledger has its note, signed by the older
    one. Raises HeadsError, OSError."""
    waiting = _next_of(file)
    if note is None or not waiting.exists():
        return False
    old = read_key(file).public_key()
    line = canonical(note["said"])
    try:
        said = signed_head(line, {key_id(old): old}, KEY_CONTEXT)
    except ValueError:
        return False  # whoever can append to the ledger could name a key
    if _pem(read_key(waiting).public_key()) != said["next"]:
        return False
    if line not in successions(data_dir):
        append_line(data_dir / SUCCESSIONS, line)
    (data_dir / CHECKPOINT).unlink(missing_ok=True)  # signed by the older one
    _remember(file, old)
    os.replace(waiting, file)
    fsync_folder(file.parent)
    return True


def forget_predecessor(file: Path) -> None:
    """The key has signed a head itself: what the one before it signs counts no more."""
    predecessor_file(file).unlink(missing_ok=True)


def _remember(file: Path, old: Ed25519PublicKey) -> None:
    """For a start that finds no head of the new key yet."""
    with predecessor_file(file).open("w") as before:
        before.write(_pem(old))
        before.flush()
        os.fsync(before.fileno())


def _note(old: Ed25519PrivateKey, new: Ed25519PublicKey, seq: int) -> dict[str, Any]:
    """In the form of a head, so that a verifier reads both alike."""
    said = {
        "at_us": _now_us(),
        "key": key_id(old.public_key()),
        "next": _pem(new),
        "prev": "",
        "root": "",
        "size": seq,
    }
    signature = old.sign(KEY_CONTEXT + canonical(said)).hex()
    return {"kind": KIND, "said": {**said, "sig": signature}}


def _pem(key: Ed25519PublicKey) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _next_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.next")


def _now_us() -> int:
    return time.time_ns() // 1000
