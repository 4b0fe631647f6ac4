"""Somebody sets the clock of the host while statements run: an hour back, or a day forward."""

import threading
import time

import pytest
import structlog

from agent import recorder as recorder_module
from agent.clock_steps import ClockSteps
from agent.inbox import Inbox, Polled
from agent.probes.layout import EXECUTION, TAIL_BYTES, RecordKind
from agent.recorder import Recorder
from agent.sources.records import POSTGRES_EPOCH_US, Decoder
from agent.spool.spool import Spool
from model.event import ClockMoved
from tests.agent.test_recorder import Pipeline
from tests.agent.test_sessions import Dialogue, ns, us
from tests.waiting import wait_until

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
SECOND_NS = 1_000_000_000
MS_NS = 1_000_000
START_US = 1_790_000_000_000_000
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


@pytest.mark.parametrize("by_ms", [HOUR_MS, DAY_MS])
def test_a_statement_that_was_asked_for_before_the_clock_was_set_forward_ran_as_long_as_it_ran(
    by_ms,
):
    talk = Dialogue().wait(1).hear(moved(20 + by_ms, by_ms))
    talk.start(30 + by_ms, "select 1", requested_at_us=us(10)).answer(90 + by_ms, ("SELECT", 1))
    talk.start(95 + by_ms, "select 2", requested_at_us=us(94 + by_ms))
    talk.answer(99 + by_ms, ("SELECT", 1))
    first, second = talk.statements()
    assert (first.duration_us, first.preparation_us) == (80_000, 20_000)
    assert (second.duration_us, second.preparation_us) == (5_000, 1_000)


@pytest.mark.parametrize("by_ms", [-HOUR_MS, HOUR_MS, DAY_MS])
@pytest.mark.parametrize("asked_before", [True, False])
def test_an_execution_that_is_read_after_the_clock_was_set_ran_as_long_as_it_ran(
    by_ms, asked_before
):
    decoder = Decoder(lambda number: "main")
    offset_ns, moved_ns = START_US * 1000, by_ms * 1_000_000
    decoder.decode([execution(1_000, offset_ns)], offset_ns, 1_010 * MS_NS)
    asked_by_ns = offset_ns if asked_before else offset_ns + moved_ns
    record = execution(2_000, asked_by_ns)
    (told,) = decoder.decode([record], offset_ns + moved_ns, 2_010 * MS_NS)
    (one,) = told.executions
    late_ms = 3 if by_ms < 0 and asked_before else 0  # of a later time: the start is all there is
    assert one.duration_us == (8 - late_ms) * 1000
    assert one.preparation_us == (3 - late_ms) * 1000


def execution(at_ms, asked_by_ns):
    """Asked for then, by a clock that is so far ahead of the kernel's; 3 ms later it ran for 5."""
    asked_us = at_ms * 1000 + asked_by_ns // 1000 - POSTGRES_EPOCH_US
    began_ns, ended_ns = (at_ms + 3) * MS_NS, (at_ms + 8) * MS_NS
    text, tail = b"select 1", b"C\0\0\0\rSELECT 1\0Z\0\0\0\5I"
    return EXECUTION.pack(
        RecordKind.EXECUTION, 4711, ended_ns, 1, began_ns, asked_us, 9, bytes(16), len(text), 0, 0,
        len(tail), 0, 0, 0, tail.rjust(TAIL_BYTES, b"\0"),
    ) + text  # fmt: skip


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


def test_a_reading_that_was_interrupted_hides_no_step():
    """On a busy host many are, and a step must be known before what came after it."""
    apart_ns, unix_ns = iter([0] * 11 + [50_000_000]), [0]
    monotonic = [0]

    def monotonic_ns():
        monotonic[0] += next(apart_ns, 0)
        return monotonic[0]

    steps = ClockSteps(lambda: unix_ns[0], monotonic_ns)
    unix_ns[0] = SECOND_NS
    assert steps.moved_us() == pytest.approx(1_000_000, abs=60_000)


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


@pytest.fixture
def play(tmp_path, monkeypatch):
    """A recorder that looks at the time in each turn, until ``over``. What is delivered, or heard,
    may set its clock: ``clock.by_ns``."""
    monkeypatch.setattr(recorder_module, "TICK_SECONDS", 0.0)

    def run(inbox, told, clock, over):
        spool = Spool(tmp_path / "spool.db", lambda *_: None)
        recorder = Recorder(inbox, told, spool, lambda: None, lambda _: None, 0, clock.steps)
        recorder.start()
        wait_until(over)
        recorder.stop()
        spool.close()

    return run


class SetClock:
    def __init__(self):
        self.by_ns = 0
        self.steps = ClockSteps(lambda: time.time_ns() + self.by_ns)


class SetWhileWaiting(Inbox):
    """The recorder waits for events nearly always; this brings one just after the clock was set."""

    def __init__(self, clock, by_ns):
        super().__init__()
        self._clock, self._by_ns, self._takes = clock, by_ns, 0

    def take(self, timeout_seconds):
        self._takes += 1
        if self._takes == 5:
            self._clock.by_ns = self._by_ns
            return Polled(["dated by the new time"])
        return super().take(timeout_seconds)


class Told(Pipeline):
    """``on_event`` is called with what is no step of the clock."""

    def __init__(self, on_event=lambda: None):
        super().__init__()
        self._on_event = on_event
        self.ticks_us, self.moved_us, self.heard = [], [], []
        """Moments as they would be had nobody set the clock; by how much it was; all in order."""

    def take(self, events, now_us):
        for event in events:
            self.heard.append(event)
            if isinstance(event, ClockMoved):
                self.moved_us.append(event.by_us)
            else:
                self._on_event()

    def tick(self, now_us, logs_read_us=None):
        self.ticks_us += [at_us - sum(self.moved_us) for at_us in (now_us, logs_read_us)]


@pytest.mark.parametrize("by_ms", [-HOUR_MS, DAY_MS])
def test_no_moment_of_the_new_time_comes_before_word_of_it(play, by_ms):
    """What was told the new time first and then that all it waits for is moved by a day would have
    waited for that day."""
    clock, inbox = SetClock(), Inbox()
    told = Told(lambda: setattr(clock, "by_ns", by_ms * 1_000_000))
    began_us = clock.steps.now_us
    inbox.offer(["it is set while this is taken"])
    play(inbox, told, clock, lambda: told.moved_us and len(told.ticks_us) > 20)
    assert [round(each / 1000, -2) for each in told.moved_us] == [by_ms]
    assert all(0 <= at_us - began_us < 60_000_000 for at_us in told.ticks_us)


@pytest.mark.parametrize("by_ms", [-HOUR_MS, DAY_MS])
def test_no_event_of_the_new_time_comes_before_word_of_it(play, by_ms):
    """A record that is dated by it would part a statement from its own one before."""
    clock, told = SetClock(), Told()
    inbox = SetWhileWaiting(clock, by_ms * 1_000_000)
    play(inbox, told, clock, lambda: len(told.heard) == 2)
    assert [type(each) for each in told.heard] == [ClockMoved, str]


class Clocked(Pipeline):
    def take(self, events, now_us):
        super().take([each for each in events if not isinstance(each, ClockMoved)], now_us)
