"""Where a client connects and under which name, and what it is given to do."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from tests.conformance.expected import Expected, Outcome

USER, DATABASE = "conf", "conformance"
SECOND_NAME = "#"
"""Stands behind a scenario's name where its client takes another one."""
CLOCK_SLACK_US = 5_000
"""Between the client's clock and the probe's, which is fitted to the wall clock."""


@dataclass(frozen=True)
class Step:
    """One text that a client sends, with ``$1`` for parameters; one outcome for each statement."""

    sql: str
    outcomes: tuple[Outcome, ...]
    params: tuple[int | str, ...] = ()
    at_least_seconds: float = 0


def step(
    sql: str,
    rows: int | None = None,
    *params: int | str,
    error: str = "",
    at_least_seconds: float = 0,
    nested: tuple = (),
) -> Step:
    """A text with one statement."""
    outcome = Outcome(None, error, nested) if error else Outcome(rows, nested=nested)
    return Step(sql, (outcome,), params, at_least_seconds)


class DisagreementError(Exception):
    """The client saw another outcome than its Step says: the scenario is wrong, not pgwarden."""


def agree(one: Step, wanted: object, seen: object) -> None:
    if wanted != seen:
        raise DisagreementError(f"{one.sql[:200]}: expected {wanted}, the client saw {seen}")


@dataclass(frozen=True)
class Place:
    """The end of a connection as a client of one scenario sees it."""

    application_name: str
    transport: str
    host: str
    port: int
    client_address: str
    """As the server sees it."""
    admin_dsn: str
    folder: Path
    """For files of this scenario."""
    major: int

    def words(self) -> dict[str, str]:
        """As libpq calls them."""
        return {
            "host": self.host,
            "port": str(self.port),
            "user": USER,
            "dbname": DATABASE,
            "application_name": self.application_name,
            "sslmode": "require" if self.transport == "tls" else "disable",
        }

    def environment(self) -> dict[str, str]:
        return {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": USER,
            "PGDATABASE": DATABASE,
            "PGAPPNAME": self.application_name,
            "PGSSLMODE": self.words()["sslmode"],
        }

    def admin(self) -> psycopg.Connection:
        """A session that nothing is expected of."""
        return psycopg.connect(self.admin_dsn, autocommit=True)


@dataclass
class Diary:
    """What a client did, in order; written while it does it."""

    place: Place
    entries: list[Expected] = field(default_factory=list)
    application_name: str = ""
    """Where it is no longer that of the place."""

    @contextmanager
    def doing(self, *steps: Step, protocol: str = "query") -> Iterator[None]:
        """The time that these steps took together bounds that of each."""
        began = time.monotonic_ns()
        try:
            yield
        finally:
            self.note(steps, (time.monotonic_ns() - began) // 1000, protocol)

    def note(self, steps: tuple[Step, ...], wall_us: int, protocol: str = "query") -> None:
        name = self.application_name or self.place.application_name
        self.entries += [
            Expected(
                text=one.sql,
                outcome=outcome,
                user=USER,
                database=DATABASE,
                application_name=name,
                client_address=self.place.client_address,
                at_least_us=max(int(one.at_least_seconds * 1e6) - CLOCK_SLACK_US, 0),
                at_most_us=wall_us + CLOCK_SLACK_US,
                protocol=protocol,
            )
            for one in steps
            for outcome in one.outcomes
        ]
