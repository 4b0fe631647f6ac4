"""What the collector has not acknowledged yet, durable in one SQLite file.

Every append is committed with ``synchronous=FULL`` before it returns; give several payloads at once
and they share one fsync. SQLite does not checksum its pages, so each body carries a CRC-32.
"""

import sqlite3
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from agent.spool.copies import trim
from agent.spool.faults import is_damage, is_full, is_unsynced, size_of, told_in_words
from agent.spool.file import DONE, LOG_BYTES, SET, Spooled
from agent.spool.keeping import CountLoss, SpoolError, SpoolFile
from agent.spool.losses import lost_with, owe
from agent.spool.reserve import NoReserveError, Reserve
from agent.spool.room import admit, mixed_room
from agent.spool.shortage import Shortage
from agent.wire.batch import Payload
from model.event import Lost

__all__ = ["DEFAULT_MAX_BYTES", "CountLoss", "Spool", "SpoolError"]

DEFAULT_MAX_BYTES = 512 * 1024 * 1024
MAX_QUARANTINED = 16
"""Refused batches that are kept for a person to look at; older ones go first."""

_TRIM_QUARANTINE = (
    f"DELETE FROM quarantine WHERE rowid <= (SELECT max(rowid) FROM quarantine) - {MAX_QUARANTINED}"
)

REPLACED = "spool_replaced"


