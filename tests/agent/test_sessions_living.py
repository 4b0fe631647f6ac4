"""A session whose process is gone has ended, whether its end was told or not."""

import os
import subprocess
from dataclasses import replace

import pytest

from agent.sessions.living import Living
from model.session import BackendKey


def key(pid, microsecond=7):
    return BackendKey(pid, 1_700_000_000_000_000 + microsecond)


@pytest.fixture
def process():
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_a_session_lives_as_long_as_its_process(process):
    living, mine = Living(), key(process.pid)
    assert [living.ended([mine]) for _ in range(3)] == [[], [], []]
    process.kill()
    process.wait()
    assert living.ended([mine]) == [], "the record of its end may be on its way"
    assert living.ended([mine]) == [mine]


def test_a_session_that_was_gone_at_the_first_look_has_ended_at_the_second(process):
    process.kill()
    process.wait()
    living, mine = Living(), key(process.pid)
    assert living.ended([mine]) == []
    assert living.ended([mine]) == [mine]


def test_another_process_with_the_pid_is_not_the_sessions(tmp_path):
    stat = tmp_path / "42" / "stat"
    stat.parent.mkdir()
    fields = ["0"] * 18
    stat.write_text(f"42 (postgres: a) b) {' '.join(['S', *fields])} 1000 0")
    living, mine, other = Living(tmp_path), key(42), replace(key(42), started_at_us=5)
    assert living.ended([mine]) == []
    stat.write_text(f"42 (postgres: a) b) {' '.join(['S', *fields])} 2000 0")
    assert living.ended([mine, other]) == []
    assert living.ended([mine, other]) == [mine]
    assert living.ended([other]) == []


def test_a_session_that_only_the_log_told_of_is_left_alone():
    living, mine = Living(), key(os.getpid(), microsecond=0)
    gone = key(4_000_000, microsecond=0)
    assert [living.ended([mine, gone]) for _ in range(3)] == [[], [], []]
