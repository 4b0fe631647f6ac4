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
