"""What a client did, in order, with what it could see of each: the expectation."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from tests.conformance import transactions
from tests.conformance.expected import Expected, Outcome, RoundTrip
from tests.conformance.place import DATABASE, USER, Place, Step, agree

CLOCK_SLACK_US = 1_000
"""Between the client's clock, which runs evenly, and the server's and the probe's, of which one is
fitted to the other."""
MOST_TEXT_BYTES = (1 << 20) - 1
"""A longer text is recorded up to here, with its full length."""


class Ear(Protocol):
    """Hears what the server sends to a client."""

    def heard(self) -> list[RoundTrip]:
        """The round trips that have ended since the last call."""


@dataclass
class Diary:
    """Written while the client does it. ``ear``: what it receives is known to the byte."""

    place: Place
    entries: list[Expected] = field(default_factory=list)
    application_name: str = ""
    """Where it is no longer that of the place."""
    ear: Ear | None = None
    status: str = transactions.IDLE
    """Of the transaction."""
    before: str = ""
    """What the record can know of it at the next round trip, where that is something else."""
    _numbers: int = 0

    @contextmanager
    def doing(
        self,
        *steps: Step,
        protocol: str = "query",
        together: bool = False,
        at_once: int = 1,
        ends: bool = True,
        heard: bool = True,
    ) -> Iterator[None]:
        """The time that these steps took together bounds that of each, and their sum where they
        went one after the other. ``together``: one ReadyForQuery for all; ``at_once``: on so many
        connections; ``ends``: False if the round trip goes on; ``heard``: the last round trips are
        theirs."""
        if self.ear is not None:
            self.ear.heard()
        began = time.monotonic_ns()
        try:
            yield
        finally:
            wall_us = (time.monotonic_ns() - began) // 1000
            answers = self.ear.heard() if self.ear is not None else []
            trips = [steps] if together else [(one,) for one in steps]
            # Before the last ones: a driver that prepared what it then ran.
            known = heard and len(answers) >= len(trips)
            answers = answers[-len(trips) :] if known else []
            watch = self._number()
            for number, trip in enumerate(trips):
                self._note(
                    trip, wall_us, watch, wall_us if at_once == 1 else None, protocol,
                    answers[number] if answers else None, ends,
                )  # fmt: skip

    def note(
        self, one: Step, wall_us: int, received: int | None = None, *, ends: bool = True
    ) -> None:
        """A round trip of its own, which somebody else timed."""
        trip = RoundTrip(received, "") if received is not None else None
        self._note((one,), wall_us, self._number(), wall_us, "query", trip, ends)

    def _note(
        self,
        steps: Sequence[Step],
        wall_us: int,
        watch: int,
        watch_us: int | None,
        protocol: str,
        heard: RoundTrip | None,
        ends: bool,
    ) -> None:
        transaction = self._transaction(steps, heard if ends else None)
        round_trip = self._number()
        for one in steps:
            for number, outcome in enumerate(one.outcomes):
                self.entries.append(
                    Expected(
                        text=_recorded(one.sql),
                        outcome=outcome,
                        user=USER,
                        database=DATABASE,
                        application_name=self.application_name or self.place.application_name,
                        client_address=self.place.client_address,
                        at_least_us=_at_least_us(outcome),
                        at_most_us=_at_most_us(outcome, wall_us),
                        protocol=protocol,
                        transaction=transaction,
                        text_bytes=len(one.sql.encode()),
                        round_trip=round_trip,
                        shared=not ends or len(steps) > 1 or len(one.outcomes) > 1,
                        received=heard.bytes if heard and ends else None,
                        watch=watch,
                        watch_us=watch_us,
                        prepared=number == 0,
                    )
                )

    def _transaction(self, steps: Sequence[Step], heard: RoundTrip | None) -> str:
        """What happens to it, which the server must say as well."""
        before, self.before = self.before or self.status, ""
        statements = [each for one in steps for each in _statements(one)]
        if not any(sqlstate for _, sqlstate in statements):
            return ""  # nobody told how it ended
        if any(sqlstate == "57P01" for _, sqlstate in statements):
            return before + "?"  # the session has ended
        self.status = transactions.after(self.status, statements)
        if heard is not None and heard.status:
            agree(steps[-1], self.status, heard.status)
        return before + self.status

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers


def _statements(one: Step) -> list[tuple[str, str]]:
    texts = [one.sql] if len(one.outcomes) == 1 else one.sql.split(";")
    return [
        (texts[min(number, len(texts) - 1)], outcome.sqlstate)
        for number, outcome in enumerate(one.outcomes)
    ]


def _recorded(sql: str) -> str:
    return sql if len(sql) <= MOST_TEXT_BYTES else sql[:MOST_TEXT_BYTES]


def _at_least_us(outcome: Outcome) -> int:
    seconds = max(outcome.at_least_seconds, outcome.preparing_seconds)
    return max(int(seconds * 1e6) - CLOCK_SLACK_US, 0)


def _at_most_us(outcome: Outcome, wall_us: int) -> int:
    if outcome.at_most_seconds is not None:
        wall_us = min(wall_us, int(outcome.at_most_seconds * 1e6))
    return wall_us + CLOCK_SLACK_US
