"""Which stops the watchdog ends, as values; the process itself is in tests/kernel."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.guard.halts import Halt
from agent.guard.watchdog import PULSE, Pulse, State, obey

ROOT = Path(__file__).parents[3]
ONE = Halt(pid=7, started_ticks=100, ran_ns=5_000)


def state(limit_seconds: float = 0.3) -> State:
    return State(limit_seconds=limit_seconds)


def test_a_stop_is_stale_only_after_the_limit():
    watch = state()
    assert watch.stale({ONE}, now=10.0) == []
    assert watch.stale({ONE}, now=10.2) == []
    assert watch.stale({ONE}, now=10.35) == [(ONE, pytest.approx(0.35))]


def test_a_backend_that_ran_in_between_begins_a_new_stop():
    """Otherwise many short holds of a busy session would look like one long one."""
    watch = state()
    later = Halt(ONE.pid, ONE.started_ticks, ran_ns=6_000)
    watch.stale({ONE}, now=10.0)
    assert watch.stale({later}, now=10.4) == []
    assert watch.stale({ONE}, now=20.0) == []


def test_a_reused_pid_begins_a_new_stop():
    watch = state()
    watch.stale({ONE}, now=10.0)
    assert watch.stale({Halt(ONE.pid, 999, ONE.ran_ns)}, now=10.4) == []


def test_a_stop_older_than_the_watch_is_left_alone_until_the_backend_has_run():
    watch = state()
    watch.foreign = {ONE}
    assert watch.stale({ONE}, now=10.0) == []
    assert watch.stale({ONE}, now=99.0) == []
    held = Halt(ONE.pid, ONE.started_ticks, ran_ns=6_000)
    watch.stale({held}, now=100.0)
    assert [halt for halt, _ in watch.stale({held}, now=101.0)] == [held]


def test_nothing_is_remembered_of_what_goes_on():
    watch = state()
    watch.stale({ONE}, now=10.0)
    watch.stale(set(), now=10.1)
    assert watch.since == {}


def test_orders_set_limit_policy_and_postmasters():
    watch = state()
    obey(watch, "limit 250")
    obey(watch, "alarm 5750")
    assert watch.alarm_seconds == 5.75
    obey(watch, "close")
    obey(watch, "watch 4194304 1 2 3")
    assert (watch.limit_seconds, watch.cancel_first) == (0.25, True)
    assert list(watch.postmasters) == [4194304]
    obey(watch, "forget 4194304")
    obey(watch, "open")
    assert (watch.postmasters, watch.cancel_first) == ({}, False)


@pytest.mark.parametrize("line", ["", "release 1", "watch 1", "watch a b c d", "limit x"])
def test_an_order_that_is_not_understood_is_an_error_and_changes_nothing(line):
    watch = state()
    with pytest.raises(ValueError, match=r"unknown order|invalid literal"):
        obey(watch, line)
    assert watch == state()


@pytest.fixture
def beaten() -> Iterator[Callable[[float], Pulse]]:
    """The pulse of an agent that gave its last sign of life so many seconds ago."""
    shared = os.memfd_create("pulse")

    def pulse(seconds_ago: float) -> Pulse:
        os.pwrite(shared, PULSE.pack(time.monotonic_ns() - int(seconds_ago * 1e9)), 0)
        return Pulse(shared)

    os.ftruncate(shared, PULSE.size)
    yield pulse
    os.close(shared)


def test_a_fresh_sign_of_life_gives_no_alarm_also_while_somebody_stands(beaten):
    assert not beaten(-10).alarming(somebody_stands=True)


def test_an_old_sign_of_life_gives_alarm_also_before_anybody_was_seen_standing(beaten):
    assert beaten(0.2).alarming(somebody_stands=False)


def test_after_a_long_silence_there_is_alarm_only_while_somebody_stands(beaten):
    assert beaten(60).alarming(somebody_stands=True)
    assert not beaten(60).alarming(somebody_stands=False)


def test_there_is_alarm_for_as_long_as_the_kernel_holds(beaten):
    assert beaten(5).alarming(somebody_stands=False, alarm_seconds=5.75)
    assert not beaten(6).alarming(somebody_stands=False, alarm_seconds=5.75)


def test_what_a_dying_agent_holds_is_stale_at_once_and_later_by_as_much_as_was_told():
    watch = State(limit_seconds=0.3, at_once=True)
    assert watch.stale({ONE}, now=10.0) == [(ONE, 0.0)]
    second = State(limit_seconds=0.3, at_once=True, farewell_seconds=0.01)
    assert second.stale({ONE}, now=10.0) == []
    assert second.stale({ONE}, now=10.02) == [(ONE, pytest.approx(0.02))]


OBSERVER = """
import os, sys
from agent.guard.watchdog import Agent
agent = Agent(os.getppid())
print(agent.dying(), flush=True)
sys.stdin.read()
while not agent.gone():
    pass
print(agent.dying(), flush=True)
"""
OBSERVED = """
import subprocess, sys
observer = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdin=subprocess.PIPE)
sys.stdin.read()
"""


def test_an_agent_that_was_killed_is_seen_to_be_gone():
    command = [sys.executable, "-c", OBSERVED, OBSERVER]
    pipe = subprocess.PIPE
    agent = subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=ROOT)
    assert agent.stdin is not None
    assert agent.stdout is not None
    with agent:
        assert agent.stdout.readline() == b"False\n"
        agent.kill()
        assert agent.stdout.readline() == b"True\n"
