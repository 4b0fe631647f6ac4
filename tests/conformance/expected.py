"""What a client did, and what pgwarden recorded of it. Frozen; no input or output."""

from collections import Counter
from dataclasses import dataclass, field

SUCCESS = "00000"


@dataclass(frozen=True)
class Nested:
    """A statement that the server runs inside another one."""

    text: str
    nested: tuple["Nested", ...] = ()
    rows: int | None = None
    """None: not compared, or the server does not count any."""


@dataclass(frozen=True)
class Outcome:
    """How one statement of a text ends."""

    rows: int | None = None
    """As the command tag says; None where it has no number."""
    sqlstate: str = SUCCESS
    nested: tuple[Nested, ...] = ()
    message: str = ""
    """Of an error: as it may leave the host, with ``?`` for every value."""
    at_least_seconds: float = 0
    at_most_seconds: float | None = None
    """None: no more than what the client's stopwatch says."""
    preparing_seconds: float = 0
    """At least so long it was parsed and planned before it began."""


@dataclass(frozen=True)
class RoundTrip:
    """What a client received up to a ReadyForQuery."""

    bytes: int
    status: str
    """Of the transaction, as ReadyForQuery says."""


@dataclass(frozen=True)
class Expected:
    """One execution that a client asked for."""

    text: str
    outcome: Outcome
    user: str
    database: str
    application_name: str
    client_address: str
    at_least_us: int
    at_most_us: int
    protocol: str = "query"
    transaction: str = "II"
    """Status before and after its round trip."""
    text_bytes: int = 0
    """Of all of it, though a long text is recorded in part."""
    round_trip: int = 0
    """Equal where one ReadyForQuery answered several."""
    shared: bool = False
    """Its round trip goes on with others."""
    received: int | None = None
    """Bytes of the whole round trip; None where the client cannot know."""
    watch: int = 0
    """Equal where one stopwatch ran for several, one after the other."""
    watch_us: int | None = None
    """What it said; None where they ran side by side."""
    prepared: bool = True
    """It is the first of its message: how long its preparation took is told."""


@dataclass(frozen=True)
class Captured:
    """One row of the view ``statements``."""

    id: int
    parent_id: int
    text: str
    user: str
    database: str
    application_name: str
    client_address: str
    duration_us: int | None
    rows: int | None
    sqlstate: str
    protocol: str
    transaction: str
    text_bytes: int
    bytes_sent: int | None
    error_message: str
    preparation_us: int | None


@dataclass(frozen=True)
class Difference:
    field: str
    text: str
    expected: str
    captured: str


@dataclass(frozen=True)
class Comparison:
    """Of one scenario. ``wrong`` has one entry for each field that differs."""

    expected: int
    captured: int
    missing: tuple[str, ...] = ()
    duplicated: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    wrong: tuple[Difference, ...] = field(default=())

    @property
    def wrong_by_field(self) -> dict[str, int]:
        return dict(sorted(Counter(one.field for one in self.wrong).items()))

    @property
    def kinds(self) -> frozenset[str]:
        """What differs: ``missing``, ``duplicated``, ``unexpected`` and the names of fields."""
        lists = {
            "missing": self.missing,
            "duplicated": self.duplicated,
            "unexpected": self.unexpected,
        }
        return frozenset(kind for kind, texts in lists.items() if texts) | set(self.wrong_by_field)

    @property
    def conforms(self) -> bool:
        return not self.kinds
