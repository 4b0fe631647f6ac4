"""Where a client connects and under which name, and what it is given to do."""

from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.conformance.expected import SUCCESS, Outcome

USER, DATABASE = "conf", "conformance"
SECOND_NAME = "#"
"""Stands behind a scenario's name where its client takes another one."""


@dataclass(frozen=True)
class Step:
    """One text that a client sends, with ``$1`` for parameters; one outcome for each statement."""

    sql: str
    outcomes: tuple[Outcome, ...]
    params: tuple[int | str, ...] = ()


def step(
    sql: str,
    rows: int | None = None,
    *params: int | str,
    error: str = "",
    message: str = "",
    at_least_seconds: float = 0,
    preparing_seconds: float = 0,
    nested: tuple = (),
) -> Step:
    """A text with one statement."""
    outcome = Outcome(
        None if error else rows,
        error or SUCCESS,
        nested,
        message,
        at_least_seconds=at_least_seconds,
        preparing_seconds=preparing_seconds,
    )
    return Step(sql, (outcome,), params)


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
