"""Statements whose judgement takes long wait beside the others, which it must not delay.

They have a parser of their own. Whoever sends them waits for his like alone, in turn: a session has
one statement at a time.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from agent.guard.priority import prefer

Question = TypeVar("Question")
Answer = TypeVar("Answer")

THREADS = 4
MAX_WAITING = 64
HANGING_SECONDS = 0.5
"""Who is so much too late hangs; another thread takes his place, as long as there are few."""


@dataclass(frozen=True, slots=True)
class Answered(Generic[Question, Answer]):
    question: Question
    answer: Answer | Exception


class Aside(Generic[Question, Answer]):
    """``judge`` is asked by a thread, one question after another. For use by one asking thread."""

    def __init__(
        self, judge: Callable[[Question], Answer], on_answer: Callable[[], None] = lambda: None
    ) -> None:
        """``on_answer`` is called by that thread when ``answers`` has one more."""
        self._judge = judge
        self._on_answer = on_answer
        self._questions: queue.SimpleQueue[tuple[Question, float] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Answered[Question, Answer]] = queue.SimpleQueue()
        self._busy: dict[int, float] = {}
        """By thread, until when its answer is wanted."""
        self._threads = 0

    def ask(self, question: Question, limit_seconds: float) -> None:
        """Returns at once. What is not begun within ``limit_seconds`` is not begun at all."""
        now = time.monotonic()
        hanging = [until for until in list(self._busy.values()) if now > until + HANGING_SECONDS]
        if len(hanging) == self._threads < THREADS:
            self._threads += 1
            threading.Thread(target=self._run, name="guard-aside", daemon=True).start()
        if self._questions.qsize() < MAX_WAITING:  # who comes behind so many is late in any case
            self._questions.put((question, now + limit_seconds))

    def answers(self) -> list[Answered[Question, Answer]]:
        """Those that have come since the last call, also late ones."""
        found = []
        while not self._answers.empty():
            found.append(self._answers.get())
        return found

    def close(self) -> None:
        for _ in range(self._threads):
            self._questions.put(None)

    def _run(self) -> None:
        prefer(threading.get_native_id())
        me = threading.get_ident()
        while (asked := self._questions.get()) is not None:
            question, until = asked
            if time.monotonic() >= until:
                # Told all the same: the wall clock, which deadlines go by, may have been set back.
                self._answers.put(Answered(question, TimeoutError("not begun within its deadline")))
                continue
            self._busy[me] = until
            try:
                answer: Answer | Exception = self._judge(question)
            except Exception as error:  # noqa: BLE001 - a judge's bug must not stop the guard
                answer = error
            del self._busy[me]
            self._answers.put(Answered(question, answer))
            self._on_answer()
