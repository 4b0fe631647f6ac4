"""This host as a witness of the collector's ledger: it signs a head only if that goes on from the
last one it has seen.

What it signed stays here, in ``witness.jsonl``: whoever rewrites the collector's disk does not
reach it, and ``pgwarden ledger verify --heads`` takes the file as it is.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from agent.witness_key import (
    BAD,
    NO_HEAD,
    OTHER_KEY,
    SigningError,
    canonical,
    replace_file,
    signed_by_child,
)
from model.merkle import Tree
from protos.pgwarden.v1 import uplink_pb2 as pb

log = structlog.get_logger(__name__)

KEY = "witness.key"
STATE = "witness.json"
SIGNED = "witness.jsonl"
KEPT_LINES = 1_000
HASH_BYTES = 32

Sign = Callable[
    [Path, str, int, Mapping[str, Any], bytes, bytes, Sequence[bytes]], tuple[bytes, bytes]
]
"""Key file, agent, time, head, the ledger's key, the one that is known (empty: none), what leads
from that to the other: the line and our public key."""


class RefusedError(Exception):
    """The head is not signed; the message says why."""


def open_witness(state_dir: Path, agent: str, degraded: list[str]) -> Witness | None:
    """None, with the reason among ``degraded``, where it cannot sign: capture must go on."""
    try:
        return Witness(state_dir, agent)
    except (OSError, ValueError) as error:
        degraded.append(f"heads of the ledger are not signed here: {error}")
        return None


class Witness:
    """``observe`` runs on the uplink's thread. ``problem``: why the newest head was refused."""

    def __init__(self, state_dir: Path, agent: str, sign: Sign = signed_by_child) -> None:
        """Raises OSError, ValueError for a state that cannot be read."""
        self._folder = state_dir
        self._agent = agent
        self._sign = sign
        self._lock = threading.Lock()
        self._tree, self._ledger_key = self._restore()
        self._growing = self._tree.copy()
        """With leaves that no head covers yet."""
        self.problem = ""

    @property
    def size(self) -> int:
        """Entries of the ledger that this host has signed."""
        return self._tree.size

    def observe(self, sent: pb.Head) -> pb.Witnessed | None:
        """What to answer; None while more leaves are to come."""
        with self._lock:
            try:
                return self._observe(sent)
            except (RefusedError, SigningError) as error:
                problem = str(error)
            except OSError as error:
                problem = f"a head of the ledger cannot be kept: {error.strerror}"
            if problem != self.problem:
                log.error("witness.refused", problem=problem)
            self.problem, self._growing = problem, self._tree.copy()
            return pb.Witnessed(size=self._tree.size, refused=problem)

    def _observe(self, sent: pb.Head) -> pb.Witnessed | None:
        if not sent.line:
            self._grow(sent)
            return None
        ledger_key = bytes(sent.ledger_key)
        if self._ledger_key not in (b"", ledger_key) and not sent.successions:
            raise RefusedError(OTHER_KEY)
        head, size, root = _read(sent.line)
        if size < self._tree.size:
            raise RefusedError(
                f"the collector's ledger had {self._tree.size} entries that this host signed, and"
                f" now has {size}"
            )
        self._grow(sent)
        if (self._growing.size, self._growing.root()) != (size, root):
            raise RefusedError(
                f"the collector's ledger is not the one whose first {self._tree.size} entries this"
                " host signed"
            )
        at_us = time.time_ns() // 1000
        line, key = self._sign(
            self._folder / KEY, self._agent, at_us, head, ledger_key, self._ledger_key,
            sent.successions,
        )  # fmt: skip
        self._keep(line, self._growing, ledger_key)
        self.problem = ""
        return pb.Witnessed(size=size, line=line, key=key)

    def _grow(self, sent: pb.Head) -> None:
        if not self._tree.size:  # trust on first use: from here on it must be the same ledger
            if sent.peaks:
                self._growing = _tree_of(sent.from_size, _hashes(sent.peaks))
        elif sent.from_size != self._growing.size:
            self._growing = self._tree.copy()
        if sent.from_size != self._growing.size:
            raise RefusedError("the collector's proof does not begin where this host stands")
        for leaf in _hashes(sent.leaves):
            self._growing.append(leaf)

    def _keep(self, line: bytes, tree: Tree, ledger_key: bytes) -> None:
        """Durable before it is answered: first what an auditor may need, then where we stand."""
        _append(self._folder / SIGNED, line)
        state = {
            "ledger_key": ledger_key.hex(),
            "peaks": [peak.hex() for peak in tree.peaks],
            "size": tree.size,
        }
        replace_file(self._folder / STATE, canonical(state))
        self._tree, self._growing, self._ledger_key = tree, tree.copy(), ledger_key

    def _restore(self) -> tuple[Tree, bytes]:
        file = self._folder / STATE
        try:
            state = json.loads(file.read_bytes())
            peaks = [bytes.fromhex(peak) for peak in state["peaks"]]
            return _tree_of(int(state["size"]), peaks), bytes.fromhex(state["ledger_key"])
        except FileNotFoundError:
            return Tree(), b""
        except (RefusedError, *BAD) as error:
            # Never begin anew in silence: that is what somebody would want who rolled back.
            raise ValueError(f"{file} is damaged: remove it to begin anew") from error


def _read(line: bytes) -> tuple[dict[str, Any], int, bytes]:
    """Raises RefusedError; whose signature it bears is looked at before ours is added."""
    try:
        head = json.loads(line)
        size, root = head["size"], bytes.fromhex(head["root"])
        if type(size) is not int or canonical(head) != line:
            raise ValueError
    except BAD:
        raise RefusedError(NO_HEAD) from None
    return head, size, root


def _tree_of(size: int, peaks: list[bytes]) -> Tree:
    if len(peaks) != size.bit_count():
        raise RefusedError("these are not the peaks of a tree of that size")
    return Tree.of(size, peaks)


def _hashes(data: bytes) -> list[bytes]:
    if len(data) % HASH_BYTES:
        raise RefusedError("the collector's proof is cut")
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


def _append(file: Path, line: bytes) -> None:
    """The newest ``KEPT_LINES`` at least; the file is made shorter when it has twice as many.
    What an earlier try left half written ends its line first."""
    *known, torn = file.read_bytes().split(b"\n") if file.exists() else [b""]
    if len(known) >= 2 * KEPT_LINES:
        replace_file(file, b"\n".join([*known[-KEPT_LINES:], line]) + b"\n")
        return
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "ab") as out:
        out.write((b"\n" if torn else b"") + line + b"\n")
        out.flush()
        os.fsync(out.fileno())
