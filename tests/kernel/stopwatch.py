"""How long backends stand still, from outside: ``python -m tests.kernel.stopwatch POSTMASTER``.

A process of its own, so that no lock of a test's interpreter delays it. It looks at every child of
the postmaster each 5 ms. Two looks that find a process stopped belong to one stop if it has used no
processor time in between. A stop that was seen from first to last look for N ms took at most two
periods more.

Where a look comes late the machine is busy, and who has to release is as late. So of each stop its
lateness is known as well: what the stopwatch's own looks came too late while it lasted.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.guard.halts import children, ran_ns, stat_fields

PERIOD_SECONDS = 0.005
ROOT = Path(__file__).parents[2]


@dataclass
class Measured:
    """What a stopwatch has seen; filled when its block ends."""

    stops: int = 0
    longest_ms: float = 0.0
    longest_but_noise_ms: float = 0.0
    """The longest of what remains of a stop without its lateness."""
    late_ms: float = 0.0
    """The longest that a look came too late."""

    def assert_within(self, limit_ms: float) -> None:
        print(self)
        assert self.longest_but_noise_ms <= limit_ms, self


@dataclass(slots=True)
class Stop:
    first: float
    late_before: float
    """All lateness until then, in seconds."""
    last: float = 0.0
    late_until: float = 0.0


@contextmanager
def stopwatch(postmaster: int) -> Iterator[Measured]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.kernel.stopwatch", str(postmaster)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    measured = Measured()
    try:
        yield measured
    finally:
        out, _ = process.communicate(timeout=10)
        measured.__dict__.update(json.loads(out))


def look(postmaster: int, stops: dict[tuple[int, int], Stop], late: float) -> None:
    for pid in children(postmaster):
        try:
            if stat_fields(pid)[0] == "T":
                now = time.monotonic()
                stop = stops.setdefault((pid, ran_ns(pid)), Stop(now, late))
                stop.last, stop.late_until = now, late
        except OSError:
            continue


def main() -> None:
    postmaster = int(sys.argv[1])
    stops: dict[tuple[int, int], Stop] = {}
    print("ready", flush=True)
    late = longest_late = 0.0
    due = time.monotonic()
    while not select.select([0], [], [], max(0.0, due - time.monotonic()))[0]:
        lateness = max(0.0, time.monotonic() - due)
        late, longest_late = late + lateness, max(longest_late, lateness)
        look(postmaster, stops, late)
        due = max(due + PERIOD_SECONDS, time.monotonic())
    stays = [(stop.last - stop.first) for stop in stops.values()]
    calm = [stop.last - stop.first - stop.late_until + stop.late_before for stop in stops.values()]
    report = {
        "stops": len(stops), "longest_ms": max(stays, default=0.0) * 1000,
        "longest_but_noise_ms": max(calm, default=0.0) * 1000, "late_ms": longest_late * 1000,
    }  # fmt: skip
    print(json.dumps(report))


if __name__ == "__main__":
    main()
