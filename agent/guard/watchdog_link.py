"""The agent's end of the watchdog process: start it, tell it, hear it, start it again."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import IO, Self

from agent.guard.server import Server

START_SECONDS = 10.0
GRACE_MS = 100
"""How much later than the guard's own deadline the watchdog acts."""


class WatchdogError(Exception):
    """The watchdog could not be started; nothing may be held without it."""


@dataclass(frozen=True, slots=True)
class Released:
    """A hold that the guard did not settle and the watchdog did."""

    pid: int
    held_ms: int


class WatchdogLink:
    """One watchdog process. Use from one thread; ``check`` often, at least once a second."""

    def __init__(self, deadline_ms: int, *, cancel_stale: bool = False) -> None:
        """``cancel_stale``: fail closed, a stale hold's statement is cancelled on release."""
        self._limit_ms = deadline_ms + GRACE_MS
        self._cancel_stale = cancel_stale
        self._servers: dict[int, Server] = {}
        self._heard = b""
        self.restarts = 0
        self._process = self._start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def watch(self, server: Server) -> None:
        self._servers[server.postmaster_pid] = server
        self._tell(_watch_order(server))

    def forget(self, server: Server) -> None:
        self._servers.pop(server.postmaster_pid, None)
        self._tell(f"forget {server.postmaster_pid}")

    def check(self) -> list[Released]:
        """What it released since the last call; a watchdog that died is replaced.

        Raises WatchdogError when no new one can be started.
        """
        if self._process.poll() is not None:
            self._process = self._start()
            self.restarts += 1
        self._heard += self._read()
        *lines, self._heard = self._heard.split(b"\n")
        words = (line.split() for line in lines if line.startswith(b"released "))
        return [Released(int(pid), int(held_ms)) for _, pid, held_ms in words]

    def close(self) -> None:
        """Let it say its farewell by itself; it ends a few seconds later."""
        _input(self._process).close()
        _output(self._process).close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> subprocess.Popen[bytes]:
        # -S: no site-packages, so nothing but the standard library can be loaded. A session of its
        # own keeps a terminal's signals away.
        process = subprocess.Popen(
            [sys.executable, "-S", "-m", "agent.guard.watchdog"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PATH": os.defpath},
            cwd="/",
            start_new_session=True,
            bufsize=0,
        )
        self._heard = self._await_ready(process)
        os.set_blocking(_output(process).fileno(), False)
        self._process = process
        self._tell(f"limit {self._limit_ms}", "close" if self._cancel_stale else "open")
        self._tell(*(_watch_order(server) for server in self._servers.values()))
        return process

    def _await_ready(self, process: subprocess.Popen[bytes]) -> bytes:
        limit = time.monotonic() + START_SECONDS
        heard = b""
        output = _output(process)
        while time.monotonic() < limit:
            readable, _, _ = select.select([output], [], [], 0.1)
            received = output.read(65536) if readable else b""
            if readable and not received:
                break
            heard += received or b""
            if b"ready\n" in heard:
                return heard.partition(b"ready\n")[2]
        process.kill()
        raise WatchdogError("the watchdog process did not start; statements must not be held")

    def _tell(self, *orders: str) -> None:
        # A broken pipe: it died; the next check starts another one and tells it everything again.
        with contextlib.suppress(BrokenPipeError):
            _input(self._process).write("".join(f"{order}\n" for order in orders).encode("ascii"))

    def _read(self) -> bytes:
        return _output(self._process).read(65536) or b""


def _watch_order(server: Server) -> str:
    pid, ticks = server.postmaster_pid, server.started_ticks
    return f"watch {pid} {ticks} {server.device} {server.inode}"


def _input(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdin is not None
    return process.stdin


def _output(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdout is not None
    return process.stdout
