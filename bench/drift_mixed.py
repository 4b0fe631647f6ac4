"""Several people at one object, one after the other: what one made dangerous another makes
harmless, and the reverse. In each case it is known of every line who did it last.

Half of the cases come at once, so that one look sees them; in the others each waits for the look at
what the one before did.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from bench.drift_town import DATABASE, OPERATORS, Key
from collector.drift.baseline import Difference
from collector.drift.lines import parts
from model.catalog import CatalogKind, DriftChange

CASES_IN_A_GROUP = 6
SEEN_SECONDS, LINGER_SECONDS, POLL_SECONDS = 20.0, 2.0, 0.25
LOOK_SECONDS = 4.0
"""Until what one did is looked at, and what the next one does is another look's."""
OBJECTS = 400
ROLE, TABLE = "role", "table"
Lines = dict[str, str]
"""Of each line, attribute or right that differs in the end, who did it last (``a`` to ``c``)."""


@dataclass(frozen=True)
class Case:
    """``steps``: who does what. ``{0}`` is the object, ``{1}`` a number."""

    kind: str
    steps: tuple[tuple[str, str], ...]
    lines: Lines
    of: str = ""
    """The name of the item, where it is not the object."""


_OFF, _ON = (
    "ALTER TABLE {0} DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE {0} ENABLE ROW LEVEL SECURITY",
)
_COLUMN = "ALTER TABLE {0} ADD COLUMN note text"
CASES = (
    Case(ROLE, (("a", "ALTER ROLE {0} SUPERUSER"), ("b", "ALTER ROLE {0} NOSUPERUSER")), {}),
    Case(
        ROLE,
        (("a", "ALTER ROLE {0} SUPERUSER"), ("b", "ALTER ROLE {0} NOSUPERUSER CREATEDB")),
        {"createdb": "b"},
    ),
    Case(
        ROLE,
        (("a", "ALTER ROLE {0} CREATEDB"), ("b", "ALTER ROLE {0} SUPERUSER")),
        {"createdb": "a", "superuser": "b"},
    ),
    Case(
        ROLE,
        (
            ("a", "ALTER ROLE {0} BYPASSRLS CREATEROLE"),
            ("b", "ALTER ROLE {0} NOBYPASSRLS"),
            ("c", "ALTER ROLE {0} CONNECTION LIMIT 7"),
        ),
        {"createrole": "a", "connection_limit": "c"},
    ),
    Case(TABLE, (("a", _OFF), ("b", _COLUMN)), {"row security": "a", "column note": "b"}),
    Case(TABLE, (("a", _COLUMN), ("b", _OFF)), {"column note": "a", "row security": "b"}),
    Case(TABLE, (("a", _COLUMN), ("b", _OFF), ("c", _ON)), {"column note": "a"}),
    Case(
        TABLE,
        (("a", _OFF), ("b", _ON), ("c", "CREATE INDEX mix_{1} ON {0} (i)")),
        {"index mix_{1}": "c"},
    ),
    Case(
        TABLE,
        (("a", "ALTER TABLE {0} RENAME COLUMN j TO jj"), ("b", _OFF)),
        {"column j": "a", "column jj": "a", "row security": "b"},
    ),
    Case(
        TABLE,
        (("a", "GRANT SELECT ON {0} TO mixed"), ("b", "GRANT INSERT, UPDATE ON {0} TO mixed")),
        {"SELECT": "a", "INSERT": "b", "UPDATE": "b"},
        of="table:{0}<-mixed",
    ),
    Case(
        TABLE,
        (
            ("a", "GRANT SELECT, TRUNCATE ON {0} TO mixed"),
            ("b", "REVOKE TRUNCATE ON {0} FROM mixed"),
            ("c", "GRANT DELETE ON {0} TO mixed"),
        ),
        {"SELECT": "a", "DELETE": "c"},
        of="table:{0}<-mixed",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Played:
    """A case with its object and its people."""

    case: Case
    name: str
    people: dict[str, str]
    number: int
    apart: bool
    """Looked at in between."""

    @property
    def key(self) -> Key:
        if self.case.of:
            return ("privilege", DATABASE, self.case.of.format(self.name))
        return (self.case.kind, "" if self.case.kind == ROLE else DATABASE, self.name)

    @property
    def truth(self) -> dict[str, str]:
        lines = self.case.lines.items()
        return {line.format(self.name, self.number): self.people[who] for line, who in lines}

    def play(self, run: Callable[[str, str], None]) -> None:
        for who, sql in self.case.steps:
            run(self.people[who], sql.format(self.name, self.number))
            if self.apart:
                time.sleep(LOOK_SECONDS)


@dataclass(frozen=True)
class Row:
    """Of view ``drift``."""

    actor: str
    lines: frozenset[str]
    open: bool


@dataclass
class Mixed:
    """Seeded: the same seed gives the same ones. Each case uses up an object."""

    seed: int
    expected: int = 0
    seen: int = 0
    right: int = 0
    wrong: list[str] = field(default_factory=list)
    by_sort: Counter[str] = field(default_factory=Counter)
    _number: int = 0

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)

    def setup(self) -> Iterator[str]:
        """Run by a superuser."""
        yield "CREATE SCHEMA mix"
        yield "CREATE ROLE mixed"
        for number in range(OBJECTS):
            yield f"CREATE ROLE mix{number}"
            yield f"CREATE TABLE mix.t{number} (i int, j int)"
            yield f"ALTER TABLE mix.t{number} ENABLE ROW LEVEL SECURITY"

    def play(
        self, run: Callable[[str, str], None], rows: Callable[[float], dict[Key, list[Row]]]
    ) -> None:
        """``run``: who does what. ``rows``: what the record says of what was seen since."""
        begun, group = time.time(), self.group()
        with ThreadPoolExecutor(CASES_IN_A_GROUP) as pool:
            for each in [pool.submit(played.play, run) for played in group]:
                each.result()
        deadline = time.monotonic() + SEEN_SECONDS
        while time.monotonic() < deadline and not complete(group, rows(begun)):
            time.sleep(POLL_SECONDS)
        time.sleep(LINGER_SECONDS)
        self.compare(group, rows(begun))

    def group(self) -> list[Played]:
        """None once all objects are used up."""
        return [self._one() for _ in range(min(CASES_IN_A_GROUP, OBJECTS - self._number))]

    def _one(self) -> Played:
        number, self._number = self._number, self._number + 1
        case = CASES[number % len(CASES)]
        name = f"mix{number}" if case.kind == ROLE else f"mix.t{number}"
        people = dict(zip("abc", self._dice.sample(OPERATORS, 3), strict=True))
        return Played(case, name, people, number, apart=number // len(CASES) % 2 == 1)

    def compare(self, group: Iterable[Played], rows: dict[Key, list[Row]]) -> None:
        for played in group:
            told = rows.get(played.key, [])
            actors = {line: row.actor for row in told if row.open for line in row.lines}
            self.by_sort["apart" if played.apart else "at once"] += 1
            self.expected += len(played.truth)
            self.seen += len(played.truth.keys() & actors.keys())
            self.right += sum(actors.get(line) == who for line, who in played.truth.items())
            known = {*played.people.values()}
            if actors != played.truth or any(row.actor not in known for row in told):
                self.wrong.append(f"{played.key}: {actors}, was {played.truth}; rows {told}")

    def figures(self) -> dict[str, Any]:
        return {
            "cases": dict(self.by_sort),
            "lines": self.expected,
            "recall": self.seen / max(1, self.expected),
            "actor_right": self.right / max(1, self.seen),
            "wrong_cases": len(self.wrong),
            "wrong_examples": self.wrong[:10],
        }


def complete(group: Iterable[Played], rows: dict[Key, list[Row]]) -> bool:
    told = {
        key: {line for row in found if row.open for line in row.lines}
        for key, found in rows.items()
    }
    return all(played.truth.keys() <= told.get(played.key, set()) for played in group)


def rows_of(found: Sequence[tuple[Any, ...]]) -> dict[Key, list[Row]]:
    """``found``: (kind, database, name, change, desired, observed, actor, resolved) by moment."""
    rows: dict[Key, list[Row]] = {}
    for kind, database, name, change, desired, observed, actor, resolved in found:
        step = Difference(name, DriftChange(change), desired, observed, ("", ""))
        lines = frozenset(part.key for part in parts(CatalogKind(kind), step))
        rows.setdefault((kind, database, name), []).append(Row(actor, lines, not resolved))
    return rows
