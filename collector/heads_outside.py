"""The file outside that gets every head: told by a thread of its own, for its mount may hang.

Neither signing nor the collector's end waits for it. What it does not take waits in a bounded
queue, and is found again at the next start.
"""

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from collector.ledger_reading import last_line
from collector.line_file import append_line

RETRY_SECONDS = 5.0
STUCK_SECONDS = 5.0
"""A write that takes so long counts as a failure, once."""
LOOK_SECONDS = 2.0
"""So long a start waits for what the file knows; later it is told as it comes."""
MAX_UNTOLD = 10_000
"""Heads that wait; beyond that the oldest are left out."""

_log = logging.getLogger(__name__)


class HeadsOutside:
    """``problems``: how the file contradicts ``own``, which has ``length`` bytes of heads."""

    def __init__(self, file: Path, own: Path, length: int, newest: bytes) -> None:
        self._file = file
        self._own = own
        self._length = length
        self._newest = newest
        self._untold: deque[bytes] = deque(maxlen=MAX_UNTOLD)
        self._wake = threading.Condition()
        self._looked = threading.Event()
        self._stopping = False
        self._retry_at = 0.0
        self._busy_since = 0.0
        self._said = ""
        self._is_broken = False
        self.problems: list[str] = []
        self.failures = 0
        self.left_out = 0
        """Heads that had no place in the queue: the later ones cover their entries."""
        self._thread = threading.Thread(target=self._run, name="heads-outside", daemon=True)
        self._thread.start()

    def looked(self, seconds: float = LOOK_SECONDS) -> bool:
        """``problems`` are all that there are."""
        return self._looked.wait(seconds)

    def offer(self, line: bytes) -> None:
        """Never waits."""
        with self._wake:
            self.left_out += len(self._untold) == MAX_UNTOLD
            self._untold.append(line)
        self.hurry()

    def hurry(self) -> None:
        """Try again now what failed; and count what is stuck. Never waits."""
        with self._wake:
            self._retry_at = 0.0
            self._wake.notify_all()
            since = self._busy_since
            if since and time.monotonic() - since > STUCK_SECONDS:
                self._busy_since = 0.0
                self._failed(f"{self._file} does not answer")

    def flush(self, seconds: float) -> bool:
        """Whether it has everything."""
        with self._wake:
            return self._wake.wait_for(self._is_told, seconds)

    def stop(self, seconds: float) -> None:
        with self._wake:
            self._stopping = True
        self.hurry()
        self._thread.join(seconds)

    def _is_told(self) -> bool:
        return self._looked.is_set() and not self._untold

    @property
    def problem(self) -> str:
        """What a person must look at; empty while heads go out, or will by themselves."""
        with self._wake:
            if not self._is_broken and not (self.left_out and self._said):
                return ""
            return (
                f"heads of the ledger do not go to {self._file}: {self._said}; {len(self._untold)}"
                f" wait, {self.left_out} were left out"
            )

    def _run(self) -> None:
        for step in (self._look, self._tell_all):
            while not self._supervised(step):
                with self._wake:
                    if self._stopping:
                        return
                    self._wake.wait(RETRY_SECONDS)

    def _supervised(self, step: Callable[[], None]) -> bool:
        """Whatever one try does, there is another: a thread that is gone would tell nobody."""
        try:
            step()
        except Exception as error:  # noqa: BLE001 - a supervising loop
            with self._wake:
                self._busy_since, self._is_broken = 0.0, True
                if not self._said:
                    _log.exception("the file of heads outside: an error that nobody foresaw")
                self._failed(f"{type(error).__name__}: {error}")
            return False
        return True

    def _look(self) -> None:
        self._busy_since = time.monotonic()
        waiting = self._unknown_there()
        with self._wake:
            self._busy_since, self._is_broken = 0.0, False
            waiting.extend(self._untold)
            self.left_out += max(0, len(waiting) - MAX_UNTOLD)
            self._untold = deque(waiting, MAX_UNTOLD)
            self._looked.set()
            self._wake.notify_all()

    def _tell_all(self) -> None:
        while (line := self._next()) is not None:
            self._tell(line)

    def _next(self) -> bytes | None:
        """Waits for one; None: it is time to end."""
        with self._wake:
            while not self._untold or time.monotonic() < self._retry_at:
                if self._stopping:
                    return None
                self._wake.wait(RETRY_SECONDS if self._untold else None)
            self._busy_since = time.monotonic()
            return self._untold[0]

    def _tell(self, line: bytes) -> None:
        problem = ""
        try:
            append_line(self._file, line)
        except OSError as error:
            problem = f"{error.filename or self._file}: {error.strerror}"
        with self._wake:
            self._busy_since = 0.0
            if problem:
                self._failed(problem)
                self._retry_at = time.monotonic() + RETRY_SECONDS
                return
            self._said, self._is_broken = "", False
            if self._untold and self._untold[0] is line:  # else it was left out meanwhile
                self._untold.popleft()
            self._wake.notify_all()

    def _failed(self, problem: str) -> None:
        self.failures += 1
        self._say(problem)

    def _say(self, problem: str) -> None:
        if problem != self._said:
            self._said = problem
            _log.error("a ledger head could not be written: %s", problem)

    def _unknown_there(self) -> list[bytes]:
        """Heads that the file does not have yet."""
        if not self._newest:
            return self._compared([])
        try:
            lines = self._own.read_bytes()[: self._length].split(b"\n")[:-1]
        except OSError as error:
            self._say(f"{error.filename}: {error.strerror}")
            return []
        return self._compared(lines)

    def _compared(self, lines: list[bytes]) -> list[bytes]:
        try:
            if not self._file.exists():
                return lines
            if self._newest and last_line(self._file) == self._newest:
                return []  # each head binds the one before: there is nothing to compare
            known = self._file.read_bytes().split(b"\n")
        except OSError as error:
            self._say(f"{self._file}: {error.strerror}")
            return lines
        ours = {line: number for number, line in enumerate(lines, 1)}
        strangers = [line for line in known if line not in ours and _is_head(line)]
        if strangers:
            self.problems.append(
                f"{self._file} has {len(strangers)} heads that {self._own.name} does not have"
            )
        return lines[max((ours[line] for line in known if line in ours), default=0) :]


def _is_head(line: bytes) -> bool:
    try:
        fields = json.loads(line)
        return bool(int(fields["size"]) and bytes.fromhex(fields["root"]))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return False
