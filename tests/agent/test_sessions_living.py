"""A session whose process is gone has ended, whether its end was told or not."""

import os
import subprocess
from dataclasses import replace

import pytest

from agent.sessions.living import Living
from model.session import BackendKey, Session


def told(pid, microsecond=7, cluster="main"):
    return Session(BackendKey(pid, 1_700_000_000_000_000 + microsecond), cluster=cluster)


def no_server(name):
    return set()


@pytest.fixture
def process():
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_a_session_lives_as_long_as_its_process(process):
    living, mine = Living(no_server), told(process.pid)
    assert [living.ended([mine]) for _ in range(3)] == [[], [], []]
    process.kill()
    process.wait()
    assert living.ended([mine]) == [], "the record of its end may be on its way"
    assert living.ended([mine]) == [mine.key]


def test_a_session_that_was_gone_at_the_first_look_has_ended_at_the_second(process):
    process.kill()
    process.wait()
    living, mine = Living(no_server), told(process.pid)
    assert living.ended([mine]) == []
    assert living.ended([mine]) == [mine.key]


def test_another_process_with_the_pid_is_not_the_sessions(tmp_path):
    stat = tmp_path / "42" / "stat"
    stat.parent.mkdir()
    fields = ["0"] * 18
    stat.write_text(f"42 (postgres: a) b) {' '.join(['S', *fields])} 1000 0")
    living, mine = Living(no_server, tmp_path), told(42)
    other = Session(replace(mine.key, started_at_us=5))
    assert living.ended([mine]) == []
    stat.write_text(f"42 (postgres: a) b) {' '.join(['S', *fields])} 2000 0")
    assert living.ended([mine, other]) == []
    assert living.ended([mine, other]) == [mine.key]
    assert living.ended([other]) == []


def test_a_session_that_only_the_log_told_of_lives_as_long_as_its_servers_process(process):
    servers = {"main": {process.pid, os.getpid()}}
    living = Living(lambda name: servers[name])
    mine, other = told(process.pid, microsecond=0), told(os.getpid(), microsecond=0)
    assert [living.ended([mine, other]) for _ in range(3)] == [[], [], []]
    servers["main"].remove(process.pid)
    assert living.ended([mine, other]) == []
    assert living.ended([mine, other]) == [mine.key]
    assert living.ended([other]) == []


def test_nothing_is_said_of_the_logs_sessions_where_no_process_of_the_server_can_be_seen():
    living, gone = Living(no_server), told(4_000_000, microsecond=0)
    assert [living.ended([gone]) for _ in range(3)] == [[], [], []]
