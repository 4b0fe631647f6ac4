"""Rows on their way into the stream: numbers of people and texts instead of names and parses."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import polars as pl

from bench.world.book import LOGIN, Book
from bench.world.identity import Identity
from bench.world.relations import Place

DRAFT_SCHEMA: dict[str, type[pl.DataType]] = {
    "at_us": pl.Int64,
    "who": pl.String,
    "place": pl.String,
    "shape": pl.UInt32,
    "rows": pl.Int64,
    "bytes_sent": pl.Int64,
    "duration_us": pl.Int64,
    "sqlstate": pl.String,
    "error_message": pl.String,
    "application_name": pl.String,
    "client_address": pl.String,
    "session": pl.UInt64,
    "session_us": pl.Int64,
    "key": pl.UInt64,
    "campaign": pl.Int16,
}
"""``who`` is the name in the cast, ``place`` a database; ``key`` settles ties and makes ids."""
BENIGN = -1
MESSAGES = {
    "00000": "",
    "22012": "division by zero",
    "22P02": 'invalid input syntax for type integer: "?"',
    "23503": "insert or update violates foreign key constraint",
    "23505": "duplicate key value violates unique constraint",
    "28000": 'no pg_hba.conf entry for host "?"',
    "28P01": "password authentication failed",
    "40001": "could not serialize access due to concurrent update",
    "40P01": "deadlock detected",
    "42501": "permission denied for table",
    "42601": "syntax error at or near",
    "42703": "column does not exist",
    "42P01": "relation does not exist",
    "53300": "remaining connection slots are reserved",
    "55P03": "canceling statement due to lock timeout",
    "57014": "canceling statement due to statement timeout",
    "57P01": "terminating connection due to administrator command",
}


@dataclass(frozen=True)
class Seat:
    """A connection: who, to which database, from where, since when."""

    who: Identity
    place: Place
    application_name: str
    client_address: str
    since_us: int
    key: int


@dataclass
class Page:
    """Collects rows of people and jobs one by one; machines make whole columns instead."""

    book: Book
    rng: Random
    campaign: int = BENIGN
    met: dict[str, Identity] = field(default_factory=dict)
    """Everybody who spoke, by name."""
    columns: dict[str, list[object]] = field(
        default_factory=lambda: {name: [] for name in DRAFT_SCHEMA}
    )

    def seat(
        self,
        who: Identity,
        at_us: int,
        database: Place | None = None,
        *,
        application_name: str | None = None,
        client_address: str | None = None,
    ) -> Seat:
        return Seat(
            who,
            database or who.home,
            who.application_name if application_name is None else application_name,
            client_address or who.addresses[0],
            at_us - self.rng.randint(20_000, 900_000),
            self.rng.getrandbits(63),
        )

    def say(
        self,
        seat: Seat,
        at_us: float,
        text: str,
        rows: float = 0,
        row_bytes: float = 60,
        *,
        duration_us: float | None = None,
        sqlstate: str = "00000",
    ) -> None:
        """One statement; what fails has no rows."""
        count = 0 if sqlstate != "00000" else max(0, int(rows))
        took = duration_us
        if took is None:
            took = 250 * self.rng.lognormvariate(0, 0.7) + count * self.rng.uniform(0.4, 2.5)
        returns = text.lstrip()[:6].upper() in ("SELECT", "COPY (", "WITH A", "TABLE ", "SHOW A")
        returns = returns or "RETURNING" in text or "TO STDOUT" in text
        sent = count * row_bytes * self.rng.uniform(0.7, 1.05) if returns else 0
        said = {
            "at_us": int(at_us),
            "who": seat.who.name,
            "place": seat.place.database,
            "shape": self.book.number(text),
            "rows": count,
            "bytes_sent": int(sent) + self.rng.randint(40, 140),
            "duration_us": max(30, int(took)),
            "sqlstate": sqlstate,
            "error_message": MESSAGES[sqlstate],
            "application_name": seat.application_name,
            "client_address": seat.client_address,
            "session": seat.key,
            "session_us": min(seat.since_us, int(at_us)),
            "key": self.rng.getrandbits(63),
            "campaign": self.campaign,
        }
        self.met[seat.who.name] = seat.who
        for name, value in said.items():
            self.columns[name].append(value)

    def fail_login(self, seat: Seat, at_us: float, sqlstate: str = "28P01") -> None:
        self.say(seat, at_us, LOGIN, sqlstate=sqlstate, duration_us=3_000)

    def frame(self) -> pl.DataFrame:
        return pl.DataFrame(self.columns, schema=DRAFT_SCHEMA)
