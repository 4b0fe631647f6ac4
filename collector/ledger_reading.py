"""Reading ``ledger.jsonl``: whole, from a checkpoint on, or from its end backwards."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from collector.checkpoint import Checkpoint
from collector.ledger_entry import BAD_LINE, Entry, SealedFile, decode, entry_hash
from collector.ledger_state import LedgerState
from model.merkle import leaf_hash

NAME = "ledger.jsonl"
BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Problem:
    line: int
    """From 1; 0 where no line is to blame."""
    message: str


@dataclass(frozen=True, slots=True)
class Reading:
    entries: list[Entry]
    """Those that can be read."""
    problems: list[Problem]
    leaves: list[bytes]
    """Of the Merkle tree: one for each whole line, whatever it says."""
    end: int
    """Bytes of the file's whole lines, from its beginning."""
    last_bytes: int
    """Of the last whole line, without its end."""


def read_on(path: Path, known: Checkpoint) -> Reading:
    """What follows what is ``known``.

    A line that is not an entry is a problem and is left out; those after it are still read, so
    that one damaged line does not hide the rest of the record.
    """
    data = _bytes_from(path, known.offset)
    whole = data.rfind(b"\n") + 1
    lines = data[:whole].split(b"\n")[:-1]
    entries, problems = [], []
    prev, expected = known.state.head, known.state.seq + 1
    for number, line in enumerate(lines, known.size + 1):
        try:
            entry = decode(line)
        except BAD_LINE as error:
            problems.append(Problem(number, f"not a ledger entry: {error}"))
            continue
        if entry.hash != entry_hash(entry):
            problems.append(Problem(number, "its hash does not match its content"))
        elif entry.prev != prev or entry.seq != expected:
            problems.append(Problem(number, "it does not follow from the line before"))
        prev, expected = entry.hash, entry.seq + 1
        entries.append(entry)
    leaves = [leaf_hash(line) for line in lines]
    return Reading(entries, problems, leaves, known.offset + whole, len(lines[-1]) if lines else 0)


def read(path: Path) -> Reading:
    """All of it."""
    return read_on(path, Checkpoint())


def lines(data_dir: Path) -> list[bytes]:
    """The whole lines of the ledger, without their ends."""
    return _bytes_from(data_dir / NAME, 0).split(b"\n")[:-1]


def entries_since(data_dir: Path, seq: int) -> list[Entry]:
    """Entries with this sequence and up, read from the end of the file backwards."""
    found: list[Entry] = []
    for line in backwards(data_dir / NAME):
        try:
            entry = decode(line)
        except BAD_LINE:
            continue
        if entry.seq < seq:
            break
        found.append(entry)
    found.reverse()
    return found


def last_line(path: Path) -> bytes:
    """The last whole line, without its end; empty where there is none."""
    return next(backwards(path), b"")


def whole_bytes(path: Path) -> int:
    """Bytes up to the end of the last whole line."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        at = file.seek(0, os.SEEK_END)
        while at:
            start = max(0, at - BLOCK_BYTES)
            file.seek(start)
            if end := file.read(at - start).rfind(b"\n") + 1:
                return start + end
            at = start
    return 0


def state_of(entries: list[Entry]) -> LedgerState:
    state = LedgerState()
    for entry in entries:
        state.apply(entry)
    return state


def verify(data_dir: Path) -> list[Problem]:
    """Everything that does not hold: the chain, and each segment's presence and hash."""
    path = data_dir / NAME
    found = read(path)
    problems = list(found.problems)
    if path.exists() and path.stat().st_size != found.end:
        problems.append(Problem(0, "the last line is cut short"))
    sealed_by = {file.path: entry.seq for entry in found.entries for file in entry.files}
    for file in state_of(found.entries).files.values():
        if (damage := damage_of(data_dir, file)) is not None:
            problems.append(Problem(sealed_by[file.path], f"{file.path}: {damage}"))
    return sorted(problems, key=lambda problem: problem.line)


def damage_of(data_dir: Path, file: SealedFile, deep: bool = True) -> str | None:
    """Why a segment cannot be trusted, or None. Without ``deep`` only its size is compared."""
    path = data_dir / file.path
    try:
        size = path.stat().st_size
        if size != file.bytes:
            return f"{size} bytes, sealed with {file.bytes}"
        if deep and sha256_of(path) != file.sha256:
            return "its SHA-256 is not the sealed one"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _bytes_from(path: Path, offset: int) -> bytes:
    if not path.exists():
        return b""
    with path.open("rb") as file:
        file.seek(offset)
        return file.read()


def backwards(path: Path) -> Iterator[bytes]:
    """Whole lines, the last one first; a half line at the end is none."""
    if not path.exists():
        return
    with path.open("rb") as file:
        at = file.seek(0, os.SEEK_END)
        rest, is_end = b"", True
        while at:
            start = max(0, at - BLOCK_BYTES)
            file.seek(start)
            first, *others = (file.read(at - start) + rest).split(b"\n")
            if is_end and others:
                others.pop()  # after the last line's end: nothing, or a half line
                is_end = False
            yield from reversed(others)
            rest, at = first, start
        if not is_end:
            yield rest
