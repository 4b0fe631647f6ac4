"""The process that never leaves a backend stopped: ``python -m agent.guard.watchdog``.

The agent starts it and tells it which postmasters it guards. It looks at their children and sends
SIGCONT to those that have stood still for longer than a hold may last. When the agent dies, however
it dies, its end of the pipe closes: the watchdog then releases at once whatever is still held,
looks on for some seconds, and ends. It imports the standard library only, to stay small and to keep
working when the rest does not.

What it leaves alone, so as not to fight with people:

- a backend under a debugger (state ``t``, not ``T``);
- a backend that was stopped before its postmaster was made known, until it has run again;
- a backend stopped inside a system call: somebody stopped an idle or waiting session by hand. A
  hold always begins at a function's entry.

A backend that somebody stops with SIGSTOP while it computes cannot be told from a hold. It is
released, because a forgotten hold blocks a shutdown and a forgotten gdb session is rarer.

Orders on standard input, a line each: ``limit MS``, ``close`` or ``open`` (whether a stale hold's
statement is cancelled before it is released), ``watch PID STARTED_TICKS DEVICE INODE``,
``forget PID``, ``leave`` (an orderly end: nothing is held any more). Reports on standard output:
``ready``, ``watching PID``, ``released PID HELD_MS``.
"""

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

PERIOD_SECONDS = 0.1
FAREWELL_PERIOD_SECONDS = 0.02
FAREWELL_SECONDS = 3.0
AT_ONCE_SECONDS = 0.2
"""So long after the agent's death its probes may still stop a backend. Later holds belong to a new
agent that has started meanwhile: they get twice their time, so that its own watchdog, with its own
policy, comes first. Otherwise statements would slip through a quick restart."""
IDLE_FACTOR = 50
"""Sleep at least this many times what a look took: at most 2 % of one processor."""
DEFAULT_LIMIT_MS = 300


@dataclass(frozen=True)
class Postmaster:
    pid: int
    started_ticks: int
    device: int
    inode: int


@dataclass(frozen=True)
class Halt:
    """One uninterrupted stop of one process: as soon as it runs, ``ran_ns`` changes."""

    pid: int
    started_ticks: int
    ran_ns: int


@dataclass
class State:
    """What the watchdog knows; ``stale`` is its pure heart."""

    limit_seconds: float = DEFAULT_LIMIT_MS / 1000
    cancel_first: bool = False
    postmasters: dict[int, Postmaster] = field(default_factory=dict)
    since: dict[Halt, float] = field(default_factory=dict)
    leaving: bool = False
    foreign: set[Halt] = field(default_factory=set)
    """Halts that are older than our watch."""

    def stale(self, halts: set[Halt], now: float) -> list[tuple[Halt, float]]:
        """Halts that have lasted longer than the limit, each with its seconds so far."""
        self.foreign &= halts
        self.since = {halt: self.since.get(halt, now) for halt in halts - self.foreign}
        return [
            (halt, now - first)
            for halt, first in self.since.items()
            if now - first >= self.limit_seconds
        ]


def stat_fields(pid: int) -> list[str]:
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()


