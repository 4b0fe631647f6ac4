"""One thread for each place outside: the newest head until it is taken, and never an older one.

A head covers all that came before it, so a place that was away misses nothing by missing heads.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from typing import Protocol

RETRY_SECONDS = (5.0, 300.0)

_log = logging.getLogger(__name__)


class OutsideError(Exception):
    """The place did not take the head; the message says why."""


class Place(Protocol):
    def tell(self, line: bytes) -> None:
        """``line``: of ``heads.jsonl``. Raises OutsideError, OSError."""
        ...


class Teller:
    """``offer`` never waits."""

    def __init__(
        self,
        name: str,
        place: Place,
        every_seconds: float,
        retry_seconds: tuple[float, float] = RETRY_SECONDS,
    ) -> None:
        self.name = name
        self._place = place
        self._every_seconds = every_seconds
        self._retry_seconds = retry_seconds
        self._newest = b""
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"tell-{name}", daemon=True)
        self.told = 0
        """Entries under the newest head that the place has taken."""
        self.failures = 0
        self.problem = ""

    def start(self) -> None:
        self._thread.start()

    def offer(self, line: bytes) -> None:
        with self._wake:
            self._newest = line
            self._wake.notify_all()

    def ask_to_stop(self) -> None:
        """Never waits."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()

    def stop(self, timeout_seconds: float = 2.0) -> None:
        """The last head is told if that is quickly done."""
        self.ask_to_stop()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    def _run(self) -> None:
        taken, failed, not_before = b"", 0, 0.0
        while True:
            with self._wake:
                while not self._stopping and (
                    self._newest == taken or time.monotonic() < not_before
                ):
                    left = not_before - time.monotonic()
                    self._wake.wait(left if left > 0 and self._newest != taken else None)
                line, stopping = self._newest, self._stopping
            if line != taken and self._tell(line):
                taken, failed = line, 0
                not_before = time.monotonic() + self._every_seconds
            elif line != taken:
                failed += 1
                low, high = self._retry_seconds
                not_before = time.monotonic() + min(high, low * 2 ** min(failed - 1, 10))
            if stopping:
                return

    def _tell(self, line: bytes) -> bool:
        try:
            self._place.tell(line)
        except (OutsideError, OSError) as error:
            self.failures += 1
            if str(error) != self.problem:
                _log.error("%s did not take the ledger's head: %s", self.name, error)
            self.problem = str(error)
            return False
        self.problem, self.told = "", int(json.loads(line)["size"])
        return True
