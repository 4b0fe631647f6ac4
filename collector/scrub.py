"""Reads all segments again, a few megabytes a second, to find what a disk has changed.

Neither Polars nor DuckDB write checksums of pages or look at them, so a query cannot tell a flipped
bit from data. What is sealed anew is read by its hash; what only lies there is read here.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from hashlib import sha256
from pathlib import Path

from collector.damage import Damage
from collector.ledger import Ledger, LedgerError
from collector.ledger_entry import SealedFile
from collector.sealed_segment import SegmentError

PASS_SECONDS = 86_400.0
"""From the beginning of one pass to that of the next, or longer if there is more to read."""
BYTES_PER_SECOND = 16 << 20
BLOCK_BYTES = 1 << 20
RETRY_SECONDS = 60.0

_log = logging.getLogger(__name__)


class Scrub:
    def __init__(self, data_dir: Path, ledger: Ledger, damage: Damage) -> None:
        self._data_dir = data_dir
        self._ledger = ledger
        self._damage = damage
        self.passes = 0
        self.bytes = 0
        self.failures = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scrub", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()

    def join(self, timeout_seconds: float = 5.0) -> None:
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while not self._stopping.is_set():
            began, wait = time.monotonic(), RETRY_SECONDS
            try:
                self._pass()
                wait = began + PASS_SECONDS - time.monotonic()
            except (OSError, LedgerError) as error:
                _log.warning("segments could not be read again: %s", error)
            except Exception:  # noqa: BLE001 - a supervising loop
                self.failures += 1
                _log.exception("segments could not be read again")
            self._stopping.wait(max(0.0, wait))

    def _pass(self) -> None:
        files = sorted(self._ledger.files_now(), key=lambda file: file.path)
        for file in files:
            if self._stopping.is_set():
                return
            self._look(file)
        self.passes += 1
        _log.info("all %d segments were read again", len(files))

    def _look(self, file: SealedFile) -> None:
        try:
            why, is_damaged = self._why(file), True
        except OSError as error:
            why, is_damaged = f"cannot be read: {error.strerror}", False
        if self._stopping.is_set():
            return
        with self._ledger.turn:
            if self._ledger.files.get(file.path) != file:
                return  # merged or removed since this pass began
        if why:
            self._damage.found(SegmentError(file, why, is_damaged))
        else:
            self._damage.is_well(file)

    def _why(self, file: SealedFile) -> str:
        """Empty: it is what was sealed. Raises OSError."""
        digest, size = sha256(), 0
        with (self._data_dir / file.path).open("rb", buffering=0) as opened:
            # From the disk and not from memory, which may still have what was written.
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            while (block := opened.read(BLOCK_BYTES)) and not self._stopping.is_set():
                digest.update(block)
                size += len(block)
                self.bytes += len(block)
                self._stopping.wait(len(block) / BYTES_PER_SECOND)
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if size != file.bytes:
            return f"{size} bytes, sealed with {file.bytes}"
        return "" if digest.hexdigest() == file.sha256 else "its SHA-256 is not the sealed one"
