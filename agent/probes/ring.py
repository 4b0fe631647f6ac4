"""Reads a BPF ring buffer by mmap, in bulk.

The same code serves both loaders, and a record costs one slice instead of a ctypes callback
(about 1 us). Positions and lengths are written by other CPUs; x86-64 keeps loads and stores in
order, which is why this module is for x86-64 only.

Each of them is read and written in one piece: that is what native formats are for. Where we are is
never written with ``pack_into``, which fills the place with zeros first. A ring whose reader seems
to be at zero is full to the kernel, and what a backend tells at that moment is lost.
"""

from __future__ import annotations

import mmap
from struct import Struct

PAGE = mmap.PAGESIZE
HEADER = Struct("I")
POSITION = Struct("Q")
HEADER_BYTES = 8
BUSY = 1 << 31
DISCARDED = 1 << 30
LENGTH = DISCARDED - 1


def ring_size(wanted_bytes: int) -> int:
    """The kernel takes powers of two from one page on: the next one that holds ``wanted_bytes``."""
    size = PAGE
    while size < wanted_bytes:
        size *= 2
    return size


class Ring:
    """The only reader of one ring buffer map. ``fd`` stays the loader's."""

    def __init__(self, fd: int, size_bytes: int) -> None:
        self._size = size_bytes
        self._consumer = mmap.mmap(fd, PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._place = memoryview(self._consumer).cast("Q")
        # The kernel has the data twice in a row, so that a record never wraps. Mapped twice, all of
        # it would count as ours twice: to join one record in thousands is cheaper.
        self._data = mmap.mmap(fd, PAGE + size_bytes, mmap.MAP_SHARED, mmap.PROT_READ, offset=PAGE)
        self.stalled = False
        """The last drain stopped at a record that is still being written."""
        self.at = 0
        """How far it came, in bytes since the ring was made."""
        self.unread = False
        """It left something behind, for whatever reason."""

    @property
    def end(self) -> int:
        """How far the ring has been filled."""
        return int(POSITION.unpack_from(self._data, 0)[0])

    def drain(self, limit: int = 65536) -> list[bytes]:
        """All finished records, oldest first, at most ``limit``."""
        data, mask, end = self._data, self._size - 1, PAGE + self._size
        position: int = self._place[0]
        produced: int = POSITION.unpack_from(data, 0)[0]
        read = HEADER.unpack_from
        records: list[bytes] = []
        self.stalled = False
        while position < produced and len(records) < limit:
            start = PAGE + (position & mask)  # of eight bytes, in one piece: all is aligned to 8
            length: int = read(data, start)[0]
            if length & BUSY:
                self.stalled = True
                break
            size = length & LENGTH
            if not length & DISCARDED:
                begin, over = start + HEADER_BYTES, start + HEADER_BYTES + size - end
                record = data[begin : begin + size]
                records.append(record + data[PAGE : PAGE + over] if over > 0 else record)
            position += (size + HEADER_BYTES + 7) & ~7
        # The kernel may reuse the room from here on: everything above was copied.
        self._place[0] = position
        self.at, self.unread = position, position < produced
        return records

    def close(self) -> None:
        self._place.release()
        self._consumer.close()
        self._data.close()
