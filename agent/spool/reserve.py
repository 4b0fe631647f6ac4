"""Losses that no batch had room for yet, kept in bytes that the disk gave ahead of need.

On a full disk nothing new can be written, but what is there can be overwritten. Two slots take
turns, so that a write that is torn leaves the other whole. Each says from which sequence of the
spool on it holds: one is written before the commit that records what was owed, and comes true with
it, so that no crash between the two has a loss told twice or never. Once it has come true that is
written too: a spool that had to begin anew gives its numbers from 1, and tells nothing of before.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import structlog

from agent.spool.moving import fsync
from model.event import Lost

log = structlog.get_logger(__name__)

SLOT_BYTES = 16 * 1024
_HEAD = struct.Struct("<IIQQ")
"""CRC-32 of all that follows, length of the text, generation, sequence."""
_SUMMED_FROM = 4
_SETTLED = 1 << 31
"""Added to the length."""
_REST = ("agent", "lost_otherwise")
"""Source and reason of what has no place of its own in a slot."""

Owed = Mapping[tuple[str, str], Lost]
"""By source and reason."""


class NoReserveError(Exception):
    """Neither slot can be read: how much was owed is not known."""


@dataclass(frozen=True, slots=True)
class Slot:
    generation: int = 0
    after: int = 0
    """The spool has given this sequence when it holds."""
    owed: Owed = field(default_factory=dict)
    is_settled: bool = False
    """It held when it was written."""

    def holds(self, last: int) -> bool:
        """Unless there is a later one."""
        return self.is_settled or self.after <= last


class Reserve:
    """Belongs to who holds the spool's lock. An error is logged once and stops nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._true = 0
        self._slots = [Slot(), Slot()]
        self._prepared = False
        self._told = False
        self._descriptor = -1

    def open(self, last: int) -> dict[tuple[str, str], Lost]:
        """What is owed by a spool that has given ``last``. Raises NoReserveError."""
        try:
            self._descriptor = _preallocated(self._path)
            data = os.pread(self._descriptor, 2 * SLOT_BYTES, 0)
        except OSError as error:
            self._tell(error)
            return {}
        found = [_decoded(data[at : at + SLOT_BYTES]) for at in (0, SLOT_BYTES)]
        if not any(found):
            self._write(self._slots[1])  # told once, not at each start
            raise NoReserveError
        self._slots = [slot or Slot() for slot in found]
        # Not what was prepared for a commit that never was, or for one of another file.
        true = max(
            (each for each in self._slots if each.holds(last)), key=_generation, default=None
        )
        self._true = self._slots.index(true or min(self._slots, key=_generation))
        if true is None or true.after > last:
            self.rebase(last)
        elif self._slots[1 - self._true].generation > true.generation:
            self._prepared = True
            self.settle(true.owed, last)
        return dict(self._slots[self._true].owed)

    def rebase(self, last: int) -> None:
        """The spool's file is another one, which has given ``last``: what is owed stays owed."""
        if any(slot.after > last for slot in self._slots):
            self._put(self._slots[self._true].owed, last)
        self._prepared = False

    def prepare(self, owed: Owed, after: int) -> None:
        """Before a commit: what will be owed once the spool has given ``after``."""
        if owed or self._slots[self._true].owed:
            self._prepared = self._write(Slot(self._next(), after, dict(owed)))

    def settle(self, owed: Owed, last: int) -> None:
        """What is owed by a spool that has given ``last``, whether the commit came to be or not."""
        prepared = self._slots[1 - self._true]
        if self._prepared and (prepared.after, prepared.owed) == (last, owed):
            self._true = 1 - self._true
            self._put(owed, last)
        elif self._prepared or owed != self._slots[self._true].owed:
            self._put(owed, last)
        self._prepared = False

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _next(self) -> int:
        return max(map(_generation, self._slots)) + 1

    def _put(self, owed: Owed, last: int) -> None:
        if self._write(Slot(self._next(), last, dict(owed), is_settled=True)):
            self._true = 1 - self._true

    def _write(self, slot: Slot) -> bool:
        """In place of the one that does not hold."""
        other = 1 - self._true
        try:
            if self._descriptor < 0:
                self._descriptor = _preallocated(self._path)
            os.pwrite(self._descriptor, _encoded(slot), other * SLOT_BYTES)
            os.fsync(self._descriptor)
        except OSError as error:
            self._tell(error)
            return False
        self._slots[other] = slot
        return True

    def _tell(self, error: OSError) -> None:
        if not self._told:
            log.error("spool.reserve_failed", file=str(self._path), reason=error.strerror)
        self._told = True


def _generation(slot: Slot) -> int:
    return slot.generation


def _preallocated(path: Path) -> int:
    """Written, not only allocated: what was never written may need room when it is."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(descriptor).st_size < 2 * SLOT_BYTES:
            empty = _encoded(Slot())
            os.pwrite(descriptor, empty + empty, 0)
            os.fsync(descriptor)
            fsync(path.parent)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _encoded(slot: Slot) -> bytes:
    text = _text(slot.owed)
    length = len(text) | (_SETTLED if slot.is_settled else 0)
    rest = _HEAD.pack(0, length, slot.generation, slot.after)[_SUMMED_FROM:] + text
    return (zlib.crc32(rest).to_bytes(4, "little") + rest).ljust(SLOT_BYTES, b"\0")


def _text(owed: Owed) -> bytes:
    """The largest first; those that do not fit are one sum, so that none is uncounted."""
    losses = sorted(owed.values(), key=lambda each: each.count, reverse=True)
    for kept in range(len(losses), -1, -1):
        rows = [(each.at_ns, each.source, each.reason, each.count) for each in losses[:kept]]
        if rest := losses[kept:]:
            rows.append((rest[0].at_ns, *_REST, sum(each.count for each in rest)))
        text = orjson.dumps(rows)
        if len(text) <= SLOT_BYTES - _HEAD.size:
            return text
    raise AssertionError("one row fits")


def _decoded(data: bytes) -> Slot | None:
    if len(data) < SLOT_BYTES:
        return None
    crc, size, generation, after = _HEAD.unpack_from(data)
    is_settled, size = bool(size & _SETTLED), size & ~_SETTLED
    if size > SLOT_BYTES - _HEAD.size or zlib.crc32(data[_SUMMED_FROM : _HEAD.size + size]) != crc:
        return None
    rows = [Lost(*row) for row in orjson.loads(data[_HEAD.size : _HEAD.size + size])]
    return Slot(generation, after, {(each.source, each.reason): each for each in rows}, is_settled)
