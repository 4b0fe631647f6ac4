"""A session of before has ended when its process is not there, or is another one by now."""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import orjson
import pytest

from agent.discovery import Process
from agent.ended import EndedSessions
from agent.guard.backend import POSTGRES_EPOCH_US
from agent.guard.server import Server, start_ticks
from model.session import BackendKey, Session
from protos.pgwarden.v1 import uplink_pb2 as pb

START_US = 1_700_000_000_000_007
"""Of the server's backend, as its memory has it."""
SECOND_US = 1_700_000_000_000_000
NOBODY = 4_194_305
"""A pid that no process can have."""
_MEMORY = ctypes.c_int64(START_US - POSTGRES_EPOCH_US)


@pytest.fixture(scope="module")
def server():
    """This process plays the postmaster, its children the backends."""
    program = Path("/proc/self/exe").stat()
    return Server(
        postmaster_pid=os.getpid(),
        started_ticks=start_ticks(os.getpid()),
        version=15,
        device=program.st_dev,
        inode=program.st_ino,
        addresses=(("MyStartTimestamp", ctypes.addressof(_MEMORY)),),
    )


@pytest.fixture(scope="module")
def backend():
    pid = os.fork()
    if not pid:
        ctypes.CDLL(None).pause()
        os._exit(0)
    yield pid
    os.kill(pid, 9)
    os.waitpid(pid, 0)


def ended(*asked, sessions=(), servers=(), processes=None):
    """``asked``: pid and start of each."""
    numbers = processes or {}
    question = pb.Unended(
        pid=[pid for pid, _ in asked],
        backend_started_at_us=[started_us for _, started_us in asked],
        cluster=["main"] * len(asked),
    )
    answer = EndedSessions(
        lambda: sessions, lambda: servers, lambda cluster: numbers.get(cluster, {})
    ).answer(question)
    assert answer.outcome == "done"
    return orjson.loads(answer.message)


def test_those_without_a_process_are_told_by_their_place(backend, server):
    asked = [(backend, START_US), (NOBODY, START_US), (backend, START_US), (NOBODY, 5)]
    assert ended(*asked, servers=[server]) == [1, 3]


def test_a_backend_of_the_pid_that_started_in_another_microsecond_is_another_session(
    backend, server
):
    assert ended((backend, START_US + 1), servers=[server]) == [0]


def test_a_process_of_another_program_is_no_session(backend):
    assert ended((backend, START_US)) == [0]


def test_a_server_that_is_not_known_yet_may_be_the_sessions(tmp_path):
    program = shutil.copy("/bin/sleep", tmp_path / "postgres")
    with subprocess.Popen([program, "60"]) as process:
        assert ended((process.pid, START_US)) == []
        process.kill()


def test_a_session_that_this_agent_met_is_not_looked_for():
    met = Session(BackendKey(NOBODY, START_US), cluster="main")
    assert ended((NOBODY, START_US), (NOBODY, 5), sessions=[met]) == [1]


def test_a_session_of_the_log_is_known_by_its_servers_number_and_the_second(backend, server):
    """In a container the server calls its processes by other numbers."""
    known = {"servers": [server], "processes": {"main": {7: Process(backend, SECOND_US)}}}
    asked = [(7, SECOND_US), (7, SECOND_US - 1_000_000), (7, 0), (NOBODY, SECOND_US)]
    assert ended(*asked, **known) == [1, 3]
    assert ended((backend, SECOND_US), **known) == [], "as this host calls it"


def test_nothing_is_said_of_the_logs_sessions_where_no_process_of_the_server_can_be_seen():
    assert ended((NOBODY, SECOND_US)) == []
