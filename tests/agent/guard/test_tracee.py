"""A process that is traced for a moment is as it was afterwards."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from agent.guard import memory
from agent.guard.memory import PTRACE_SEIZE, Tracee
from agent.guard.server import stat_fields

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="ptrace of another process needs root")


@pytest.fixture
def computing() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield process.pid
        finally:
            process.kill()


class Overtaken(Tracee):
    """Its process meets the hold's signal when it is traced already, and not interrupted yet."""

    def _call(self, request: int, what: str, data: int | None = None) -> None:
        super()._call(request, what, data)
        if request == PTRACE_SEIZE:
            os.kill(self.pid, signal.SIGSTOP)
            wait_for(self.pid, "t")


def wait_for(pid: int, state: str) -> None:
    limit = time.monotonic() + 10
    while stat_fields(pid)[0] != state:
        assert time.monotonic() < limit, stat_fields(pid)[0]
        time.sleep(0.001)


def stays(pid: int, state: str) -> bool:
    return all(stat_fields(pid)[0] == state for _ in range(20) if time.sleep(0.005) is None)


@pytest.mark.parametrize("tracee", [Tracee, Overtaken])
def test_a_held_process_is_still_held_after_it_was_traced(computing, tracee):
    """Else the SIGCONT that ends its hold would come too late, and end its next one."""
    if tracee is Tracee:
        os.kill(computing, signal.SIGSTOP)
        wait_for(computing, "T")
    with tracee(computing) as traced:
        assert traced.registers().rip
    wait_for(computing, "T")
    assert stays(computing, "T")
    os.kill(computing, signal.SIGCONT)
    wait_for(computing, "R")


def test_a_stop_and_its_end_that_come_while_it_is_traced_leave_it_running(computing):
    with Overtaken(computing):
        os.kill(computing, signal.SIGCONT)
    wait_for(computing, "R")
    assert stays(computing, "R")


def test_memory_of_a_process_that_is_gone_is_an_os_error():
    with pytest.raises(OSError, match="memory"):
        memory.read_memory(4_194_304, 0x1000, 8)
