"""The worker seen from outside: start it, ask it, notice that it died or hangs."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import orjson

from agent.sql.frames import FrameError, Unpacker, pack

START_SECONDS = 20.0
END_SECONDS = 1.0
READ_BYTES = 1 << 16  # larger ones are mapped and unmapped by malloc on every call
URGENT_ANSWERS = 2
WALL_PER_CPU = 4
"""A text may take this much longer by the clock than its budget of CPU time: the host is busy."""


class WorkerError(Exception):
    """The worker could not be started."""


class WorkerProcess:
    """One worker. Not safe for threads: its owner takes turns."""

    def __init__(self) -> None:
        """Raises WorkerError, also where the host is out of processes, memory or descriptors."""
        self._socket, self._process = _started()
        self._unpacker = Unpacker()
        self._arrived: deque[object] = deque()
        self._due = 0
        """Answers that may still arrive."""
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._cpu_clock = (~self._process.pid << 3) | 2  # the kernel's MAKE_PROCESS_CPUCLOCK
        try:
            self._wait_until_ready()
        except WorkerError:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, texts: Sequence[str], budget_seconds: float) -> tuple[list[object], str]:
        """Answers in order, and why they end early: empty, ``died`` or ``slow``.

        When they end early the worker is of no more use; the first text without an answer is the
        one that it was busy with. ``budget_seconds`` of CPU time are for each text.
        """
        if not self.send(texts, budget_seconds):
            return [], "died"
        return self.receive(len(texts), budget_seconds)

    def send(self, texts: Sequence[str], budget_seconds: float) -> bool:
        """False: it does not listen any more, and is of no more use."""
        return self._send(list(texts), len(texts), budget_seconds)

    def send_urgent(self, text: str, budget_seconds: float) -> bool:
        """One text, which gets two answers: the first as soon as rules can judge it."""
        return self._send(text, URGENT_ANSWERS, budget_seconds)

    def receive(self, count: int, budget_seconds: float) -> tuple[list[object], str]:
        """The answers to ``count`` texts that were sent, as ``ask``."""
        answers: list[object] = []
        try:
            while len(answers) < count:
                if self._arrived:
                    answers.append(self._arrived.popleft())
                elif not self._wait_for_answer(budget_seconds):
                    return answers, "slow"
                elif not self._read():
                    return answers, "died"
        except (OSError, FrameError, orjson.JSONDecodeError):
            return answers, "died"
        return answers, ""

    def receive_soon(self, patience_seconds: float) -> tuple[list[object], str]:
        """The next answer, or none if it takes longer than that: then it is still to come."""
        until = time.monotonic() + patience_seconds
        try:
            while not self._arrived:
                left = until - time.monotonic()
                if left <= 0 or not self._poll.poll(left * 1000):
                    return [], ""
                if not self._read():
                    return [], "died"
        except (OSError, FrameError, orjson.JSONDecodeError):
            return [], "died"
        return [self._arrived.popleft()], ""

    def _send(self, question: object, answers: int, budget_seconds: float) -> bool:
        self._due += answers
        try:
            self._socket.settimeout(budget_seconds * WALL_PER_CPU + 1)
            self._socket.sendall(pack(orjson.dumps(question)))
        except OSError:
            return False
        return True

    def _read(self) -> bool:
        """Takes what has arrived; False where nothing will any more."""
        data = self._socket.recv(READ_BYTES)
        for frame in self._unpacker.feed(data):
            self._due -= 1
            if self._due < 0:
                raise FrameError("more answers than questions")
            self._arrived.append(orjson.loads(frame))
        return bool(data)

    def killed(self) -> bool:
        """Whether somebody else ended it (the kernel for want of memory, an operator), and not what
        it was busy with. For one that died."""
        try:
            return self._process.wait(END_SECONDS) == -signal.SIGKILL
        except subprocess.TimeoutExpired:
            return False

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


def _started() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    try:
        ours, theirs = socket.socketpair()
    except OSError as error:
        raise WorkerError(f"the parser worker cannot be started: {error}") from error
    with theirs:
        try:
            return ours, _spawn(theirs.fileno())
        except (OSError, subprocess.SubprocessError) as error:
            ours.close()
            raise WorkerError(f"the parser worker cannot be started: {error}") from error


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
