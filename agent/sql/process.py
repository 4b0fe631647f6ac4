"""The worker seen from outside: start it, ask it, notice that it died or hangs."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import orjson

from agent.sql.frames import FrameError, Unpacker, pack

START_SECONDS = 20.0
READ_BYTES = 1 << 16  # larger ones are mapped and unmapped by malloc on every call
WALL_PER_CPU = 4
"""A text may take this much longer by the clock than its budget of CPU time: the host is busy."""


class WorkerError(Exception):
    """The worker could not be started."""


class WorkerProcess:
    """One worker. Not safe for threads: its owner takes turns."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = _spawn(theirs.fileno())
        self._socket = ours
        self._unpacker = Unpacker()
        self._poll = select.poll()
        self._poll.register(ours, select.POLLIN)
        self._cpu_clock = (~self._process.pid << 3) | 2  # the kernel's MAKE_PROCESS_CPUCLOCK
        try:
            self._wait_until_ready()
        except WorkerError:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, texts: Sequence[str], budget_seconds: float) -> tuple[list[object], str]:
        """Answers in order, and why they end early: empty, ``died`` or ``slow``.

        When they end early the worker is of no more use; the first text without an answer is the
        one that it was busy with. ``budget_seconds`` of CPU time are for each text.
        """
        answers: list[object] = []
        try:
            self._socket.settimeout(budget_seconds * WALL_PER_CPU + 1)
            self._socket.sendall(pack(orjson.dumps(texts)))
            while len(answers) < len(texts):
                if not self._wait_for_answer(budget_seconds):
                    return answers, "slow"
                data = self._socket.recv(READ_BYTES)
                if not data:
                    return answers, "died"
                answers += [orjson.loads(frame) for frame in self._unpacker.feed(data)]
        except (OSError, FrameError, orjson.JSONDecodeError):
            return answers[: len(texts)], "died"
        return answers[: len(texts)], "died" if len(answers) > len(texts) else ""

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._socket.close()

    def _wait_for_answer(self, budget_seconds: float) -> bool:
        started = time.monotonic()
        cpu_at_start = self._cpu_seconds()
        while not self._poll.poll(budget_seconds * 1000):
            if self._cpu_seconds() - cpu_at_start >= budget_seconds:
                return False
            if time.monotonic() - started >= budget_seconds * WALL_PER_CPU:
                return False
        return True

    def _cpu_seconds(self) -> float:
        try:
            return time.clock_gettime(self._cpu_clock)
        except OSError:
            return float("inf")

    def _wait_until_ready(self) -> None:
        self._socket.settimeout(START_SECONDS)
        try:
            frames = self._unpacker.feed(self._socket.recv(READ_BYTES))
        except (OSError, FrameError) as error:
            raise WorkerError(f"the parser worker did not start: {error}") from error
        if frames != [b"ready"]:
            raise WorkerError(
                "the parser worker ended while starting: is pglast installed for "
                f"{sys.executable}? Try: {sys.executable} -c 'import pglast'"
            )


def _spawn(connection: int) -> subprocess.Popen[bytes]:
    """Executed anew, never forked: the agent has threads and gRPC. Nothing of its environment."""
    root = str(Path(__file__).resolve().parents[2])
    folders = [root, *(os.path.abspath(entry) for entry in sys.path if entry)]
    os.set_inheritable(connection, True)
    return subprocess.Popen(
        [sys.executable, "-P", "-B", "-m", "agent.sql.worker", str(connection), str(os.getpid())],
        pass_fds=(connection,),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"PYTHONPATH": os.pathsep.join(dict.fromkeys(folders)), "LC_ALL": "C.UTF-8"},
        cwd="/",
        start_new_session=True,
    )
