"""What ``pgwarden ledger`` says of a data directory: the last head, and proofs of single events.

An event is where its commit put it until its segment is merged into another; then it follows the
segment, whose rows a merge keeps in their order.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from collector import ledger_reading
from collector.heads import NAME as HEADS
from collector.key_rotation import KIND
from collector.ledger_entry import EVENTS, MERGED, RESTORED, Entry, SealedFile
from collector.security_events import SECURITY_TABLES, event_leaves
from model.merkle import inclusion_proof, leaf_hash, root_of

Fields = dict[str, Any]


class ProofError(Exception):
    """Nothing can be proven; the message says why."""


class GoneError(ProofError):
    """The rows were removed since: of them only the root in their entry is left."""


@dataclass(frozen=True, slots=True)
class Part:
    """The security events of an entry that are of one table."""

    table: str
    before: int
    """So many events of the entry come before them."""
    leaves: list[bytes]


@dataclass(frozen=True, slots=True)
class Place:
    """Rows ``start`` to ``start + rows`` of a segment."""

    file: SealedFile
    start: int
    rows: int


def newest_head(heads: Path) -> Fields:
    """The head over the most entries of a file of heads. Raises ProofError and OSError."""
    found = []
    for line in heads.read_bytes().split(b"\n") if heads.exists() else ():
        try:
            head = json.loads(line)
            found.append((int(head["size"]), head))
        except (ValueError, TypeError, KeyError):
            continue
    if not found:
        raise ProofError(f"{heads} has no signed head: a collector signs one when it starts")
    return dict(max(found, key=lambda each: each[0])[1])


def newest_head_of(line: bytes) -> Fields:
    """The head of a line of heads. Raises ProofError."""
    try:
        return dict(json.loads(line))
    except (ValueError, TypeError):
        raise ProofError("there is no signed head: a collector signs one when it starts") from None


class Prover:
    """Of what a data directory holds now. Raises OSError where it cannot be read."""

    def __init__(self, data_dir: Path, heads: Path | None = None) -> None:
        """Proofs lead to the newest head of ``heads``; None: of the data directory's own."""
        self._data_dir = data_dir
        self._heads = heads or data_dir / HEADS
        self._lines = ledger_reading.lines(data_dir)
        self._entries = ledger_reading.read(data_dir / ledger_reading.NAME).entries
        self._by_seq = {entry.seq: entry for entry in self._entries}
        self.unread: list[str] = []
        self._last: dict[str, tuple[str, pl.DataFrame]] = {}
        """The segment of each table that was read last: a merged one serves many entries."""
        self._removals = _removals(self._entries)
        self._sealed = {file.path: file for entry in self._entries for file in entry.files}

    def entry(self, seq: int) -> Fields:
        """Proof of a ledger entry: its segments, its notes, the root of its events."""
        head = newest_head(self._heads)
        size = int(head["size"])
        if not 1 <= seq <= len(self._lines):
            raise ProofError(f"there is no entry {seq}: the ledger has {len(self._lines)}")
        if seq > size:
            raise ProofError(f"entry {seq} is not under a signed head yet: that has {size}")
        if size > len(self._lines):
            raise ProofError(f"the head is over {size} entries, the ledger has {len(self._lines)}")
        leaves = [leaf_hash(line) for line in self._lines[:size]]
        proof = {
            "head": head,
            "index": seq - 1,
            "entry": self._lines[seq - 1].decode(),
            "path": [node.hex() for node in inclusion_proof(leaves, seq - 1)],
        }
        # Who knows an older key only is led to the one that signed.
        keys = [n["said"] for each in self._entries for n in each.notes if n["kind"] == KIND]
        return proof | ({"keys": keys} if keys else {})

    def event(self, seq: int, number: int) -> Fields:
        """Proof of the security event ``number`` (from 1) of an entry."""
        proof, (parts, gone) = self.entry(seq), self._parts(seq)
        sealed = self._by_seq[seq].events if seq in self._by_seq else None
        count = sealed.count if sealed else 0
        if not 1 <= number <= count:
            raise ProofError(f"entry {seq} has {count} security events")
        index, place = number - 1, dict[str, Any]()
        if gone is None:
            events = [event for part in parts for event in part.leaves]
        else:
            # The root over all tables needs all rows; that of its own table does not.
            part = next((p for p in parts if 0 <= index - p.before < len(p.leaves)), None)
            if part is None:
                raise gone
            events, index, place = part.leaves, index - part.before, {"event_table": part.table}
        path = [node.hex() for node in inclusion_proof([leaf_hash(e) for e in events], index)]
        place |= {"event_index": index, "event_path": path}
        return {**proof, "event": events[index].decode(), **place}

    def matching(self, wanted: Callable[[Fields], bool]) -> Iterator[tuple[int, int]]:
        """Entry and number of the events that are ``wanted``, of those whose rows are left. Why
        others cannot be read is in ``unread`` afterwards."""
        for entry in self._entries:
            if entry.events is None:
                continue
            try:
                parts, _ = self._parts(entry.seq)
            except GoneError:
                continue
            except ProofError as error:
                self.unread.append(str(error))
                continue
            for part in parts:
                for number, event in enumerate(part.leaves, part.before + 1):
                    if wanted(json.loads(event)):
                        yield entry.seq, number

    def _parts(self, seq: int) -> tuple[list[Part], GoneError | None]:
        """An entry's events, as far as their rows are left, and why others are not. Raises
        ProofError unless they are those it sealed; GoneError where that cannot be said."""
        entry = self._by_seq.get(seq)
        if entry is None or entry.events is None:
            return [], None
        files = {file.table: file for file in entry.files}
        parts, before, gone = list[Part](), 0, None
        for table in SECURITY_TABLES:
            if (file := files.get(table)) is None:
                continue
            try:
                parts.append(Part(table, before, event_leaves(table, self._rows(entry, file))))
            except GoneError as error:
                gone = error
            before += file.rows
        if not _are_sealed(entry, parts, gone):
            raise ProofError(f"entry {seq}: its security events are not those that were sealed")
        return parts, gone

    def contradictions(self) -> Iterator[str]:
        """Entries whose security events are not what was sealed, though their segments hold."""
        for entry in self._entries:
            try:
                self._parts(entry.seq)
            except GoneError:
                continue
            except (ProofError, pl.exceptions.PolarsError) as error:
                yield str(error)

    def _rows(self, entry: Entry, file: SealedFile) -> pl.DataFrame:
        place = self._place(entry, file)
        known = self._last.get(file.table)
        if known is None or known[0] != place.file.path:
            path = self._data_dir / place.file.path
            try:
                known = (place.file.path, pl.read_parquet(path, glob=False))
            except OSError as error:
                raise ProofError(f"{path}: {error.strerror}") from error
            except pl.exceptions.PolarsError as error:
                raise ProofError(f"{path}: {str(error).splitlines()[0]}") from error
            self._last[file.table] = known
        return known[1].slice(place.start, place.rows)

    def _place(self, entry: Entry, file: SealedFile) -> Place:
        """Where the rows of a segment are now."""
        start, rows, at = 0, file.rows, file
        while (merge := self._removals.get(at.path)) is not None:
            if merge.reason != MERGED:
                why = merge.reason or "removed"
                raise GoneError(f"entry {entry.seq}: {at.path} is gone: {why}, entry {merge.seq}")
            before = merge.removed[: merge.removed.index(at.path)]
            start += sum(self._sealed[path].rows for path in before)
            at = merge.files[0]
        return Place(at, start, rows)


def _are_sealed(entry: Entry, parts: Sequence[Part], gone: GoneError | None) -> bool:
    """Raises GoneError where nothing is left, and for an entry of an earlier release, which has one
    root over all tables."""
    if gone is None:
        every = [leaf_hash(event) for part in parts for event in part.leaves]
        return entry.events is not None and root_of(every).hex() == entry.events.root
    roots = {note["table"]: note["root"] for note in entry.notes if note["kind"] == EVENTS}
    if not parts or not roots:
        raise gone
    return all(
        root_of([leaf_hash(event) for event in part.leaves]).hex() == roots.get(part.table)
        for part in parts
    )


def _removals(entries: Sequence[Entry]) -> dict[str, Entry]:
    """The entry that took a segment out, by path; what was put back since is not out."""
    removals: dict[str, Entry] = {}
    for entry in entries:
        if entry.reason == RESTORED:
            for file in entry.files:
                removals.pop(file.path, None)
        removals.update((path, entry) for path in entry.removed)
    return removals