def children(pid: int) -> list[int]:
    """Kept by the kernel per thread; a postmaster has one. Scans all processes where it is not."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(word) for word in file.read().split()]
    except FileNotFoundError:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def halts_of(postmaster: Postmaster) -> Iterator[Halt]:
    """Stopped, untraced children of the postmaster that run its program and no system call."""
    try:
        if int(stat_fields(postmaster.pid)[19]) != postmaster.started_ticks:
            return
        candidates = children(postmaster.pid)
    except OSError:
        return
    for pid in candidates:
        try:
            fields = stat_fields(pid)
            if fields[0] != "T" or int(fields[1]) != postmaster.pid:
                continue
            program = os.stat(f"/proc/{pid}/exe")
            if (program.st_dev, program.st_ino) != (postmaster.device, postmaster.inode):
                continue
            if in_system_call(pid):
                continue
            yield Halt(pid, int(fields[19]), ran_ns(pid))
        except OSError:
            continue


def in_system_call(pid: int) -> bool:
    """False where the kernel does not say: releasing too much is better than a stuck backend."""
    try:
        with open(f"/proc/{pid}/syscall", encoding="ascii") as file:
            return file.read().split()[0].isdigit()
    except (OSError, IndexError):
        return False


def ran_ns(pid: int) -> int:
    """Processor time so far, to the nanosecond; context switches where the kernel has no such."""
    try:
        with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
            return int(file.read().split()[0])
    except FileNotFoundError:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            return sum(int(line.split()[1]) for line in file if "ctxt_switches" in line)


def release(halt: Halt, cancel_first: bool) -> bool:
    """Continue this very process, if it is still in this very stop."""
    try:
        pidfd = os.pidfd_open(halt.pid)
    except OSError:
        return False
    try:
        fields = stat_fields(halt.pid)
        same = fields[0] == "T" and int(fields[19]) == halt.started_ticks
        if not same or ran_ns(halt.pid) != halt.ran_ns:
            return False
        if cancel_first:
            signal.pidfd_send_signal(pidfd, signal.SIGINT)
        signal.pidfd_send_signal(pidfd, signal.SIGCONT)
    except OSError:
        return False
    finally:
        os.close(pidfd)
    return True


def look(state: State) -> None:
    halts = {halt for known in state.postmasters.values() for halt in halts_of(known)}
    for halt, held_seconds in state.stale(halts, time.monotonic()):
        if release(halt, state.cancel_first):
            report(f"released {halt.pid} {held_seconds * 1000:.0f}")


def report(line: str) -> None:
    # The agent is dead or does not read: releasing goes on without a witness.
    with contextlib.suppress(OSError):
        os.write(1, line.encode() + b"\n")


def obey(state: State, line: str) -> None:
    """Carry out one order; raises ValueError for one that is not understood."""
    match line.split():
        case ["limit", milliseconds]:
            state.limit_seconds = int(milliseconds) / 1000
        case ["close"]:
            state.cancel_first = True
        case ["open"]:
            state.cancel_first = False
        case ["watch", pid, started_ticks, device, inode]:
            postmaster = Postmaster(int(pid), int(started_ticks), int(device), int(inode))
            state.foreign.update(halts_of(postmaster))
            state.postmasters[postmaster.pid] = postmaster
            report(f"watching {postmaster.pid}")
        case ["forget", pid]:
            state.postmasters.pop(int(pid), None)
        case ["leave"]:
            state.leaving = True
        case _:
            raise ValueError(f"unknown order: {line!r}")


def attend(state: State, orders: int) -> None:
    """Obey and look until the agent's end of the pipe closes."""
    waiting = b""
    next_look = time.monotonic()
    while not state.leaving:
        patience = max(0.0, next_look - time.monotonic())
        readable, _, _ = select.select([orders], [], [], patience)
        if readable:
            received = os.read(orders, 65536)
            if not received:
                return
            *lines, waiting = (waiting + received).split(b"\n")
            for line in lines:
                try:
                    obey(state, line.decode("ascii", "replace"))
                except ValueError as error:
                    print(f"watchdog: {error}", file=sys.stderr)
        if time.monotonic() >= next_look:
            began = time.monotonic()
            look(state)
            took = time.monotonic() - began
            next_look = began + max(PERIOD_SECONDS, IDLE_FACTOR * took)


def bid_farewell(state: State) -> None:
    """The agent died: release at once, then go on as before until a new agent has its own."""
    limit_seconds, state.limit_seconds = state.limit_seconds, 0.0
    began = time.monotonic()
    while (past := time.monotonic() - began) < FAREWELL_SECONDS:
        if past > AT_ONCE_SECONDS:
            state.limit_seconds = 2 * limit_seconds
        look(state)
        time.sleep(FAREWELL_PERIOD_SECONDS)


def main() -> None:
    # A terminal's or a service manager's farewell to the whole group must not come before the
    # agent's end: the closed pipe is the only signal to leave.
    for ignored in (
        signal.SIGABRT,
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGHUP,
        signal.SIGPIPE,
    ):
        signal.signal(ignored, signal.SIG_IGN)
    os.set_blocking(1, False)
    state = State()
    report("ready")
    attend(state, orders=0)
    if not state.leaving:
        bid_farewell(state)


if __name__ == "__main__":
    main()
