"""Collects events until they say what a test waits for."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.sources.ebpf import EbpfSource
from model.event import Completion, Event, ResponseSent, StatementsExecuted, StatementStarted
from tests.live.postgres import PostgresCluster

WAIT_SECONDS = 10


@dataclass
class Capture:
    source: EbpfSource
    postgres: PostgresCluster
    events: list[Event] = field(default_factory=list)

    def until(self, reached: Callable[[list[Event]], bool]) -> list[Event]:
        """All events so far, as soon as ``reached`` holds for them."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not reached(self.events):
            assert time.monotonic() < deadline, f"waited in vain; seen: {self.events[-20:]}"
            self.events += singly(self.source.poll(100))
        return self.events

    def of(self, pid: int, kind: type | tuple[type, ...] = object) -> list[Event]:
        return [
            event
            for event in self.events
            if getattr(event, "backend", None) is not None
            and event.backend.pid == pid
            and isinstance(event, kind)
        ]

    def round_trips(self, pid: int, count: int) -> list[Event]:
        """Statements and responses of a backend after ``count`` ReadyForQuery."""
        self.until(lambda _: sum(e.ready for e in self.of(pid, ResponseSent)) >= count)
        return self.of(pid, (StatementStarted, ResponseSent))

    def forget(self) -> None:
        """What was answered so far is in the ring: records are written before the answer is."""
        self.source.poll(0)
        self.events.clear()

    def run(self, connection, *texts, count=None) -> list[Event]:
        """Execute each text on a fresh look at this backend; errors are the test's business."""
        pid = connection.info.backend_pid
        self.forget()
        for text in texts:
            connection.execute(text)
        return self.round_trips(pid, count or len(texts))


def singly(events: list[Event]) -> list[Event]:
    """Executions that were told as one, as the start and the answer that they stand for."""
    out: list[Event] = []
    for event in events:
        if not isinstance(event, StatementsExecuted):
            out.append(event)
            continue
        for one in event.executions:
            run_us = one.started_at_us + max(one.preparation_us, 0)
            requested_us = one.started_at_us if one.preparation_us >= 0 else 0
            before, after = event.transaction
            out.append(
                StatementStarted(
                    run_us * 1000,
                    event.backend,
                    event.text,
                    len(event.text),
                    requested_us,
                    urgent=event.urgent,
                    continued=event.continued,
                )
            )
            out.append(
                ResponseSent(
                    (one.started_at_us + one.duration_us) * 1000,
                    event.backend,
                    one.bytes_sent,
                    (Completion(event.tag, one.rows),),
                    requested_at_us=requested_us,
                    ready=True,
                    transaction_status=after,
                    transaction_before=before.strip("?"),
                )
            )
    return out


def starts(events: list[Event]) -> list[StatementStarted]:
    return [event for event in events if isinstance(event, StatementStarted)]


def responses(events: list[Event]) -> list[ResponseSent]:
    return [event for event in events if isinstance(event, ResponseSent)]


def completions(events: list[Event]) -> list[tuple[str, int]]:
    return [(done.tag, done.rows) for e in responses(events) for done in e.completions]
