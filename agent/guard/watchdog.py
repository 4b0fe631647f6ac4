"""The process that never leaves a backend stopped: ``python -m agent.guard.watchdog``.

The agent starts it and tells it which postmasters it guards. It looks at their children (where
one was killed at the orphans that it left) and sends SIGCONT to those that have stood still for
longer than a hold may last. When the agent dies, however it dies, the watchdog releases at once
whatever is held, goes on so until the last of the agent's probes is gone, looks on for some
seconds, and ends. It imports the standard library only, to stay small and to keep working when
the rest does not. There are two of them, so that one kill never hits all who could release: the
second is a little slower, and finds nothing to do while the first one lives.

The agent writes the time of its last sign of life into memory that it shares with us, less the
age of the hold that it is about to settle: what was held before that moment is settled. As long
as it is fresh a rare look is enough. When it is not, looks follow each other closely and ahead of
everybody, until the kernel has long stopped holding for want of a judge.

A killed agent takes up to a second to be gone, for the kernel takes its probes away one by one,
and the pipe to us closes last. Meanwhile backends are still held. So we see its death by its
flags.

What it leaves alone, so as not to fight with people:

- a backend under a debugger (state ``t``, not ``T``). The agent is one for less than a millisecond
  when it refuses a statement. Where it stands still just then (SIGSTOP, swap), nothing but its end
  lets the backend go: the agent is killed, and whoever started it starts another;
- a backend that was stopped before its postmaster was made known, until it has run again (not so
  where another watchdog knew the postmaster and died);
- a backend stopped inside a system call: somebody stopped an idle or waiting session by hand. A
  hold always begins at a function's entry.

A backend that somebody stops with SIGSTOP while it computes cannot be told from a hold. It is
released, because a forgotten hold blocks a shutdown and a forgotten gdb session is rarer.

Orders on standard input, a line each: ``limit MS``, ``alarm MS`` (how old the agent's last sign of
life may be for the kernel still to hold), ``close`` or ``open`` (whether a stale hold's
statement is cancelled before it is released), ``watch PID STARTED_TICKS DEVICE INODE``
(``again`` for one that a watchdog knew before), ``forget PID``, ``leave`` (an orderly end: nothing
is held any more). Reports on standard output: ``ready``, ``watching PID``, and
``released PID HELD_MS``.
"""

import contextlib
import mmap
import os
import select
import signal
import struct
import sys
import time
from dataclasses import dataclass, field

from agent.guard.halts import (
    Halt,
    Postmaster,
    exiting,
    folder_of,
    halts_of,
    lives,
    release,
    stat_fields,
)

PERIOD_SECONDS = 0.1
ALARMED_PERIOD_SECONDS = 0.01
PULSE_PERIOD_SECONDS = 0.015
STALE_SECONDS = 0.025
"""The agent gives a sign of life at least every 20 ms, and before it judges a held statement. One
that is this old although the agent lives: it is behind with its holds."""
ALARM_SECONDS = 1.0
"""So long after the agent's last sign we look closely, unless told otherwise: until the kernel has
long stopped holding, and what it held is released."""
FAREWELL_PERIOD_SECONDS = 0.02
FAREWELL_SECONDS = 3.0
GONE_SECONDS = 0.1
"""So long after the agent is gone, and its probes with it, a stop of theirs may still come to our
eyes. Later holds belong to a new agent: they get twice their time, so that its own watchdog, with
its own policy, comes first. Otherwise statements would slip through a quick restart."""
IDLE_FACTOR = 50
"""Sleep at least this many times what a look took: at most 2 % of one processor, unless alarmed."""
ALARMED_IDLE_FACTOR = 2
"""A third of one processor then: we go before the server's own work."""
ORPHANED_SECONDS = 10.0
"""The agent forgets a postmaster that is gone, and holds nothing of it soon after: what it held
before is released by then."""
PULSE = struct.Struct("<q")
"""Monotonic nanoseconds: all that was held before has been settled."""
NICENESS = -10
"""Little to do, and never late: where we may, ahead of most."""
URGENCY = 1
"""The lowest real-time priority. Niceness is not enough in an alarm: who looks often has soon used
his share of a processor, and waits for 200 ms behind 40 backends that all compute."""
DEFAULT_LIMIT_MS = 300
TRACED_SECONDS = 1.0
"""So much longer than a hold an agent that is not stopped may trace a backend: it waits for a
processor, and will go on."""


