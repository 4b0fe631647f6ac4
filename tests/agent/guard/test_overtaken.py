"""A hold that somebody else ended (a person's SIGCONT, a watchdog) while it was being judged."""

import time
from dataclasses import replace

from agent.capture import Capture
from agent.directory import Directory
from agent.inbox import Inbox
from agent.judging import Held
from model.event import StatementStarted
from tests.agent.guard.test_hold import aside, held_process, wait_for


class Script:
    """A source that hands out what it was given, and holds nothing itself."""

    def __init__(self, *polls: list[StatementStarted]) -> None:
        self._polls = list(polls)

    def poll(self, timeout_ms: int) -> list[StatementStarted]:
        time.sleep(timeout_ms / 1000)
        return self._polls.pop(0) if self._polls else []

    def losses(self) -> list[object]:
        return []

    finish = losses

    def ignore(self, *_: object) -> None:
        """What the kernel would be told."""

    beat = set_hold = pause = press = forget = ignore

    @property
    def holding(self):
        return self


def test_it_is_settled_before_the_next_hold_of_its_session():
    guard, _ = aside(lambda _: time.sleep(2), deadline_ms=1000)
    inbox = Inbox()
    with held_process() as held:
        first, second = (replace(held, text_bytes=9, hold_id=number) for number in (1, 2))
        capture = Capture(
            Script([first], [second]), inbox, Directory(lambda session: session), guard, None
        )
        capture.start()
        told: list[object] = []

        def both() -> bool:
            while (polled := inbox.take(0)) is not None:
                told.extend(polled.events)
            return len(told) == 2

        wait_for(both)
        capture.stop()
    assert all(isinstance(one, Held) and one.settled.late for one in told)
    assert [one.event for one in told] == [first, second]
    guard.close()
