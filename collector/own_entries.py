"""Entries that this collector wrote, told from those that somebody appended to the file.

Each entry is signed as it is written, so one that no signed head covers yet proves itself: a crash
between the two loses nothing, and a line that anybody else adds is never signed by us afterwards.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from collector.entry_signature import is_signed
from collector.heads import ENTRIES_SIGNED, PUBLIC_NAME, key_id
from collector.heads import NAME as HEADS
from collector.ledger import fsync_folder
from collector.ledger_entry import (
    GENESIS,
    MERGED,
    Entry,
    canonical,
    decode,
    entry_hash,
)
from collector.ledger_reading import (
    NAME,
    backwards,
    last_line,
    read,
    whole_bytes,
)
from collector.pgwarden_verify import BAD, public_keys, signed_head
from collector.sealed_segment import SegmentError, sealed_frame
from collector.successions import successions

Keys = Mapping[str, Ed25519PublicKey]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Unsigned:
    """The end of the ledger that neither a head nor a signature of its own covers."""

    lines: list[bytes]
    prev: str
    """Hash of the entry before."""
    seq: int
    """Of that one."""
    are_ours_signed: bool
    """Whether the collector signed its entries when it wrote them."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """What somebody else did to the ledger."""

    problems: list[str]
    seq: int = 0
    """Of the first of these lines."""
    lines: tuple[bytes, ...] = ()


def set_aside_foreign(data_dir: Path, key: Ed25519PrivateKey, is_new_key: bool) -> list[str]:
    """Before the ledger is opened: cut off what somebody else appended, and keep it in
    ``quarantine``. Returns what contradicts that the ledger is as this collector left it.

    ``is_new_key``: it was made at this start. Raises OSError.
    """
    found = examine(data_dir, key, is_new_key)
    if found.lines:
        _cut(data_dir, found)
    for problem in found.problems:
        _log.error("the ledger is contradicted: %s", problem)
    return found.problems


def examine(data_dir: Path, key: Ed25519PrivateKey, is_new_key: bool) -> Foreign:
    """Reads from the ledger's end up to what a head covers, or to our own last entry."""
    head, keys, problem = _newest_head(data_dir, key.public_key(), is_new_key)
    problems = [problem] if problem else []
    rest = _unsigned(data_dir, head or {}, keys)
    if head is None and not rest.are_ours_signed:
        return Foreign(problems)  # nothing tells which lines of an earlier release are its own
    for kept, line in enumerate(_chained(rest)):
        if rest.are_ours_signed or not _could_be_ours(data_dir, _decoded(line)):
            seq, lines = rest.seq + kept + 1, tuple(rest.lines[kept:])
            problems.append(
                f"{len(lines)} entries from {seq} on were appended by somebody without the"
                f" ledger's key: they do not count, and are in quarantine/{_aside(seq)}"
            )
            return Foreign(problems, seq, lines)
    return Foreign(problems)


def _newest_head(
    data_dir: Path, ours: Ed25519PublicKey, is_new_key: bool
) -> tuple[dict[str, Any] | None, Keys, str]:
    """The head, if it can be believed; the keys of entries after it; what is wrong with it."""
    own = key_id(ours)
    keys = {**_published(data_dir), own: ours}
    line = last_line(data_dir / HEADS)
    if not line:
        is_left = not is_new_key and bool(last_line(data_dir / NAME))
        return None, {own: ours}, f"{HEADS} is empty or gone, the ledger is not" if is_left else ""
    try:
        head = signed_head(line, keys)
    except ValueError as error:
        return None, {own: ours}, f"{HEADS}: its last line: {error}"
    signer = str(head["key"])
    is_named = signer == own or is_new_key or _named_last(data_dir) == own
    problem = f"the newest head is signed by {signer}, which named no other" if not is_named else ""
    return head, {own: ours, signer: keys[signer]}, problem


def _published(data_dir: Path) -> Keys:
    try:
        return public_keys((data_dir / PUBLIC_NAME).read_bytes())
    except (OSError, ValueError):
        return {}


def _named_last(data_dir: Path) -> str:
    """The id of the key that the one before it named."""
    try:
        *_, last = successions(data_dir)
        (named,) = public_keys(json.loads(last)["next"].encode())
    except (OSError, *BAD):
        return ""
    return named


def _unsigned(data_dir: Path, head: Mapping[str, Any], keys: Keys) -> Unsigned:
    lines: list[bytes] = []
    prev, seq, are_signed = GENESIS, 0, head.get("entries") == ENTRIES_SIGNED
    for line in backwards(data_dir / NAME):
        entry = _decoded(line)
        if entry is not None and (entry.seq <= head.get("size", 0) or _is_own(entry, keys)):
            prev, seq = entry.hash, entry.seq
            are_signed = are_signed or entry.signed is not None
            break
        lines.append(line)
    lines.reverse()
    return Unsigned(lines, prev, seq, are_signed)


def _is_own(entry: Entry, keys: Keys) -> bool:
    return entry.hash == entry_hash(entry) and is_signed(entry, keys)


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


def _cut(data_dir: Path, found: Foreign) -> None:
    """The bytes are safe elsewhere before the ledger ends sooner: a crash repeats it."""
    path, folder = data_dir / NAME, data_dir / "quarantine"
    at = whole_bytes(path) - sum(len(line) + 1 for line in found.lines)
    folder.mkdir(exist_ok=True)
    with path.open("r+b") as file, (folder / _aside(found.seq)).open("ab") as kept:
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
