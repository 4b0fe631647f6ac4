"""Moments of snapshots never go back, whatever the server's clock does.

The collector takes what has an earlier moment than what it knows for a late message: after a clock
was set back it would see nothing until that clock has caught up. So they are kept in a file: the
clock may be put right while the agent is down.
"""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

BOOT = Path("/proc/sys/kernel/random/boot_id")
SAID_US = 1_000_000
"""A clock that is put right by less is no news."""


class Moments:
    """``at_us`` is always what the server's clock shows, in Unix microseconds."""

    def __init__(self, file: Path | None = None) -> None:
        """``file``: where they outlive this process; what cannot be read or written is left."""
        self._file = file
        self._given_us = 0
        self._seen_us = 0
        self._seen_at = 0.0
        self._same_boot = True
        self.before_us = 0
        """While the clock is behind: the last look before it was set back, by what it shows now."""
        self._written = ""
        self._read()

    @property
    def seen_us(self) -> int:
        """What the server showed at the last look, of an earlier process too; 0: unknown."""
        return self._seen_us

    def set_back(self, at_us: int, now: float) -> int:
        """By how much the clock went back since the last time, in microseconds; 0: it did not.
        ``now``: seconds of a clock that nobody sets."""
        # Across a restart of the host nobody knows how long it was.
        elapsed_us = max(0, int((now - self._seen_at) * 1e6)) if self._same_boot else 0
        expected_us = self._seen_us + elapsed_us
        went_back = at_us < self._seen_us
        self._seen_us, self._seen_at, self._same_boot = at_us, now, True
        if went_back:
            self.before_us = max(1, at_us - elapsed_us)
        elif at_us >= self._given_us:
            self.before_us = 0
        self._keep()
        return expected_us - at_us if went_back else 0

    def of(self, at_us: int) -> int:
        """What a snapshot of ``at_us`` is told as."""
        self._given_us = max(at_us, self._given_us + 1)
        self._keep()
        return self._given_us

    def problems(self, cluster: str, at_us: int) -> tuple[str, ...]:
        """A sentence while its clock is behind; else none."""
        behind_us = self._given_us - at_us
        if behind_us < SAID_US:
            return ()
        until = datetime.fromtimestamp(self._given_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")
        sentence = (
            f"{cluster}: the server's clock was set back ({behind_us / 1e6:.0f} s behind): until it"
            f" shows {until} UTC again, what changes in its catalog is told as of then"
        )
        return (sentence,)

    def _keep(self) -> None:
        """Writes what the next process must know, if it is other than before."""
        known = {
            "given_us": self._given_us,
            "seen_us": self._seen_us,
            "seen_at": self._seen_at,
            "before_us": self.before_us,
        }
        told = json.dumps({"boot": _boot(), **known})
        if self._file is None or told == self._written:
            return
        with suppress(OSError):
            new = self._file.with_suffix(".new")
            new.write_text(told, encoding="utf-8")
            new.replace(self._file)
            self._written = told

    def _read(self) -> None:
        with suppress(OSError, ValueError, KeyError, TypeError):
            known = json.loads(self._file.read_text(encoding="utf-8")) if self._file else {}
            given_us, seen_us = int(known["given_us"]), int(known["seen_us"])
            seen_at = float(known["seen_at"])
            self._same_boot = known["boot"] == _boot() != ""
            self.before_us = int(known.get("before_us", 0))
            self._given_us, self._seen_us, self._seen_at = given_us, seen_us, seen_at


def _boot() -> str:
    with suppress(OSError):
        return BOOT.read_text(encoding="ascii").strip()
    return ""
