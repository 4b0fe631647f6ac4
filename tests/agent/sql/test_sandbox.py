"""What the worker may do: read texts and answer them."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.sql import sandbox
from agent.sql.client import ParserClient
from agent.sql.frames import MAX_FRAME_BYTES, FrameError, Unpacker, pack


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def limits_of(pid: int) -> dict[str, tuple[str, str]]:
    """Soft and hard limit by the kernel's name for it."""
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()[1:]
    return {line[:26].strip(): (line[26:47].strip(), line[47:68].strip()) for line in lines}


def test_the_worker_has_no_rights_and_little_room(parser: ParserClient):
    pid = parser.worker_pid
    status = status_of(pid)
    assert set(status["Uid"].split()) == {str(sandbox.NOBODY if os.geteuid() == 0 else os.getuid())}
    assert status["NoNewPrivs"] == "1"
    assert int(status["CapEff"], 16) == 0
    assert status["Seccomp"] == "2"
    limits = limits_of(pid)
    assert limits["Max address space"] == (str(sandbox.MAX_MEMORY_BYTES),) * 2
    assert limits["Max open files"] == (str(sandbox.MAX_OPEN_FILES),) * 2
    for name in ("Max file size", "Max core file size", "Max processes"):
        assert limits[name] == ("0", "0")


def test_the_worker_renews_its_cpu_time_with_each_batch(parser: ParserClient):
    parser.shapes([b"SELECT 'cpu'"], [12])
    soft, _ = limits_of(parser.worker_pid)["Max cpu time"]
    assert 0 < int(soft) < 100_000


def test_the_worker_inherits_neither_files_nor_environment(parser: ParserClient):
    pid = parser.worker_pid
    open_files = {os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    assert {name for name in open_files if not name.startswith("socket:")} == {"/dev/null"}
    environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    names = {entry.partition(b"=")[0] for entry in environment if entry}
    assert names <= {b"PYTHONPATH", b"LC_ALL"}


FORBIDDEN = {
    "open a file": "open('/etc/passwd')",
    "create a file": "open('/tmp/x', 'w')",
    "open a socket": "__import__('socket').socket()",
    "start a program": "os.execv('/bin/true', ['true'])",
    "fork": "os.fork()",
    "signal the agent": "os.kill(os.getppid(), 0)",
    "trace the agent": "ctypes.CDLL(None, use_errno=True).ptrace(16, os.getppid(), 0, 0) "
    "and (_ for _ in ()).throw(OSError())",
}


@pytest.mark.parametrize("deed", FORBIDDEN)
def test_a_process_in_the_sandbox_cannot(deed):
    program = f"""
import ctypes, os, socket
from agent.sql import sandbox
sandbox.enter(os.getppid())
try:
    {FORBIDDEN[deed]}
except OSError:
    os._exit(7)
os._exit(0)
"""
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, timeout=30
    )
    assert done.returncode == 7, done.stderr.decode()


def test_memory_ends_where_it_should():
    program = """
import os
from agent.sql import sandbox
sandbox.enter(os.getppid())
try:
    bytearray(sandbox.MAX_MEMORY_BYTES)
except MemoryError:
    os._exit(7)
"""
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, timeout=30)
    assert done.returncode == 7


def test_the_worker_dies_with_its_agent():
    program = """
import os
from agent.sql.process import WorkerProcess
worker = WorkerProcess()
print(worker.pid, flush=True)
os.kill(worker.pid, 19)
os.kill(os.getpid(), 9)
"""
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, timeout=30
    )
    deadline = time.monotonic() + 5
    while alive(int(done.stdout)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(int(done.stdout))


def alive(pid: int) -> bool:
    """Nobody may be there to bury it: a zombie is dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_frames_survive_being_cut_at_every_byte():
    stream = pack(b"one") + pack(b"") + pack(b"three" * 50)
    for cut in range(len(stream)):
        unpacker = Unpacker()
        frames = unpacker.feed(stream[:cut]) + unpacker.feed(stream[cut:])
        assert frames == [b"one", b"", b"three" * 50]


def test_a_frame_that_claims_too_much_is_refused():
    with pytest.raises(FrameError):
        Unpacker().feed((MAX_FRAME_BYTES + 1).to_bytes(4, "little"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hand capabilities down")
def test_capabilities_of_an_agent_that_is_not_root_do_not_reach_the_parser():
    handed_down = "+kill,+sys_ptrace,+dac_override"
    script = (
        "import pathlib, agent.sql.process as p; w = p.WorkerProcess();"
        "print(pathlib.Path(f'/proc/self/status').read_text());"
        "print('---'); print(pathlib.Path(f'/proc/{w.pid}/status').read_text()); w.kill()"
    )
    done = subprocess.run(
        [
            "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
            f"--inh-caps={handed_down}", f"--ambient-caps={handed_down}",
            sys.executable, "-c", script,
        ],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    agent, worker = (
        int(re.search(r"CapEff:\s*(\w+)", part)[1], 16) for part in done.stdout.split("---")
    )
    assert agent != 0
    assert worker == 0


def test_the_digest_of_a_statement_with_a_password_says_nothing_of_it(parser: ParserClient):
    one, other = parser.shapes(
        [b"ALTER ROLE a PASSWORD 'one'", b"ALTER ROLE a PASSWORD 'other'"], [27, 29]
    )
    assert one.digest == other.digest
