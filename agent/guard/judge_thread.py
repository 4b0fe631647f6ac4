"""Ask a judge that may hang, and get an answer or an exception in time."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Question = TypeVar("Question")
Answer = TypeVar("Answer")

HANGING_LIMIT = 4
"""Judges left behind at once; with more, every question is late until one of them returns."""


class JudgeLateError(Exception):
    """No answer within the time given, or the judge itself failed."""


class _Worker(Generic[Question, Answer]):
    """One thread and its two slots."""

    def __init__(self, judge: Callable[[Question], Answer]) -> None:
        self._judge = judge
        self.questions: queue.SimpleQueue[Question | None] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[Answer | Exception] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._run, name="guard-judge", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while (question := self.questions.get()) is not None:
            try:
                self.answers.put(self._judge(question))
            except Exception as error:  # noqa: BLE001 - a judge's bug must not stop the guard
                self.answers.put(error)


class JudgeThreads(Generic[Question, Answer]):
    """Keeps one judge thread at work; a thread that hangs is left behind and replaced.

    The left-behind one ends by itself when its judge returns. For use by one asking thread.
    """

    def __init__(self, judge: Callable[[Question], Answer]) -> None:
        self._judge = judge
        self._worker: _Worker[Question, Answer] | None = _Worker(judge)
        self._hanging: list[threading.Thread] = []

    def ask(
        self,
        question: Question,
        limit_seconds: float,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> Answer:
        """The judge's answer; JudgeLateError after ``limit_seconds`` or when the judge raises.

        ``meanwhile`` is done while the judge thinks, and must not take long; if it fails, that is
        a JudgeLateError as well.
        """
        worker = self._worker or self._replacement()
        limit = time.monotonic() + limit_seconds
        worker.questions.put(question)
        try:
            meanwhile()
        except Exception as error:
            self._leave(worker)  # its answer must not become that of the next question
            raise JudgeLateError(f"what had to be seen could not be: {error!r}") from error
        try:
            answer = worker.answers.get(timeout=max(0.0, limit - time.monotonic()))
        except queue.Empty:
            self._leave(worker)
            raise JudgeLateError(f"no verdict within {limit_seconds * 1000:.0f} ms") from None
        if isinstance(answer, Exception):
            raise JudgeLateError(f"the judge failed: {answer!r}")
        return answer

    def close(self) -> None:
        if self._worker is not None:
            self._worker.questions.put(None)

    def _leave(self, worker: _Worker[Question, Answer]) -> None:
        worker.questions.put(None)
        self._hanging.append(worker.thread)
        self._worker = None

    def _replacement(self) -> _Worker[Question, Answer]:
        self._hanging = [thread for thread in self._hanging if thread.is_alive()]
        if len(self._hanging) >= HANGING_LIMIT:
            raise JudgeLateError(f"{len(self._hanging)} judges hang")
        self._worker = _Worker(self._judge)
        return self._worker
