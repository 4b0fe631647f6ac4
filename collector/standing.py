"""Where the ledger stands, read from its checkpoint on, or whole where that cannot be trusted."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from collector.checkpoint import Checkpoint, CheckpointError, read_checkpoint
from collector.ledger_reading import NAME, Reading, last_line, read, read_on
from collector.ledger_state import LedgerState
from collector.pgwarden_verify import BAD, public_keys
from model.merkle import Tree, leaf_hash

HEADS = "heads.jsonl"
PUBLIC = "ledger.pub"
BLOCK_BYTES = 4 << 20
Keys = Mapping[str, Ed25519PublicKey]


def standing(data_dir: Path) -> tuple[LedgerState, str]:
    """For readers: what holds, and why the checkpoint could not be used; empty: it was, or there is
    none. Whoever can write the folder can also sign a checkpoint that a reader believes: against
    that there are heads outside and ``pgwarden ledger verify``."""
    problem = ""
    found = None
    try:
        found = trusted(data_dir, _keys(data_dir))
    except CheckpointError as error:
        problem = str(error)
    known, tail = found or (Checkpoint(), read(data_dir / NAME))
    state = known.state.copy()
    for entry in tail.entries:
        state.apply(entry)
    return state, problem


def trusted(data_dir: Path, keys: Keys) -> tuple[Checkpoint, Reading] | None:
    """The checkpoint and what follows it, which lead to the newest signed head; None where there is
    no checkpoint. Raises CheckpointError."""
    # The head before the ledger: a living collector writes them the other way round.
    head = _size_and_root(last_line(data_dir / HEADS))
    checkpoint = read_checkpoint(data_dir, data_dir / NAME, keys)
    if checkpoint is None:
        return None
    tail = read_on(data_dir / NAME, checkpoint)
    if _root(checkpoint, tail.leaves, head[0]) != head[1]:
        raise CheckpointError("the checkpoint does not lead to the newest signed head")
    return checkpoint, tail


def is_beginning(data_dir: Path, checkpoint: Checkpoint, pause_seconds: float = 0.0) -> bool:
    """Whether the ledger's lines before the checkpoint are those of its tree. Reads all of them,
    with a pause after each block."""
    tree, left, rest = Tree(), checkpoint.offset, b""
    with (data_dir / NAME).open("rb") as file:
        while left and (block := file.read(min(left, BLOCK_BYTES))):
            left -= len(block)
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                tree.append(leaf_hash(line))
            time.sleep(pause_seconds)
    return not rest and tree.size == checkpoint.size and tree.peaks == checkpoint.peaks


def _root(checkpoint: Checkpoint, leaves: list[bytes], size: int) -> bytes | None:
    """The tree's root at that size; None where that is not between checkpoint and end."""
    if not checkpoint.size <= size <= checkpoint.size + len(leaves):
        return None
    tree = checkpoint.tree()
    for leaf in leaves[: size - checkpoint.size]:
        tree.append(leaf)
    return tree.root()


def _size_and_root(line: bytes) -> tuple[int, bytes]:
    """Of a head; (-1, b"") of anything else."""
    try:
        fields = json.loads(line)
        return int(fields["size"]), bytes.fromhex(fields["root"])
    except BAD:
        return -1, b""


def _keys(data_dir: Path) -> Keys:
    try:
        return public_keys((data_dir / PUBLIC).read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{PUBLIC}: {error}") from error
