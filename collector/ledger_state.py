"""What the entries of a ledger amount to: the segments that hold, and how far each agent came."""

from __future__ import annotations

from dataclasses import dataclass, field

from collector.ledger_entry import (
    BATCHES_MISSING,
    DAMAGED,
    EXPIRED,
    GENESIS,
    MERGED,
    RETENTION,
    Entry,
    Note,
    SealedFile,
)

_OVER = (MERGED, EXPIRED, RETENTION)


@dataclass(slots=True)
class LedgerState:
    """Grows by ``apply``, entry by entry."""

    seq: int = 0
    head: str = GENESIS
    """Hash of the last entry."""
    files: dict[str, SealedFile] = field(default_factory=dict)
    """Segments that hold, by path, in the order of their commits."""
    high_water: dict[tuple[str, int], int] = field(default_factory=dict)
    """The last durable sequence by (agent, epoch)."""
    merged: set[str] = field(default_factory=set)
    """Segments whose rows live on elsewhere or were kept long enough: files of theirs may go."""
    last_notes: dict[str, Note] = field(default_factory=dict)
    """The last note of each kind."""
    damaged: dict[str, SealedFile] = field(default_factory=dict)
    """Segments that were taken out as damaged and may come back, by path."""

    def apply(self, entry: Entry) -> None:
        self.seq, self.head = entry.seq, entry.hash
        gone = [self.files.pop(path, None) for path in entry.removed]
        if entry.reason == DAMAGED:
            self.damaged.update((file.path, file) for file in gone if file is not None)
        if entry.reason in _OVER:
            self.merged.update(entry.removed)
        self.files.update((file.path, file) for file in entry.files)
        for file in entry.files:
            self.damaged.pop(file.path, None)
        for source in entry.sources:
            key = (source.agent, source.epoch)
            self.high_water[key] = max(self.high_water.get(key, 0), source.last)
        for note in entry.notes:
            if note.get("kind") == BATCHES_MISSING:
                key = (str(note["agent"]), int(note["epoch"]))
                self.high_water[key] = max(self.high_water.get(key, 0), int(note["last"]))
        self.last_notes.update((str(note.get("kind")), note) for note in entry.notes)

    def copy(self) -> LedgerState:
        return LedgerState(
            self.seq,
            self.head,
            dict(self.files),
            dict(self.high_water),
            set(self.merged),
            dict(self.last_notes),
            dict(self.damaged),
        )
