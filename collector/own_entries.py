"""Entries that this collector wrote, told from those that somebody appended to the file.

Each entry is signed as it is written, so one that no signed head covers yet proves itself: a crash
between the two loses nothing, and a line that anybody else adds is never signed by us afterwards.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from collector.anchor import find_anchor, refusal
from collector.entry_signature import is_signed
from collector.heads import ENTRIES_SIGNED
from collector.heads import NAME as HEADS
from collector.ledger import fsync_folder
from collector.ledger_entry import (
    GENESIS,
    MERGED,
    Entry,
    canonical,
    decode,
)
from collector.ledger_reading import (
    NAME,
    backwards,
    read,
    whole_bytes,
)
from collector.pgwarden_verify import BAD
from collector.sealed_segment import SegmentError, sealed_frame

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Unsigned:
    """The end of the ledger, which no head of ours covers."""

    lines: list[bytes]
    prev: str
    """Hash of the entry before."""
    seq: int
    """Of that one."""
    must_be_signed: bool
    """The collector signed its entries already when it wrote them."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """What somebody else did to the ledger."""

    problems: list[str]
    seq: int = 0
    """Of the first of these lines."""
    lines: tuple[bytes, ...] = ()
    heads: tuple[bytes, ...] = ()
    """Lines at the end of the file of heads."""


def set_aside_foreign(
    data_dir: Path, key: Ed25519PrivateKey, key_file: Path, is_new_key: bool
) -> list[str]:
    """Before the ledger is opened: cut off what somebody else appended to it and to its heads, and
    keep it in ``quarantine``. Returns what contradicts that both are as this collector left them.

    ``is_new_key``: it was made at this start. Raises OSError; HeadsError where nothing is ours.
    """
    found = examine(data_dir, key, key_file, is_new_key)
    if found.heads:
        _cut(data_dir, HEADS, found.heads, f"heads-foreign-{time.time_ns()}.jsonl")
    if found.lines:
        _cut(data_dir, NAME, found.lines, _aside(found.seq))
    for problem in found.problems:
        _log.error("the ledger is contradicted: %s", problem)
    return found.problems


def examine(data_dir: Path, key: Ed25519PrivateKey, key_file: Path, is_new_key: bool) -> Foreign:
    """Reads each entry after the newest head of our key, or all where there is none. Raises
    HeadsError where nothing is ours, OSError."""
    anchor = find_anchor(data_dir, key.public_key(), key_file, is_new_key)
    problems = [anchor.problem] if anchor.problem else []
    rest = _unsigned(data_dir, anchor.head or {})
    must_be_signed = rest.must_be_signed
    for kept, line in enumerate(_chained(rest)):
        entry = _decoded(line)
        if entry is not None and is_signed(entry, anchor.keys):
            must_be_signed = True
        elif must_be_signed or (anchor.head and not _could_be_ours(data_dir, entry)):
            seq, lines = rest.seq + kept + 1, tuple(rest.lines[kept:])
            problems.append(
                f"{len(lines)} entries from {seq} on were appended by somebody without the"
                f" ledger's key: they do not count, and are in quarantine/{_aside(seq)}"
            )
            return Foreign(problems, seq, lines, anchor.foreign)
    if anchor.problem and anchor.head is None and not must_be_signed:
        raise refusal(data_dir, key.public_key(), key_file)
    return Foreign(problems, heads=anchor.foreign)


def _unsigned(data_dir: Path, head: Mapping[str, Any]) -> Unsigned:
    lines: list[bytes] = []
    prev, seq, are_signed = GENESIS, 0, head.get("entries") == ENTRIES_SIGNED
    for line in backwards(data_dir / NAME):
        entry = _decoded(line)
        if entry is not None and entry.seq <= head.get("size", 0):
            prev, seq = entry.hash, entry.seq
            are_signed = are_signed or entry.signed is not None
            break
        lines.append(line)
    lines.reverse()
    return Unsigned(lines, prev, seq, are_signed)


def _chained(rest: Unsigned) -> Iterator[bytes]:
    """Up to the first line that breaks the chain: from there on nothing verifies, for good.

    Read as a verifier reads it: what ``decode`` would make of a line may be another thing.
    """
    prev, seq = rest.prev, rest.seq + 1
    for line in rest.lines:
        try:
            fields = json.loads(line)
            claimed = fields.pop("hash")
            content = (prev + canonical(fields)).encode()
            if (fields["prev"], fields["seq"]) != (prev, seq):
                return
            if hashlib.sha256(content).hexdigest() != claimed:
                return
        except BAD:
            return
        yield line
        prev, seq = claimed, seq + 1


def _could_be_ours(data_dir: Path, entry: Entry | None) -> bool:
    """Of an earlier release, which signed heads alone: whether it takes nothing from the record."""
    if entry is None:
        return False
    if entry.removed:
        return _is_true_merge(data_dir, entry)
    return all(Path(file.path).stem == f"{entry.seq:012d}" for file in entry.files)


def _is_true_merge(data_dir: Path, entry: Entry) -> bool:
    """The merged segments are still there as they were sealed, and their rows in the new one."""
    known = {file.path: file for each in read(data_dir / NAME).entries for file in each.files}
    old = [known[path] for path in entry.removed if path in known]
    if entry.reason != MERGED or len(entry.files) != 1 or len(old) != len(entry.removed):
        return False
    (new,) = entry.files
    try:
        frames = [sealed_frame(data_dir, file) for file in (*old, new)]
        return pl.concat(frames[:-1]).equals(frames[-1])
    except (SegmentError, KeyError, pl.exceptions.PolarsError):
        return False


def _cut(data_dir: Path, name: str, lines: Sequence[bytes], aside: str) -> None:
    """The last lines of a file: safe elsewhere before it ends sooner, and a crash repeats it."""
    path, folder = data_dir / name, data_dir / "quarantine"
    at = whole_bytes(path) - sum(len(line) + 1 for line in lines)
    folder.mkdir(exist_ok=True)
    with path.open("r+b") as file, (folder / aside).open("ab") as kept:
        file.seek(at)
        kept.write(file.read())
        kept.flush()
        os.fsync(kept.fileno())
        fsync_folder(folder)
        file.truncate(at)
        os.fsync(file.fileno())


def _aside(seq: int) -> str:
    return f"ledger-unsigned-{seq}.jsonl"


def _decoded(line: bytes) -> Entry | None:
    try:
        return decode(line)
    except BAD:
        return None