@dataclass
class State:
    """What the watchdog knows; ``stale`` is its pure heart."""

    limit_seconds: float = DEFAULT_LIMIT_MS / 1000
    cancel_first: bool = False
    alarm_seconds: float = ALARM_SECONDS
    at_once: bool = False
    """The agent is dying: no hold of it will be settled."""
    farewell_seconds: float = 0.0
    """How long a hold may last then."""
    postmasters: dict[int, Postmaster] = field(default_factory=dict)
    since: dict[Halt, float] = field(default_factory=dict)
    orphaned: dict[Postmaster, float] = field(default_factory=dict)
    """Postmasters that we were told to forget, and until when we look after the orphans of those
    that are dead: one may have been held a moment before."""
    leaving: bool = False
    foreign: set[Halt] = field(default_factory=set)
    """Halts that are older than our watch."""

    def stale(self, halts: set[Halt], now: float) -> list[tuple[Halt, float]]:
        """Halts that have lasted longer than the limit, each with its seconds so far."""
        limit_seconds = self.farewell_seconds if self.at_once else self.limit_seconds
        self.foreign &= halts
        self.since = {halt: self.since.get(halt, now) for halt in halts - self.foreign}
        return [
            (halt, now - first)
            for halt, first in self.since.items()
            if now - first >= limit_seconds
        ]

    def knows(self, halt: Halt) -> bool:
        return halt in self.since or halt in self.foreign


def look(state: State, agent: "Agent") -> None:
    now = time.monotonic()
    state.orphaned = {known: until for known, until in state.orphaned.items() if now < until}
    every = (*state.postmasters.values(), *(one for one in state.orphaned if not lives(one)))
    halts = {halt for known in every for halt in halts_of(known, state.knows, agent.pid)}
    for halt, held_seconds in state.stale(halts, time.monotonic()):
        if halt.traced:
            over_seconds = held_seconds - state.limit_seconds
            if over_seconds > TRACED_SECONDS or (over_seconds > 0 and agent.stopped()):
                agent.kill(f"it stood still while it traced backend {halt.pid}")
        elif release(halt, state.cancel_first):
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
        case ["alarm", milliseconds]:
            state.alarm_seconds = int(milliseconds) / 1000
        case ["close"]:
            state.cancel_first = True
        case ["open"]:
            state.cancel_first = False
        case ["watch" | "again" as order, pid, started_ticks, device, inode]:
            identity = int(pid), int(started_ticks), int(device), int(inode)
            postmaster = Postmaster(*identity, folder_of(int(pid)))
            if order == "watch":
                state.foreign.update(halts_of(postmaster, state.knows))
            state.postmasters[postmaster.pid] = postmaster
            report(f"watching {postmaster.pid}")
        case ["forget", pid]:
            forgotten = state.postmasters.pop(int(pid), None)
            if forgotten is not None:
                state.orphaned[forgotten] = time.monotonic() + ORPHANED_SECONDS
        case ["leave"]:
            state.leaving = True
        case _:
            raise ValueError(f"unknown order: {line!r}")


class Pulse:
    """The agent's last sign of life, read from memory that it shares with us."""

    def __init__(self, shared: int) -> None:
        self._memory = mmap.mmap(shared, PULSE.size)

    def age(self) -> float:
        beat_ns: int = PULSE.unpack_from(self._memory)[0]
        return time.monotonic() - beat_ns / 1e9

    def alarming(self, somebody_stands: bool, alarm_seconds: float = ALARM_SECONDS) -> bool:
        """Whether it is old, and there is or may be somebody to release."""
        age = self.age()
        return age >= STALE_SECONDS and (somebody_stands or age < alarm_seconds)


