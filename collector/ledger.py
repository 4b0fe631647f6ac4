"""The ledger: an append-only file of JSON lines, each bound to the one before by its hash.

A line names the sealed segments of one commit with their SHA-256, and the ranges of batches that
they hold. What the ledger does not name does not exist; what it names is durable. Each line is also
a leaf of a Merkle tree, whose roots are signed (``heads.py``).
"""

import errno
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from collector.checkpoint import Checkpoint
from collector.ledger_entry import (
    Entry,
    EventsRoot,
    Note,
    SealedFile,
    Signature,
    SourceRange,
    encode,
    entry_hash,
    signed_digest,
)
from collector.ledger_reading import NAME, read_on
from collector.ledger_state import LedgerState
from model.merkle import Tree, leaf_hash

CHECKPOINT_ENTRIES = 512
"""So many entries, and those of the last moments, are read by a start or a query."""


Sign = Callable[[bytes], Signature]
"""Of ``signed_digest``."""


class LedgerError(Exception):
    """The ledger cannot be written or read; the message names the file and line."""


class NoRoomError(OSError):
    """The disk is full; the ledger is as it was."""


class Ledger:
    """The writing end; one per data directory, guarded by the collector's lock.

    ``checkpoint`` is believed: who gives it has compared it with the file. Several threads may
    append; who needs more than one line to be true together takes the ``turn``.
    """

    def __init__(
        self, data_dir: Path, checkpoint: Checkpoint | None = None, sign: Sign | None = None
    ) -> None:
        self._path = data_dir / NAME
        self.turn = threading.RLock()
        self.sign = sign
        """Each entry, so that nobody else can append one; None: entries are not signed."""
        self._ended = ""
        """Why nothing may be appended any more."""
        known = checkpoint or Checkpoint()
        self._state = known.state.copy()
        tail = read_on(self._path, known)
        self.problems = tail.problems
        for entry in tail.entries:
            self._state.apply(entry)
        self._tree = known.tree()
        self._opened: tuple[Tree, Sequence[bytes]] | None = (known.tree(), tail.leaves)
        for leaf in tail.leaves:
            self._tree.append(leaf)
        self.state = (self._tree.size, self._tree.root())
        """Size and root of the tree over what is durable; any thread may read it."""
        self._bytes, self._last_bytes = tail.end, tail.last_bytes or known.last_bytes
        self._quarantine_tail(data_dir)
        self._file = self._path.open("ab", buffering=0)
        self._checkpoint_at = known.state.seq
        self.checkpoint: Checkpoint | None = checkpoint
        """The newest; any thread may read it and write it down."""
        fsync_folder(data_dir)

    @property
    def standing(self) -> LedgerState:
        """For who has the ``turn``; it grows."""
        return self._state

    @property
    def seq(self) -> int:
        return self._state.seq

    @property
    def head(self) -> str:
        return self._state.head

    @property
    def files(self) -> dict[str, SealedFile]:
        """Segments that hold, by path, in the order of their commits. For who has the ``turn``."""
        return self._state.files

    def files_now(self) -> list[SealedFile]:
        """The same as they are at this moment, from any thread."""
        with self.turn:
            return list(self._state.files.values())

    @property
    def high_water(self) -> dict[tuple[str, int], int]:
        return self._state.high_water

    @property
    def merged(self) -> set[str]:
        """Segments that hold no longer and whose files have not been removed, for all we know."""
        return self._state.merged

    @property
    def damaged(self) -> dict[str, SealedFile]:
        """Segments that were taken out as damaged, by path."""
        return self._state.damaged

    def removed(self, path: str) -> None:
        """The file of a segment that holds no longer."""
        with self.turn:
            self._state.merged.discard(path)

    @property
    def last_notes(self) -> dict[str, Note]:
        return self._state.last_notes

    @property
    def tip(self) -> tuple[Tree, int]:
        """The tree, to grow on, and the file's bytes."""
        with self.turn:
            return self._tree.copy(), self._bytes

    def root_at_start(self, size: int) -> bytes | None:
        """The tree's root when it had that size, of what this start has read; None: not read."""
        if self._opened is None:
            return None
        base, leaves = self._opened
        if not base.size <= size <= base.size + len(leaves):
            return None
        tree = base.copy()
        for leaf in leaves[: size - base.size]:
            tree.append(leaf)
        return tree.root()

    def started(self) -> None:
        """Nobody will ask for ``root_at_start`` any more."""
        self._opened = None

    def append(
        self,
        at_us: int,
        files: tuple[SealedFile, ...],
        sources: tuple[SourceRange, ...] = (),
        removed: tuple[str, ...] = (),
        reason: str = "",
        events: EventsRoot | None = None,
        notes: tuple[Note, ...] = (),
    ) -> Entry:
        """Durable when it returns. Raises LedgerError; after that this object must not be used.

        Raises OSError where the disk has no room: then nothing has changed, and it may be tried
        again.
        """
        with self.turn:
            draft = Entry(
                self.seq + 1, at_us, self.head, files, sources, removed, reason, events, notes
            )
            if self.sign is not None:
                draft = replace(draft, signed=self.sign(signed_digest(draft)))
            return self._append(replace(draft, hash=entry_hash(draft)))

    def _append(self, entry: Entry) -> Entry:
        if self._ended:
            raise LedgerError(self._ended)
        line = encode(entry)
        self._write(line)
        self._state.apply(entry)
        self._tree.append(leaf_hash(line[:-1]))
        self.state = (self._tree.size, self._tree.root())
        self._bytes += len(line)
        self._last_bytes = len(line) - 1
        if self.seq - self._checkpoint_at >= CHECKPOINT_ENTRIES:
            self.take_checkpoint()
        return entry

    def _write(self, line: bytes) -> None:
        try:
            if not self._has_room(line):
                # Nothing was synced, so the line can be taken back, and the length is known again.
                self._file.truncate(self._bytes)
                os.fsync(self._file.fileno())
                raise NoRoomError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
            os.fsync(self._file.fileno())
        except NoRoomError:
            raise
        except OSError as error:
            # What reached the disk is unknown now: only a new start can read it back.
            self._ended = f"{self._path}: {error}"
            raise LedgerError(self._ended) from error

    def _has_room(self, line: bytes) -> bool:
        try:
            return self._file.write(line) == len(line)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            return False

    def take_checkpoint(self) -> None:
        """Of a ledger with a damaged line there is none: each start must read it, and say so."""
        if self.problems or not self.seq:
            return
        self._checkpoint_at = self.seq
        self.checkpoint = Checkpoint(
            self._state.copy(), self._tree.peaks, self._bytes, self._last_bytes
        )

    def close(self) -> None:
        with self.turn:
            self._ended = self._ended or f"{self._path} is closed"
            self._file.close()

    def _quarantine_tail(self, data_dir: Path) -> None:
        """Cut a half-written last line, keeping its bytes. It was never acknowledged."""
        whole = self._bytes
        if not self._path.exists() or self._path.stat().st_size == whole:
            return
        folder = data_dir / "quarantine"
        folder.mkdir(exist_ok=True)
        with self._path.open("r+b") as file:
            file.seek(whole)
            (folder / f"ledger-tail-{self.seq + 1}.bin").write_bytes(file.read())
            file.truncate(whole)
            os.fsync(file.fileno())


def fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
