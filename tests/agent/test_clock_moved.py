"""Somebody sets the clock of the host while statements run: an hour back, or a day forward."""

import threading
import time

import pytest
import structlog

from agent.capture import Inbox
from agent.clock_steps import ClockSteps
from agent.recorder import Recorder
from agent.spool.spool import Spool
from model.event import ClockMoved
from tests.agent.test_recorder import Pipeline
from tests.agent.test_sessions import Dialogue, ns
from tests.waiting import wait_until

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
SECOND_NS = 1_000_000_000
moves = pytest.mark.parametrize("by_ms", [-HOUR_MS, DAY_MS, 1_500])


def moved(at, by_ms):
    return ClockMoved(ns(at), by_ms * 1000)


@moves
def test_a_statement_ran_as_long_as_it_ran(by_ms):
    talk = Dialogue().start(1, "select 1").hear(moved(2 + by_ms, by_ms))
    talk.answer(6 + by_ms, ("SELECT", 1)).wait(1_000 + by_ms).wait(9_000 + by_ms)
    (statement,) = talk.statements()
    assert statement.duration_us == 5_000
    talk.start(10_000 + by_ms, "select 2").answer(10_003 + by_ms, ("SELECT", 1))
    assert [each.duration_us for each in talk.statements()] == [3_000]


@moves
def test_what_waits_for_its_record_waits_as_long_as_before(by_ms):
    talk = Dialogue(window_us=1_000_000)
    talk.start(1, "select 1").answer(3, ("SELECT", 1)).wait(10).hear(moved(20 + by_ms, by_ms))
    assert talk.wait(900 + by_ms).statements() == []
    talk.audit(2, sid=1, text="select 1").wait(1_100 + by_ms).wait(2_500 + by_ms)
    (statement,) = talk.statements()
    assert (statement.source.value, statement.duration_us) == ("both", 2_000)


@moves
@pytest.mark.parametrize("late", ["log", "probe"])
def test_a_statement_that_the_two_date_by_different_clocks_is_one(by_ms, late):
    """The probe's clock is read when its records are, the log's when it is written."""
    probe_ms, log_ms = (by_ms, 0) if late == "log" else (0, by_ms)
    talk = Dialogue(window_us=1_000_000)
    talk.start(1, "select 1").answer(3, ("SELECT", 1)).audit(2, sid=1, text="select 1")
    talk.start(51 + probe_ms, "select 2").answer(53 + probe_ms, ("SELECT", 1))
    talk.audit(52 + log_ms, sid=2, text="select 2").hear(moved(60 + by_ms, by_ms))
    talk.start(101 + by_ms, "select 3").answer(103 + by_ms, ("SELECT", 1))
    talk.audit(102 + by_ms, sid=3, text="select 3")
    talk.wait(500 + by_ms).wait(1_000 + by_ms).wait(9_000 + by_ms)
    found = sorted((each.text.decode(), each.source.value) for each in talk.statements())
    assert found == [(f"select {number}", "both") for number in (1, 2, 3)]


@moves
def test_the_same_words_long_after_the_clock_was_set_are_two(by_ms):
    talk = Dialogue(window_us=1_000_000)
    talk.wait(1).hear(moved(2 + by_ms, by_ms)).wait(3 + by_ms).wait(60_000 + by_ms)
    talk.start(70_000 + by_ms, "select 1").answer(70_003 + by_ms, ("SELECT", 1))
    talk.audit(70_002, sid=1, text="select 1").wait(70_500 + by_ms).wait(90_000 + by_ms)
    assert sorted(each.source.value for each in talk.statements()) == ["ebpf", "pgaudit"]


@pytest.mark.parametrize("by_ms", [-HOUR_MS, DAY_MS])
def test_a_step_is_told_once_and_a_slow_clock_is_none(by_ms):
    at = {"unix": 1_700_000_000 * SECOND_NS, "monotonic": 7 * SECOND_NS}
    steps = ClockSteps(lambda: at["unix"], lambda: at["monotonic"])
    for _ in range(1000):  # brought into line by half a millisecond a second
        at["unix"] += SECOND_NS + 500_000
        at["monotonic"] += SECOND_NS
        assert steps.moved_us() == 0
    at["unix"] += by_ms * 1_000_000
    assert steps.moved_us() == by_ms * 1000
    assert steps.moved_us() == 0


def test_readings_that_were_interrupted_tell_of_no_step():
    monotonic = iter(range(0, 10**12, 20_000_000))
    steps = ClockSteps(lambda: 0, lambda: next(monotonic))
    assert [steps.moved_us() for _ in range(5)] == [0] * 5


def test_a_log_position_is_confirmed_when_it_would_have_been(tmp_path, monkeypatch):
    """Otherwise a restart within the hour would read that hour of the log again."""
    hour_ns = HOUR_MS * 1_000_000
    back = [0]
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() - back[0])
    inbox, confirmed, stop = Inbox(), [], threading.Event()
    clock = ClockSteps(lambda: time.time_ns())
    spool = Spool(tmp_path / "spool.db", lambda *_: None)
    recorder = Recorder(inbox, Clocked(), spool, lambda: None, lambda _: None, 0, clock)
    with structlog.testing.capture_logs() as logs:
        recorder.start()
        inbox.deliver([], lambda: confirmed.append(1), stop)
        wait_until(lambda: recorder._confirms)
        back[0] = hour_ns
        wait_until(lambda: confirmed, 5)
        recorder.stop()
    assert [round(each["seconds"]) for each in logs if each["event"] == "clock.moved"] == [-3600]
    spool.close()


class Clocked(Pipeline):
    def take(self, events, now_us):
        super().take([each for each in events if not isinstance(each, ClockMoved)], now_us)