class Spool(SpoolFile):
    """Sequences count from 1; what is appended has an epoch of this opening (``epochs.py``).

    Thread-safe. ``on_loss`` hears of every row that is dropped, by reason: ``spool_full``,
    ``disk_full``, ``disk_failed``, ``spool_damaged``, ``rejected``; all but the last two by class
    (agent/spool/losses.py). It may run inside the spool's lock: it should
    count and return. Losses that were themselves refused have been counted before: they wait in
    ``owed`` for another try.
    """

    def __init__(self, path: Path, on_loss: CountLoss, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._owed: dict[tuple[str, str], Lost] = {}
        self._refused = False  # something, when it was last appended to
        self._failure = ""
        self.copies_removed = 0
        self._shortage = Shortage(path)
        self._reserve = Reserve(path.with_name(path.name + ".owed"))
        super().__init__(path, on_loss)
        try:
            self._owed = self._reserve.open(self._last)
        except NoReserveError:
            on_loss("spool", "spool_damaged", 1)
        self._trim_copies()

    def close(self) -> None:
        super().close()
        self._reserve.close()

    def append(self, *payloads: Payload) -> int:
        """Make them durable, in order; returns the last sequence. What does not fit is counted."""
        with self._lock:
            accepted, refused = admit(payloads, self._bytes, self._max_bytes)
            reason = self._commit(accepted, payloads)
            if reason == "disk_full":
                first = [payload for payload in accepted if payload.priority]
                if len(first) == len(accepted) or self._commit(first, payloads):
                    first = []
                refused = [payload for payload in payloads if payload not in first]
            elif reason:
                refused = list(payloads)
            self._refused = bool(refused)
            last = self._last
            for payload in refused:
                self._refuse(payload, reason or "spool_full")
            self._reserve.settle(self._owed, last)
            if not refused:
                self._shortage.took()
        return last

    @property
    def problems(self) -> list[str]:
        """Why what comes now is not kept, one sentence each."""
        return [each for each in (self.problem, self.unsalvaged, self._shortage.sentence) if each]

    @property
    def mixed_room(self) -> int:
        """Bytes that may be appended next with what is urgent among the rest."""
        return 0 if self._refused else mixed_room(self._bytes, self._max_bytes)

    def owed(self) -> list[Lost]:
        """Losses whose batch was refused, to be recorded again but not counted again."""
        with self._lock:
            owed, self._owed = self._owed, {}
        return list(owed.values())

    def read_from(self, sequence: int, limit: int = 64) -> list[Spooled]:
        """Batches with this sequence and up, ascending. A damaged one is set aside and counted."""
        query = (
            "SELECT sequence, body, crc, rows FROM batch WHERE sequence >= ?"
            " ORDER BY sequence LIMIT ?"
        )
        found, damaged = [], []
        with self._lock:
            for number, body, crc, rows in self._query(query, (sequence, limit)):
                if zlib.crc32(body) == crc:
                    found.append(Spooled(number, body, rows))
                else:
                    damaged.append(number)
        for number in damaged:
            self.quarantine(number, "spool_damaged")
        return found

    def forget(self, upto: int) -> None:
        """Drop everything up to and including this sequence: the collector has it.

        A disk too full even for that is no error: the next acknowledgement covers these too, and
        after the last one the file is made anew.
        """
        with self._lock:
            self._done = max(self._done, upto)
            query = "SELECT count(*), coalesce(sum(length(body)), 0) FROM batch WHERE sequence <= ?"
            for count, size in self._query(query, (upto,)):
                if count and self._delete(upto):
                    self._depth -= count
                    self._bytes -= size
            if not self._depth and (self._starved or size_of(self._log) > LOG_BYTES):
                self._fold()

    def quarantine(self, sequence: int, reason: str) -> None:
        """Set one batch aside for good and count its rows under the first word of ``reason``."""
        with self._lock:
            rows = self._query("SELECT body, rows FROM batch WHERE sequence = ?", (sequence,))
            if not rows:
                return
            ((body, count),) = rows
            entry = (sequence, self.epoch, reason, body, int(time.time()))
            self._change(
                ("INSERT INTO quarantine VALUES (?, ?, ?, ?, ?)", entry),
                ("DELETE FROM batch WHERE sequence = ?", (sequence,)),
                (_TRIM_QUARANTINE, ()),
            )
            self._depth -= 1
            self._bytes -= len(body)
        self._on_loss("spool", reason.split(":")[0], max(count, 1))

    def begin(self) -> int:
        """The epoch of a new stream. In an older release it would be the same from now on."""
        with self._lock:
            while self._is_greeted and self.is_over(self.epoch):
                self._epochs.drop_head()
                self._is_greeted = False
            if not self._epochs.is_written and self._last >= self._epochs.head_start:
                with suppress(SpoolError):  # no room for it: only an older release would miss it
                    self._write_epochs()
            return self.epoch

    @property
    def epoch(self) -> int:
        """Of what is being sent."""
        return self._epochs.head

    @property
    def born(self) -> int:
        """The first epoch in which this file gave numbers; 0: an older release made it."""
        return self._epochs.born

    def known_acknowledged(self, epoch: int) -> int:
        """Up to here the collector said that it has this epoch; 0: nothing, or it is unknown."""
        with self._lock:
            if epoch != self.epoch or self._done < self._epochs.head_start:
                return 0
            return min(self._done, self._epochs.head_end(self._last))

    def is_over(self, epoch: int) -> bool:
        """Nothing more of it will be sent: what waits is of another one."""
        with self._lock:
            if epoch != self.epoch:
                return True
            if self._epochs.is_last:
                return False
            query = "SELECT count(*) FROM batch WHERE sequence BETWEEN ? AND ?"
            rows = self._query(query, (self._done + 1, self._epochs.head_end(self._last)))
            return rows == [(0,)]

    def next_of(self, epoch: int, sequence: int) -> Spooled | None:
        """The first batch of this epoch from that sequence on, to be sent."""
        with self._lock:
            batch = next(iter(self.read_from(max(sequence, self._done + 1), 1)), None)
            if batch is None or epoch != self.epoch:
                return None
            if batch.sequence > self._epochs.head_end(self._last):
                return None
            self._sent = max(self._sent, batch.sequence)
        return batch

    def acknowledged(self, epoch: int, sequence: int) -> bool:
        """Forget what the collector has of this epoch; never what was not sent in it.

        True where it has numbers that this file did not give: the file is an older copy, or another
        process goes on from the same memory. What waits with such numbers gets another epoch, for
        which the stream must end.
        """
        with self._lock:
            if epoch != self.epoch:
                return False
            given = self._epochs.head_end(self._last)
            if self._epochs.is_last:
                given = max(self._sent, self._epochs.head_start - 1)
            self.forget(min(sequence, given))
            is_first, self._is_greeted = not self._is_greeted, True
            if sequence > given and self._epochs.is_last:
                self._epochs = self._epochs.split(given)
                self._write_epochs()
        if sequence > given and is_first:
            self._on_loss("spool", "spool_regressed", 1)
        return sequence > given

    @property
    def depth(self) -> int:
        """Batches that wait."""
        return self._depth

    @property
    def bytes(self) -> int:
        return self._bytes

    @property
    def last_sequence(self) -> int:
        return self._last

    def _commit(self, accepted: list[Payload], payloads: Sequence[Payload]) -> str:
        """As ``_store``; with it comes true what is owed of the other ones."""
        owed = dict(self._owed)
        if len(accepted) < len(payloads):
            for payload in payloads:
                if payload not in accepted:
                    owe(payload, owed)
        for _ in range(2):
            self._reserve.prepare(owed, self._last + len(accepted))
            reason = self._store(accepted)
            if reason != REPLACED:
                return reason
        return "spool_damaged"

    def _store(self, payloads: list[Payload]) -> str:
        """Why it could not; empty when they are durable. REPLACED: it may in another file."""
        try:
            self._with_room(lambda: self._insert(payloads))
        except sqlite3.Error as error:
            self._failure = str(error)
            if not is_damage(error):
                return "disk_failed" if is_unsynced(error) else "disk_full"
            try:
                self._recover()
            except SpoolError:  # no room for a new one: the next append tries again
                return "spool_damaged"
            return REPLACED
        return ""

    def _recover(self) -> None:
        try:
            super()._recover()
        finally:
            self._trim_copies()
        self._reserve.rebase(self._last)

    def _trim_copies(self) -> None:
        with suppress(OSError):  # the next one tries again
            self.copies_removed += trim(self._path, self._max_bytes)

    def _delete(self, upto: int) -> bool:
        def delete() -> None:
            with told_in_words(), self._db:
                self._db.execute("DELETE FROM batch WHERE sequence <= ?", (upto,))
                self._db.execute(SET, (DONE, upto))

        try:
            self._with_room(delete)
        except sqlite3.Error as error:
            if not (is_full(error) or is_unsynced(error)):
                self._survive(error)
                return False
            if upto < self._last or is_unsynced(error):
                return False
            self._renew()
            return False
        return True

    def _insert(self, payloads: Sequence[Payload]) -> None:
        if not payloads:
            return
        last = self._last + len(payloads)
        rows = [
            (sequence, payload.body, zlib.crc32(payload.body), payload.facts)
            for sequence, payload in enumerate(payloads, self._last + 1)
        ]
        with told_in_words(), self._db:
            self._db.executemany("INSERT INTO batch VALUES (?, ?, ?, ?)", rows)
            # Kept apart from the rows: after `forget` the largest row no longer tells it.
            self._epochs.write(self._db, last)
        self._epochs.is_written = True
        self._last = last
        self._bytes += sum(len(payload.body) for payload in payloads)
        self._depth += len(payloads)

    def _refuse(self, payload: Payload, reason: str) -> None:
        lost = list(lost_with(payload, reason))
        full = f"it holds the {self._max_bytes} bytes that it may"
        why = full if reason == "spool_full" else self._failure
        self._shortage.refused(reason, why, sum(count for _, count in lost))
        for name, count in lost:
            self._on_loss("spool", name, count)
        owe(payload, self._owed)
