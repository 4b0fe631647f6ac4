"""Which stops the watchdog ends, as values; the process itself is in tests/kernel."""

import pytest

from agent.guard.watchdog import Halt, State, obey

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
