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
LEAVE_SECONDS = 5.0
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
        """Returns when the watchdog watches, so that holds may begin.

        Call it before the probes are told to hold: a stop that the watchdog finds already there is
        somebody else's to it. Raises WatchdogError when it does not answer.
        """
        self._servers[server.postmaster_pid] = server
        self._tell(_watch_order(server))
        self._await(f"watching {server.postmaster_pid}")

    def forget(self, server: Server) -> None:
        self._servers.pop(server.postmaster_pid, None)
        self._tell(f"forget {server.postmaster_pid}")

    def check(self) -> list[Released]:
        """What it released since the last call; a watchdog that died is replaced.

        Raises WatchdogError when no new one can be started.
        """
        if self._process.poll() is not None:
            self._start()
            self.restarts += 1
        self._heard += self._read()
        *lines, self._heard = self._heard.split(b"\n")
        words = (line.split() for line in lines if line.startswith(b"released "))
        return [Released(int(pid), int(held_ms)) for _, pid, held_ms in words]

    def close(self) -> None:
        """End the watchdog; detach the probes first, for nobody releases a hold after this."""
        self._tell("leave")
        _input(self._process).close()
        _output(self._process).close()
        try:
            self._process.wait(LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

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
            env=_environment(),
            cwd="/",
            start_new_session=True,
            bufsize=0,
        )
        os.set_blocking(_output(process).fileno(), False)
        self._process = process
        self._heard = b""
        self._await("ready")
        self._tell(f"limit {self._limit_ms}", "close" if self._cancel_stale else "open")
        for server in self._servers.values():
            self.watch(server)
        return process

    def _await(self, answer: str) -> None:
        """Read until that line; other lines stay to be told by ``check``."""
        line = f"{answer}\n".encode("ascii")
        limit = time.monotonic() + START_SECONDS
        while line not in self._heard:
            left = limit - time.monotonic()
            readable, _, _ = select.select([_output(self._process)], [], [], max(0.0, left))
            received = self._read()
            if not readable or not received:
                self._process.kill()
                self._process.wait()
                raise WatchdogError(f"the watchdog is not {answer}: statements must not be held")
            self._heard += received
        self._heard = self._heard.replace(line, b"", 1)

    def _tell(self, *orders: str) -> None:
        # A broken pipe: it died; the next check starts another one and tells it everything again.
        with contextlib.suppress(BrokenPipeError):
            _input(self._process).write("".join(f"{order}\n" for order in orders).encode("ascii"))

    def _read(self) -> bytes:
        return _output(self._process).read(65536) or b""


def _environment() -> dict[str, str]:
    """Only what Python needs to start: the agent's environment may hold secrets."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _watch_order(server: Server) -> str:
    pid, ticks = server.postmaster_pid, server.started_ticks
    return f"watch {pid} {ticks} {server.device} {server.inode}"


def _input(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdin is not None
    return process.stdin


def _output(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdout is not None
    return process.stdout