class Agent:
    """The process that started us: alive, dying, or gone."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._handle = -1
        with contextlib.suppress(OSError):
            self._handle = os.pidfd_open(pid)
        if os.getppid() != pid:
            self._handle = -1  # It died before we were here, and the pid may be another's.

    def gone(self) -> bool:
        """All its threads have ended, and its files are closed."""
        return self._handle < 0 or bool(select.select([self._handle], [], [], 0)[0])

    def dying(self) -> bool:
        return self.gone() or exiting(self.pid)

    def stopped(self) -> bool:
        try:
            return stat_fields(self.pid)[0] == "T"
        except OSError:
            return False

    def kill(self, why: str) -> None:
        """The kernel takes its traces away; what it held is released as after any death."""
        if self.gone():
            return
        print(f"watchdog: the agent is killed: {why}", file=sys.stderr, flush=True)
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)


class Urgency:
    """Ahead of everybody while that matters, where we may."""

    def __init__(self) -> None:
        self._urgent = False
        self._allowed = True
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, NICENESS)

    def set(self, urgent: bool) -> None:
        if urgent is self._urgent or not self._allowed:
            return
        policy = os.SCHED_FIFO if urgent else os.SCHED_OTHER
        try:
            os.sched_setscheduler(0, policy, os.sched_param(URGENCY if urgent else 0))
            self._urgent = urgent
        except OSError:
            self._allowed = False


def attend(state: State, orders: int, pulse: Pulse, agent: Agent, urgency: Urgency) -> None:
    """Obey and look until the agent's end of the pipe closes."""
    waiting = b""
    next_look = time.monotonic()
    alarmed = False
    while not state.leaving:
        patience = max(0.0, min(next_look - time.monotonic(), PULSE_PERIOD_SECONDS))
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
        was_alarmed, alarmed = alarmed, pulse.alarming(bool(state.since), state.alarm_seconds)
        urgency.set(alarmed)
        if (alarmed and not was_alarmed) or time.monotonic() >= next_look:
            state.at_once = alarmed and agent.dying()
            began = time.monotonic()
            look(state, agent)
            took = time.monotonic() - began
            if alarmed:
                idle = max(ALARMED_PERIOD_SECONDS, ALARMED_IDLE_FACTOR * took)
            else:
                idle = max(PERIOD_SECONDS, IDLE_FACTOR * took)
            next_look = began + took + idle


def bid_farewell(state: State, pulse: Pulse, agent: Agent, urgency: Urgency) -> None:
    """The agent died: release at once until its probes are gone, then go on as before until a new
    agent has its own."""
    state.limit_seconds *= 2
    last_at_once = time.monotonic()
    gone_since = float("inf")
    while (now := time.monotonic()) - last_at_once < FAREWELL_SECONDS:
        if gone_since > now and agent.gone():
            gone_since = now
        state.at_once = now - gone_since < GONE_SECONDS and pulse.age() < state.alarm_seconds
        urgency.set(state.at_once)
        if state.at_once:
            last_at_once = now
        look(state, agent)
        took = time.monotonic() - now
        period = ALARMED_PERIOD_SECONDS if state.at_once else FAREWELL_PERIOD_SECONDS
        time.sleep(max(period, ALARMED_IDLE_FACTOR * took))


def main(arguments: list[str]) -> None:
    """``SHARED_FD AGENT_PID FAREWELL_MS``: the pulse's memory, who started us, and how much later
    than at once we release when the agent has died."""
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
    urgency = Urgency()
    os.set_blocking(1, False)
    pulse, agent = Pulse(int(arguments[0])), Agent(int(arguments[1]))
    state = State(farewell_seconds=int(arguments[2]) / 1000)
    report("ready")
    attend(state, 0, pulse, agent, urgency)
    if not state.leaving:
        bid_farewell(state, pulse, agent, urgency)


if __name__ == "__main__":
    main(sys.argv[1:])
