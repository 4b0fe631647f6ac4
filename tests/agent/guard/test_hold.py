"""What a decision does to a held backend, without one."""

import ctypes
import os
import signal
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from agent.guard.actions import Allowance
from agent.guard.aside import HANGING_SECONDS
from agent.guard.backend import Standing
from agent.guard.decision import ALLOW, Decision, DecisionKind
from agent.guard.evasion import INLINE, forbid_evasion
from agent.guard.hands import carry_out, stopped
from agent.guard.hold import PLANS, RELEASED, SPARED, Guard
from agent.guard.judge_thread import HANGING_LIMIT, JudgeLateError, JudgeThreads
from agent.guard.redirect import RedirectError, Refusal
from agent.probes.layout import Evasion
from agent.probes.layouts import LAYOUTS
from model.event import StatementStarted
from model.session import BackendKey
from model.verdict import Outcome

DENIED = Decision(DecisionKind.DENY, "r1", "no")
ENDED = Decision(DecisionKind.TERMINATE, "r2", "no")


class Recorder:
    """Hands that write down what they were asked to do; ``broken`` ones raise instead."""

    def __init__(self, **broken: Exception) -> None:
        self.done: list[str] = []
        self._broken = broken

    def redirect(self, refusal: Refusal) -> None:
        self._do("redirect")

    def interrupt(self) -> None:
        self._do("interrupt")

    def end(self) -> None:
        self._do("end")

    def resume(self) -> None:
        self._do("resume")

    def _do(self, name: str) -> None:
        if name in self._broken:
            raise self._broken[name]
        self.done.append(name)


def carried_out(kind: DecisionKind, **broken: Exception) -> tuple[list[str], Outcome | None, str]:
    hands = Recorder(**broken)
    outcome, reason = carry_out(PLANS[kind], hands, Refusal(b"no"))
    return hands.done, outcome, reason


@pytest.mark.parametrize(
    ("kind", "steps", "outcome"),
    [
        (DecisionKind.ALLOW, ["resume"], None),
        (DecisionKind.DENY, ["redirect", "resume"], Outcome.PREVENTED),
        (DecisionKind.CANCEL, ["interrupt", "resume"], Outcome.CANCELLED),
        (DecisionKind.TERMINATE, ["redirect", "end", "resume"], Outcome.TERMINATED),
    ],
)
def test_a_backend_is_continued_last_whatever_the_decision(kind, steps, outcome):
    assert carried_out(kind) == (steps, outcome, "")


def test_a_redirect_that_cannot_be_done_becomes_a_cancel_and_says_so():
    done, outcome, reason = carried_out(
        DecisionKind.DENY, redirect=RedirectError("in a critical section")
    )
    assert done == ["interrupt", "resume"]
    assert outcome is Outcome.CANCELLED
    assert "in a critical section" in reason


def test_a_termination_without_redirect_still_terminates():
    done, outcome, reason = carried_out(DecisionKind.TERMINATE, redirect=RedirectError("no"))
    assert done == ["interrupt", "end", "resume"]
    assert outcome is Outcome.TERMINATED
    assert reason


def test_a_backend_that_dies_while_held_is_reported_as_failed_and_nothing_is_raised():
    gone = ProcessLookupError("no such process")
    done, outcome, _ = carried_out(
        DecisionKind.DENY, redirect=RedirectError("gone"), interrupt=gone, resume=gone
    )
    assert (done, outcome) == ([], Outcome.FAILED)


