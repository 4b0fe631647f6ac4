"""What a decision does to a held backend, without one."""

import threading
import time

import pytest

from agent.guard.hold import PLANS, DecisionKind, carry_out
from agent.guard.judge_thread import HANGING_LIMIT, JudgeLateError, JudgeThreads
from agent.guard.redirect import RedirectError
from model.verdict import Outcome


class Recorder:
    """Hands that write down what they were asked to do; ``broken`` ones raise instead."""

    def __init__(self, **broken: Exception) -> None:
        self.done: list[str] = []
        self._broken = broken

    def redirect(self, message: bytes) -> None:
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
    outcome, reason = carry_out(PLANS[kind], hands, b"no")
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
        carry_out(PLANS[DecisionKind.DENY], hands, b"no")
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
