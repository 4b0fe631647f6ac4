"""The agent's end of the watchdog processes: start them, tell them, hear them, start them again."""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Self

from agent.guard.server import Server

START_SECONDS = 10.0
WATCH_SECONDS = 5.0
"""For an answer of one that has started."""
LEAVE_SECONDS = 1.0
GRACE_MS = 15
"""How much later than the guard's own deadline the first watchdog acts. With the time until it
notices that the agent gives no sign of life (40 ms), two pauses between looks (20 ms) and the work
of releasing dozens of backends, none is stopped for more than 100 ms longer than the deadline."""
SECOND_MS = 10
"""How much later than the first one the second acts: never before it, so that they do not get into
each other's way."""
PULSE = struct.Struct("<q")
WINDOW_MS = 250
AFTER_WINDOW_MS = 750
"""For releasing what was held last. A sign of life may be as old as a hold, so as the deadline."""


class WatchdogError(Exception):
    """No watchdog could be started, or answers; nothing may be held without one."""


@dataclass(frozen=True, slots=True)
class Released:
    """A hold that the guard did not settle and the watchdog did."""

    pid: int
    held_ms: int


class WatchdogLink:
    """The watchdogs: two processes, each in a session of its own, and each alone would do. Safe for
    threads; ``check`` often, at least once a second."""

    def __init__(
        self, deadline_ms: int, *, cancel_stale: bool = False, window_ms: int = WINDOW_MS
    ) -> None:
        """``cancel_stale``: fail closed, a stale hold's statement is cancelled on release.
        ``window_ms``: so long after our last sign of life the kernel goes on holding."""
        self._shared = os.memfd_create("pgwarden-pulse", os.MFD_CLOEXEC)
        os.ftruncate(self._shared, PULSE.size)
        self._pulse = mmap.mmap(self._shared, PULSE.size)
        self._watchdogs: list[_Watchdog] = []
        self._lock = threading.Lock()
        self._guarded: frozenset[int] = frozenset()
        """Postmasters whose statements may be held: ``watch`` has returned for them."""
        try:
            for later_ms in (0, SECOND_MS):
                limit_ms = deadline_ms + GRACE_MS + later_ms
                orders = (
                    f"limit {limit_ms}",
                    f"alarm {window_ms + deadline_ms + AFTER_WINDOW_MS}",
                    "close" if cancel_stale else "open",
                )
                self._watchdogs.append(_Watchdog(orders, later_ms, self._shared))
        except WatchdogError:
            self.close()
            raise

    @property
    def pids(self) -> list[int]:
        return [each.pid for each in self._watchdogs]

    @property
    def restarts(self) -> int:
        return sum(each.restarts for each in self._watchdogs)

    def beat(self, held_ns: int = 0) -> None:
        """A sign of life: what was held more than ``held_ns`` ago has been settled. At least every
        20 ms, and before a question to a judge that may take longer; costs less than a microsecond.

        The age of the hold that is being settled makes the sign as old: an agent that lives and is
        behind with its holds is watched as closely as one that is silent.
        """
        PULSE.pack_into(self._pulse, 0, time.monotonic_ns() - max(0, held_ns))

    def watch(self, *servers: Server) -> None:
        """Returns when the watchdogs watch them, so that holds may begin. Those that do not answer
        are replaced. Not for the thread that settles holds: it may take twice WATCH_SECONDS, for
        all servers together, since who calls is watched himself.

        Call it before the probes are told to hold: a stop that the watchdog finds already there is
        somebody else's to it. Raises WatchdogError when none of them answers; then ``answers`` is
        False until one that was started in their place does.
        """
        with self._lock:
            for each in self._watchdogs:
                each.watch(servers)
            new = frozenset(server.postmaster_pid for server in servers)
            try:
                if not self._somebody_watches(new):
                    for each in self._watchdogs:
                        each.revive()
                    if not self._somebody_watches(new):
                        raise WatchdogError("no watchdog answers")
            finally:
                self._guarded |= new

    def forget(self, server: Server) -> None:
        with self._lock:
            self._guarded -= {server.postmaster_pid}
            for each in self._watchdogs:
                each.forget(server)

    def check(self) -> list[Released]:
        """What they released since the last call; one that died is replaced. Never waits for an
        answer: a new one begins to watch while we go on."""
        if not self._lock.acquire(blocking=False):
            return []  # somebody waits for their answer, and hears what they say
        try:
            return [each for watchdog in self._watchdogs for each in watchdog.check()]
        finally:
            self._lock.release()

    def _somebody_watches(self, postmasters: frozenset[int]) -> bool:
        """Those that do not answer have been ended."""
        until = time.monotonic() + WATCH_SECONDS
        watching = [each.waits_until_it_watches(postmasters, until) for each in self._watchdogs]
        return any(watching)

    @property
    def watching(self) -> bool:
        """Whether one of them is known to watch every server just now."""
        return any(each.watches_all for each in self._watchdogs)

    @property
    def answers(self) -> bool:
        """Whether somebody lives who releases what we do not. A few microseconds."""
        return any(each.watches(self._guarded) for each in self._watchdogs)

    def close(self) -> None:
        """End the watchdogs; detach the probes first, for nobody releases a hold after this."""
        for each in self._watchdogs:
            each.ask_to_leave()
        until = time.monotonic() + LEAVE_SECONDS
        for each in self._watchdogs:
            each.close(until)
        self._pulse.close()
        os.close(self._shared)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Watchdog:
    """One of them."""

    def __init__(self, orders: tuple[str, ...], farewell_ms: int, shared: int) -> None:
        """Returns when it is ready; raises WatchdogError."""
        self._orders = orders
        self._farewell_ms = farewell_ms
        self._shared = shared
        self._servers: dict[int, Server] = {}
        self._heard = b""
        self._ready = False
        self._watching: set[int] = set()
        self._released: list[Released] = []
        self.restarts = 0
        try:
            self._process = self._start()
        except OSError as error:
            raise WatchdogError(f"no watchdog can be started: {error}") from error
        if not self._waits_until(lambda: self._ready, time.monotonic() + START_SECONDS):
            raise WatchdogError("the watchdog does not start: statements must not be held")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def watches_all(self) -> bool:
        return self._ready and self._servers.keys() <= self._watching

    def watches(self, postmasters: frozenset[int]) -> bool:
        """Whether it lives, and has said that it watches all of these."""
        return self._ready and postmasters <= self._watching and self._process.poll() is None

    def watch(self, servers: tuple[Server, ...]) -> None:
        """Tells it; the answer comes later."""
        self._servers |= {server.postmaster_pid: server for server in servers}
        self._tell(*map(_watch_order, servers))

    def waits_until_it_watches(self, postmasters: frozenset[int], until: float) -> bool:
        """False where it died, or did not answer in time and is ended, to be replaced."""
        return self._waits_until(lambda: postmasters <= self._watching, until)

    def forget(self, server: Server) -> None:
        self._servers.pop(server.postmaster_pid, None)
        self._watching.discard(server.postmaster_pid)
        self._tell(f"forget {server.postmaster_pid}")

    def check(self) -> list[Released]:
        self._listen()
        self.revive()
        released, self._released = self._released, []
        return released

    def ask_to_leave(self) -> None:
        self._tell("leave")
        self._close_pipes()

    def close(self, until: float) -> None:
        """It leaves, or is ended then (monotonic)."""
        try:
            self._process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def revive(self) -> None:
        """Starts another one if it has died; if that cannot be done, the next call tries again."""
        if self._process.poll() is None:
            return
        try:
            process = self._start()
        except OSError:
            return
        self._close_pipes()
        self._heard, self._ready, self._watching = b"", False, set()  # first: others ask
        self._process = process
        # What stands still now is held by us: who was watched before may release it.
        self._tell(*(_watch_order(server, "again") for server in self._servers.values()))
        self.restarts += 1

    def _start(self) -> subprocess.Popen[bytes]:
        # -S: no site-packages, so nothing but the standard library can be loaded. A session of its
        # own keeps a terminal's signals away.
        process = subprocess.Popen(
            [
                sys.executable, "-S", "-m", "agent.guard.watchdog",
                str(self._shared), str(os.getpid()), str(self._farewell_ms),
            ],
            pass_fds=(self._shared,),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_environment(),
            cwd="/",
            start_new_session=True,
            bufsize=0,
        )  # fmt: skip
        os.set_blocking(_output(process).fileno(), False)
        _write(process, self._orders)
        return process

    def _waits_until(self, told: Callable[[], bool], until: float) -> bool:
        while not told():
            left = max(0.0, until - time.monotonic())
            if not select.select([_output(self._process)], [], [], left)[0] or not self._listen():
                self._process.kill()
                self._process.wait()
                return False
        return True

    def _listen(self) -> bool:
        """Takes what it has said; False where nothing more will come."""
        received = _output(self._process).read(65536)
        *lines, self._heard = (self._heard + (received or b"")).split(b"\n")
        for line in lines:
            match line.split():
                case [b"ready"]:
                    self._ready = True
                case [b"watching", pid]:
                    self._watching.add(int(pid))
                case [b"released", pid, held_ms]:
                    self._released.append(Released(int(pid), int(held_ms)))
        return received != b""

    def _tell(self, *orders: str) -> None:
        _write(self._process, orders)

    def _close_pipes(self) -> None:
        _input(self._process).close()
        _output(self._process).close()


def _write(process: subprocess.Popen[bytes], orders: tuple[str, ...]) -> None:
    # A broken pipe: it died; the next check starts another one and tells it everything again.
    with contextlib.suppress(BrokenPipeError):
        _input(process).write("".join(f"{order}\n" for order in orders).encode("ascii"))


def _environment() -> dict[str, str]:
    """Only what Python needs to start: the agent's environment may hold secrets."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _watch_order(server: Server, order: str = "watch") -> str:
    pid, ticks = server.postmaster_pid, server.started_ticks
    return f"{order} {pid} {ticks} {server.device} {server.inode}"


def _input(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdin is not None
    return process.stdin


def _output(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdout is not None
    return process.stdout