def test_a_bug_in_a_step_still_continues_the_backend():
    hands = Recorder(redirect=ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        carry_out(PLANS[DecisionKind.DENY], hands, Refusal(b"no"))
    assert hands.done == ["resume"]


def test_a_judge_that_answers_is_heard():
    judges = JudgeThreads(lambda number: number + 1)
    assert [judges.ask(number, 5) for number in range(3)] == [1, 2, 3]
    judges.close()


def test_a_judge_that_hangs_is_late_and_the_next_question_finds_another_one():
    hang = threading.Event()
    judges = JudgeThreads(lambda question: hang.wait(30) if question == "hard" else "answer")
    began = time.monotonic()
    with pytest.raises(JudgeLateError, match="no verdict"):
        judges.ask("hard", 0.05)
    assert time.monotonic() - began < 1
    assert judges.ask("easy", 5) == "answer"
    hang.set()
    judges.close()


def test_only_so_many_hanging_judges_are_left_behind():
    hang = threading.Event()
    judges = JudgeThreads(lambda _: hang.wait(30))
    for _ in range(HANGING_LIMIT):
        with pytest.raises(JudgeLateError, match="no verdict"):
            judges.ask("hard", 0.01)
    with pytest.raises(JudgeLateError, match="judges hang"):
        judges.ask("hard", 0.01)
    hang.set()


def test_a_judge_that_raises_is_late_and_stays_at_work():
    judges = JudgeThreads(lambda divisor: 1 // divisor)
    with pytest.raises(JudgeLateError, match="ZeroDivisionError"):
        judges.ask(0, 5)
    assert judges.ask(1, 5) == 1
    judges.close()


@contextmanager
def held_process():
    with subprocess.Popen(["sleep", "60"]) as process:
        process.send_signal(signal.SIGSTOP)
        while not stopped(process.pid):
            time.sleep(0.001)
        backend = BackendKey(process.pid, 1)
        try:
            yield StatementStarted(time.time_ns(), backend, b"SELECT 1", 8, held=True, hold_id=1)
        finally:
            process.kill()


def test_an_answer_at_once_needs_no_other_thread_and_the_backend_is_looked_at_once():
    looked = []

    def at_once(_, meanwhile, left_seconds):
        meanwhile()
        looked.append(len(os.listdir("/proc/self/fd")))
        meanwhile()
        looked.append(len(os.listdir("/proc/self/fd")))
        return ALLOW

    with held_process() as event:
        guard = Guard(lambda _: pytest.fail("asked"), list, at_once=at_once)
        assert guard.settle(event).decision is ALLOW
        assert not stopped(event.backend.pid)
    assert looked[0] == looked[1]


def test_where_an_answer_at_once_fails_the_judges_thread_is_asked():
    asked = []

    def judge(event):
        asked.append(threading.current_thread())
        return ALLOW

    def at_once(_, meanwhile, left_seconds):
        meanwhile()
        raise ValueError

    with held_process() as event:
        settled = Guard(judge, list, at_once=at_once).settle(event)
        assert (settled.decision, settled.late) == (ALLOW, False)
        assert not stopped(event.backend.pid)
    assert asked
    assert asked[0] is not threading.current_thread()


def test_a_stranger_that_is_not_in_this_hold_any_more_is_not_continued():
    """Somebody else may have stopped it since."""
    with held_process() as event:
        settled = Guard(lambda _: ALLOW, list, is_held=lambda _: False).settle(event)
        assert stopped(event.backend.pid)
    assert (settled.outcome, settled.reason) == (None, RELEASED)


def test_before_a_plan_is_changed_the_backend_is_looked_at_again(monkeypatch):
    looks = []

    def look(guard, key):
        looks.append(key)
        return None, Standing.CLIENT if len(looks) == 1 else Standing.GONE, "another's by now"

    monkeypatch.setattr(Guard, "_look", look)
    with held_process() as event:
        event = replace(event, evades=Evasion.ALONE)
        settled = Guard(lambda _: ALLOW, list).settle(event)
        assert stopped(event.backend.pid)
    assert settled.reason == "another's by now"


def test_what_has_ended_while_it_was_looked_at_is_not_written_to():
    """The process number may be another's by then."""
    memory = ctypes.create_string_buffer(128)
    place, layout = ctypes.addressof(memory), LAYOUTS[15]
    parallel, flags = layout.planned_tree - 11, layout.planned_tree - 8
    memory[parallel], memory[flags] = 1, INLINE | 1
    memory[layout.planned_relations + 8] = 1
    before = memory.raw

    def ended():
        raise ProcessLookupError

    with pytest.raises(ProcessLookupError):
        forbid_evasion(os.getpid(), 15, place, ended)
    assert memory.raw == before
    forbid_evasion(os.getpid(), 15, place)
    pairs = enumerate(zip(before, memory.raw, strict=True))
    changed = {place: pair for place, pair in pairs if pair[0] != pair[1]}
    assert changed == {parallel: (1, 0), flags: (INLINE | 1, 1)}


def test_workers_stay_with_a_plan_that_calls_what_came_with_the_server():
    memory = ctypes.create_string_buffer(128)
    parallel = LAYOUTS[15].planned_tree - 11
    memory[parallel] = 1
    forbid_evasion(os.getpid(), 15, ctypes.addressof(memory))
    assert memory[parallel] == b"\1"


def test_beyond_the_limit_a_statement_is_refused_and_its_session_not_ended(monkeypatch):
    hands = Recorder()
    monkeypatch.setattr("agent.guard.hold.HeldProcess", lambda *_: hands)
    monkeypatch.setattr(Guard, "_look", lambda *_: (None, Standing.CLIENT, ""))
    allowance = Allowance(2, lambda: 0.0)
    decisions = iter([DENIED, ENDED, ENDED, DENIED, ENDED, ENDED])
    guard = Guard(lambda _: next(decisions), list, may_end=allowance.take)
    settled = []
    for _ in range(6):
        with held_process() as event:
            settled.append(guard.settle(event))
    refused, ended = ["redirect", "resume"], ["redirect", "end", "resume"]
    assert hands.done == [*refused, *ended, *ended, *refused, *refused, *refused]
    assert [(each.outcome, each.reason) for each in settled] == [
        (Outcome.PREVENTED, ""), (Outcome.TERMINATED, ""), (Outcome.TERMINATED, ""),
        (Outcome.PREVENTED, ""), (Outcome.PREVENTED, SPARED), (Outcome.PREVENTED, SPARED),
    ]  # fmt: skip
    assert "actions_per_minute" in SPARED


def wait_for(condition):
    until = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.001)


def aside(patient, **options):
    answered = threading.Event()
    guard = Guard(
        lambda _: ALLOW,
        list,
        patient=patient,
        takes_long=lambda event: event.text_bytes > 8,
        on_answer=answered.set,
        **options,
    )
    return guard, answered


def test_a_statement_that_takes_long_waits_beside_the_others():
    go_on = threading.Event()

    def patient(event):
        assert go_on.wait(5)
        return ALLOW

    guard, answered = aside(patient, deadline_ms=5000)
    with held_process() as short, held_process() as slow:
        slow = replace(slow, text_bytes=9)
        assert guard.begin(slow) is None
        assert guard.begin(short).decision is ALLOW
        assert not stopped(short.backend.pid)
        assert stopped(slow.backend.pid)
        assert guard.finished() == []
        assert guard.oldest_ns > 0
        go_on.set()
        assert answered.wait(5)
        [(event, settled)] = guard.finished()
        assert event is slow
        assert (settled.decision, settled.late) == (ALLOW, False)
        assert not stopped(slow.backend.pid)
    assert guard.oldest_ns == 0
    guard.close()


def test_one_that_takes_too_long_is_settled_at_its_deadline_and_its_answer_comes_to_nothing():
    go_on = threading.Event()

    def patient(event):
        assert go_on.wait(5)
        return ALLOW

    guard, answered = aside(patient, deadline_ms=50)
    with held_process() as slow:
        slow = replace(slow, text_bytes=9)
        assert guard.begin(slow) is None
        settled = []
        wait_for(lambda: settled.extend(guard.finished()) or settled)
        assert settled[0][1].late
        assert not stopped(slow.backend.pid)
        go_on.set()
        assert answered.wait(5)
        assert guard.finished() == []
    guard.close()


def test_one_whose_session_has_ended_is_settled_before_its_end():
    guard, _ = aside(lambda _: time.sleep(1) or ALLOW, deadline_ms=5000)
    with held_process() as slow:
        slow = replace(slow, text_bytes=9)
        assert guard.begin(slow) is None
    [(event, settled)] = guard.finished(slow.backend)
    assert event is slow
    assert settled.late
    guard.close()


def test_one_that_somebody_else_let_go_is_settled_before_its_next_hold_and_leaves_nothing_open():
    guard, _ = aside(lambda _: time.sleep(1) or ALLOW, deadline_ms=5000)
    with held_process() as slow:
        slow = replace(slow, text_bytes=9)
        assert guard.finished(slow.backend) == []
        assert guard.begin(slow) is None
        handles = open_handles(slow.backend.pid)
        assert handles == 1
        again = replace(slow, hold_id=2)
        [(event, settled)] = guard.finished(slow.backend)
        assert event is slow
        assert settled.late
        assert guard.begin(again) is None
        assert open_handles(slow.backend.pid) == handles
        assert [event for event, _ in guard.finished(slow.backend)] == [again]
        assert open_handles(slow.backend.pid) == 0
    assert guard.oldest_ns == 0
    guard.close()


def open_handles(pid: int) -> int:
    """Ours on this process."""
    found = 0
    for file in Path("/proc/self/fdinfo").iterdir():
        with suppress(FileNotFoundError):  # the one that read the folder
            found += f"Pid:\t{pid}\n" in file.read_text()
    return found


def test_a_judge_that_hangs_aside_does_not_stop_the_next_ones():
    hang = threading.Event()

    def patient(event):
        if event.text_bytes == 9:
            hang.wait(20)
        return ALLOW

    guard, answered = aside(patient, deadline_ms=1000)
    with held_process() as slow, held_process() as next_one:
        slow = replace(slow, text_bytes=9)
        assert guard.begin(slow) is None
        wait_for(guard.finished)
        time.sleep(HANGING_SECONDS)
        later = replace(next_one, text_bytes=10, at_ns=time.time_ns())
        assert guard.begin(later) is None
        assert answered.wait(5)
        hang.set()
    guard.close()


def test_what_can_wait_is_done_when_the_backend_has_been_let_go():
    state = []
    with held_process() as event:
        guard = Guard(
            lambda _: ALLOW, list, afterwards=lambda: state.append(stopped(event.backend.pid))
        )
        guard.settle(event)
    assert state == [False]


def test_what_is_tried_at_once_takes_from_the_same_deadline():
    now = [0]

    def at_once(event, meanwhile, left_seconds):
        assert left_seconds == 0.2
        now[0] = event.at_ns + 200_000_000

    with held_process() as event:
        now[0] = event.at_ns
        guard = Guard(
            lambda _: pytest.fail("asked"), list, at_once=at_once, clock_ns=lambda: now[0]
        )
        settled = guard.settle(event)
        assert (settled.decision, settled.late, settled.held_us) == (ALLOW, True, 200_000)
        assert not stopped(event.backend.pid)


def test_what_fails_afterwards_does_not_undo_what_was_settled():
    def fail():
        raise ValueError

    with held_process() as event:
        assert Guard(lambda _: ALLOW, list, afterwards=fail).settle(event).decision is ALLOW


@pytest.mark.parametrize(("age_ms", "released"), [(0, False), (500, True)])
def test_a_backend_whose_signal_is_on_the_way_is_let_go_until_somebody_else_may_have(
    monkeypatch, age_ms, released
):
    def judge(_):
        raise ValueError("late at once")

    monkeypatch.setattr(Guard, "_look", lambda *_: (None, Standing.CLIENT, ""))
    with subprocess.Popen(["sleep", "60"]) as process:  # not stopped yet, or not any more
        at_ns = time.time_ns() - age_ms * 1_000_000
        backend = BackendKey(process.pid, 1)
        event = StatementStarted(at_ns, backend, b"SELECT 1", 8, held=True, hold_id=1)
        settled = Guard(judge, list).settle(event)
        process.kill()
    assert settled.late
    assert (settled.reason == RELEASED) is released
