"""The ledger: an append-only file of JSON lines, each bound to the one before by its hash.

A line names the sealed segments of one commit with their SHA-256, and the ranges of batches that
they hold. What the ledger does not name does not exist; what it names is durable.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

NAME = "ledger.jsonl"
GENESIS = "0" * 64
MERGED = "merged"
"""Reason of an entry whose ``removed`` segments live on in its ``files``."""


class LedgerError(Exception):
    """The ledger cannot be written or read; the message names the file and line."""


@dataclass(frozen=True, slots=True)
class SealedFile:
    """One segment. ``path`` is relative to the data directory."""

    table: str
    path: str
    sha256: str
    rows: int
    bytes: int
    first_us: int
    last_us: int
    schema: int


@dataclass(frozen=True, slots=True)
class SourceRange:
    """Batches ``first`` to ``last`` of one agent's epoch are in this commit."""

    agent: str
    epoch: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Entry:
    seq: int
    at_us: int
    prev: str
    files: tuple[SealedFile, ...] = ()
    sources: tuple[SourceRange, ...] = ()
    removed: tuple[str, ...] = ()
    """Paths of earlier segments that hold no longer: damaged, or merged into ``files``."""
    reason: str = ""
    hash: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Problem:
    line: int
    """From 1; 0 where no line is to blame."""
    message: str


def entry_hash(entry: Entry) -> str:
    """SHA-256 over the previous hash and the entry's canonical JSON."""
    return hashlib.sha256((entry.prev + _canonical(_fields(entry))).encode()).hexdigest()


def read(path: Path) -> tuple[list[Entry], list[Problem], int]:
    """Entries that can be read, what is wrong, and the length in bytes of the whole lines.

    A line that is not an entry is a problem and is left out; those after it are still read, so
    that one damaged line does not hide the rest of the record.
    """
    data = path.read_bytes() if path.exists() else b""
    whole = data.rfind(b"\n") + 1
    entries, problems = [], []
    prev, expected = GENESIS, 1
    for number, line in enumerate(data[:whole].splitlines(), 1):
        try:
            entry = _decode(line)
        except (ValueError, TypeError, KeyError) as error:
            problems.append(Problem(number, f"not a ledger entry: {error}"))
            continue
        if entry.hash != entry_hash(entry):
            problems.append(Problem(number, "its hash does not match its content"))
        elif entry.prev != prev or entry.seq != expected:
            problems.append(Problem(number, "it does not follow from the line before"))
        prev, expected = entry.hash, entry.seq + 1
        entries.append(entry)
    return entries, problems, whole


def live_files(entries: list[Entry]) -> list[SealedFile]:
    """Segments that hold, in the order of their commits."""
    files: dict[str, SealedFile] = {}
    for entry in entries:
        for path in entry.removed:
            files.pop(path, None)
        for file in entry.files:
            files[file.path] = file
    return list(files.values())


def high_water(entries: list[Entry]) -> dict[tuple[str, int], int]:
    """The last durable sequence by (agent, epoch)."""
    marks: dict[tuple[str, int], int] = {}
    for entry in entries:
        for source in entry.sources:
            key = (source.agent, source.epoch)
            marks[key] = max(marks.get(key, 0), source.last)
    return marks


def verify(data_dir: Path) -> list[Problem]:
    """Everything that does not hold: the chain, and each segment's presence and hash."""
    entries, problems, whole = read(data_dir / NAME)
    path = data_dir / NAME
    if path.exists() and path.stat().st_size != whole:
        problems.append(Problem(0, "the last line is cut short"))
    lines = {file.path: entry.seq for entry in entries for file in entry.files}
    for file in live_files(entries):
        if (damage := damage_of(data_dir, file)) is not None:
            problems.append(Problem(lines[file.path], f"{file.path}: {damage}"))
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


class Ledger:
    """The writing end; one per data directory, guarded by the collector's lock."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / NAME
        entries, self.problems, whole = read(self._path)
        self.seq = entries[-1].seq if entries else 0
        self.head = entries[-1].hash if entries else GENESIS
        self.files = {file.path: file for file in live_files(entries)}
        """Segments that hold, by path, in the order of their commits."""
        self.high_water = high_water(entries)
        self.merged = {path for e in entries if e.reason == MERGED for path in e.removed}
        self._quarantine_tail(data_dir, whole)
        self._file = self._path.open("ab", buffering=0)
        fsync_folder(data_dir)

    def append(
        self,
        at_us: int,
        files: tuple[SealedFile, ...],
        sources: tuple[SourceRange, ...] = (),
        removed: tuple[str, ...] = (),
        reason: str = "",
    ) -> Entry:
        """Durable when it returns. Raises LedgerError; after that this object must not be used."""
        draft = Entry(self.seq + 1, at_us, self.head, files, sources, removed, reason)
        entry = replace(draft, hash=entry_hash(draft))
        line = _canonical({**_fields(entry), "hash": entry.hash}).encode() + b"\n"
        try:
            written = self._file.write(line)
            if written != len(line):
                raise OSError("short write: the disk is full")
            os.fsync(self._file.fileno())
        except OSError as error:
            # What reached the disk is unknown now: only a new start can read it back.
            raise LedgerError(f"{self._path}: {error}") from error
        self.seq, self.head = entry.seq, entry.hash
        for path in removed:
            self.files.pop(path, None)
        self.files.update((file.path, file) for file in files)
        return entry

    def close(self) -> None:
        self._file.close()

    def _quarantine_tail(self, data_dir: Path, whole: int) -> None:
        """Cut a half-written last line, keeping its bytes. It was never acknowledged."""
        if not self._path.exists() or self._path.stat().st_size == whole:
            return
        folder = data_dir / "quarantine"
        folder.mkdir(exist_ok=True)
        data = self._path.read_bytes()
        (folder / f"ledger-tail-{self.seq + 1}.bin").write_bytes(data[whole:])
        with self._path.open("r+b") as file:
            file.truncate(whole)
            os.fsync(file.fileno())


def fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fields(entry: Entry) -> dict[str, Any]:
    fields = asdict(entry)
    del fields["hash"]
    return fields


def _canonical(fields: dict[str, Any]) -> str:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def _decode(line: bytes) -> Entry:
    fields = json.loads(line)
    return Entry(
        seq=int(fields["seq"]),
        at_us=int(fields["at_us"]),
        prev=str(fields["prev"]),
        files=tuple(_file(item) for item in fields["files"]),
        sources=tuple(SourceRange(**item) for item in fields["sources"]),
        removed=tuple(map(str, fields["removed"])),
        reason=str(fields["reason"]),
        hash=str(fields["hash"]),
    )


def _file(item: dict[str, Any]) -> SealedFile:
    file = SealedFile(**item)
    if file.path.startswith("/") or ".." in Path(file.path).parts:
        raise ValueError(f"segment path {file.path!r} leaves the data directory")
    return file
