"""What the ledger amounted to at one of its entries: a start or a query reads on from there.

``ledger.checkpoint`` has two lines: the state, and a signature over it by the key of the heads. It
is a shortcut and never evidence: ``pgwarden ledger verify`` does not look at it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from collector.ledger_entry import BAD_LINE, canonical, decode, entry_hash, sealed_file
from collector.ledger_state import LedgerState
from model.merkle import Tree

NAME = "ledger.checkpoint"
VERSION = 2
"""1 did not count what is noted as missing into ``high_water``."""
CONTEXT = b"pgwarden ledger checkpoint v1\n"
"""Before what is signed, so that the signature means nothing elsewhere."""


class CheckpointError(Exception):
    """It cannot be used; the message says why. The ledger is read whole instead."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The first ``offset`` bytes of the ledger in short. Without arguments: of an empty one."""

    state: LedgerState = field(default_factory=LedgerState)
    """Never changed: it is copied before it grows."""
    peaks: tuple[bytes, ...] = ()
    """Of the Merkle tree over the lines (``merkle.Tree``)."""
    offset: int = 0
    last_bytes: int = 0
    """Of the last line, without its end."""

    @property
    def size(self) -> int:
        """Number of lines: there is no checkpoint of a ledger with a damaged line."""
        return self.state.seq

    def tree(self) -> Tree:
        return Tree.of(self.size, self.peaks)


def write_checkpoint(
    data_dir: Path, checkpoint: Checkpoint, key: Ed25519PrivateKey, key_id: str
) -> None:
    """Whole or not at all. Raises OSError."""
    body = canonical(_fields(checkpoint)).encode()
    seal = canonical({"key": key_id, "sig": key.sign(CONTEXT + body).hex()}).encode()
    part = data_dir / f"{NAME}.part"
    with part.open("wb") as file:
        file.write(body + b"\n" + seal + b"\n")
        file.flush()
        os.fsync(file.fileno())
    part.rename(data_dir / NAME)


def read_checkpoint(
    data_dir: Path, ledger: Path, keys: Mapping[str, Ed25519PublicKey]
) -> Checkpoint | None:
    """None where there is none. Raises CheckpointError unless one of ``keys`` signed it and the
    ledger still has the entry it ends with, where it was."""
    try:
        data = (data_dir / NAME).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CheckpointError(f"{NAME}: {error.strerror}") from error
    checkpoint = _believed(data, keys)
    _compare(checkpoint, ledger)
    return checkpoint


def _believed(data: bytes, keys: Mapping[str, Ed25519PublicKey]) -> Checkpoint:
    try:
        body, seal, rest = data.split(b"\n")
        signed = json.loads(seal)
        key, signature = keys.get(str(signed["key"])), bytes.fromhex(signed["sig"])
        if rest:
            raise ValueError
    except BAD_LINE:
        raise CheckpointError(f"{NAME} is damaged") from None
    if key is None:
        raise CheckpointError(f"{NAME} is signed by a key that is not trusted")
    try:
        key.verify(signature, CONTEXT + body)
        return _parse(json.loads(body))
    except InvalidSignature:
        raise CheckpointError(f"{NAME} is not what was signed") from None
    except BAD_LINE:
        raise CheckpointError(f"{NAME} is of another release") from None


def _compare(checkpoint: Checkpoint, ledger: Path) -> None:
    """The last entry's hash stands for all before it, as far as nobody has changed those."""
    start = checkpoint.offset - checkpoint.last_bytes - 1
    try:
        with ledger.open("rb") as file:
            file.seek(start)
            line = file.read(checkpoint.last_bytes + 1)
        entry = decode(line)
        good = (
            line.endswith(b"\n")
            and entry.seq == checkpoint.state.seq
            and entry.hash == checkpoint.state.head == entry_hash(entry)
        )
    except (OSError, *BAD_LINE):
        good = False
    if not good:
        raise CheckpointError(f"{NAME} does not fit the ledger")


def _fields(checkpoint: Checkpoint) -> dict[str, Any]:
    state = checkpoint.state
    return {
        "version": VERSION,
        "seq": state.seq,
        "head": state.head,
        "files": [asdict(file) for file in state.files.values()],
        "high_water": [[*key, last] for key, last in state.high_water.items()],
        "merged": sorted(state.merged),
        "damaged": [asdict(file) for file in state.damaged.values()],
        "last_notes": [dict(note) for note in state.last_notes.values()],
        "peaks": [peak.hex() for peak in checkpoint.peaks],
        "offset": checkpoint.offset,
        "last_bytes": checkpoint.last_bytes,
    }


def _parse(fields: dict[str, Any]) -> Checkpoint:
    """Raises one of ``BAD_LINE``."""
    if fields["version"] != VERSION:
        raise ValueError("version")
    files = [sealed_file(item) for item in fields["files"]]
    damaged = [sealed_file(item) for item in fields["damaged"]]
    state = LedgerState(
        int(fields["seq"]),
        str(fields["head"]),
        {file.path: file for file in files},
        {(str(agent), int(epoch)): int(last) for agent, epoch, last in fields["high_water"]},
        set(map(str, fields["merged"])),
        {str(note["kind"]): note for note in fields["last_notes"]},
        {file.path: file for file in damaged},
    )
    peaks = tuple(map(bytes.fromhex, fields["peaks"]))
    if len(peaks) != state.seq.bit_count():
        raise ValueError("peaks")
    return Checkpoint(state, peaks, int(fields["offset"]), int(fields["last_bytes"]))
