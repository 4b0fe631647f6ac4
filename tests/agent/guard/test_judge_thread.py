"""Each question gets its own answer, or none."""

import pytest

from agent.guard.judge_thread import JudgeLateError, JudgeThreads


def test_what_fails_meanwhile_is_late_and_its_answer_is_nobody_elses():
    judges = JudgeThreads(lambda question: f"answer to {question}")

    def fail():
        raise ValueError("no such place")

    with pytest.raises(JudgeLateError, match="no such place"):
        judges.ask("a", 1.0, fail)
    assert judges.ask("b", 1.0) == "answer to b"
    judges.close()
