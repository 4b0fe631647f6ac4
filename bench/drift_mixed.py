"""Several people at one object, one after the other: what one made dangerous another makes
harmless, and the reverse; what one makes another renames, or drops and makes anew. Or somebody's
statement looks like it and did something else: its text says another value, or its table is a
temporary one or another schema's. In each case it is known of every line who did it last.

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
from collector.drift.state import MAY_BE
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
    of_kind: str = "privilege"
    """And its kind."""
    setup: tuple[str, ...] = ()


_OFF, _ON = (
    "ALTER TABLE {0} DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE {0} ENABLE ROW LEVEL SECURITY",
)
_OFF_HERE = "ALTER TABLE t{1} DISABLE ROW LEVEL SECURITY"
_COLUMN = "ALTER TABLE {0} ADD COLUMN note text"
_TABLE_LINES = ("owner", "kind", "row security", "column i", "column j")
_ATTRIBUTES = (
    "superuser", "inherit", "createrole", "createdb", "login", "replication", "bypassrls",
)  # fmt: skip
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
    Case(
        ROLE,
        (
            ("a", "CREATE SCHEMA mix_{1}; GRANT {0} TO mixed"),
            ("b", "CREATE SCHEMA mix_{1}b; ALTER ROLE {0} SUPERUSER"),
        ),
        {"superuser": "b"},
    ),
    Case(
        TABLE,
        (("a", "ALTER TABLE {0} OWNER TO mixed"), ("b", "REASSIGN OWNED BY mixed TO mixed_too")),
        {"owner": "b"},
    ),
    Case(
        TABLE,
        (
            ("a", "ALTER TABLE {0} DISABLE TRIGGER ALL"),
            ("b", "ALTER TABLE {0} ENABLE TRIGGER one"),
        ),
        {"enabled": "a"},
        of="{0}.two", of_kind="trigger",
        setup=(
            "CREATE TRIGGER one BEFORE INSERT ON {0} EXECUTE FUNCTION mix.nothing()",
            "CREATE TRIGGER two BEFORE INSERT ON {0} EXECUTE FUNCTION mix.nothing()",
        ),
    ),
    Case(
        TABLE,
        (("a", "CREATE TEMP TABLE t{1} (i int)"), ("a", _OFF_HERE), ("b", _OFF)),
        {"row security": "b"},
    ),
    Case(
        TABLE,
        (("b", _OFF), ("a", f"CREATE TEMP TABLE t{{1}} (i int); {_OFF_HERE}")),
        {"row security": "b"},
    ),
    Case(
        TABLE,
        (
            ("a", "SET LOCAL search_path = mix_b; GRANT SELECT ON t{1} TO mixed"),
            ("b", "SET LOCAL search_path = mix; GRANT SELECT ON t{1} TO mixed"),
            ("c", "SET LOCAL search_path = mix_b; ALTER TABLE t{1} ADD COLUMN k int"),
        ),
        {"SELECT": "b"},
        of="table:{0}<-mixed",
        setup=("CREATE TABLE mix_b.t{1} (i int)",),
    ),
    Case(
        TABLE,
        (("a", _COLUMN), ("b", "ALTER TABLE {0} RENAME COLUMN note TO remark")),
        {"column remark": "a"},
    ),
    Case(
        TABLE,
        (
            ("a", "ALTER TABLE {0} RENAME TO v{1}"),
            ("b", "ALTER TABLE mix.v{1} DISABLE ROW LEVEL SECURITY"),
            ("c", "ALTER TABLE mix.v{1} RENAME TO t{1}"),
        ),
        {"row security": "b"},
    ),
    Case(
        TABLE,
        (("a", "DROP TABLE {0}"), ("b", "CREATE TABLE {0} (i int, j int, k int)")),
        {"owner": "b", "row security": "b", "column k": "b"},
    ),
    Case(
        TABLE,
        (("a", "ALTER TABLE {0} RENAME TO w{1}"), ("b", "CREATE TABLE {0} (i int, j int)")),
        {"owner": "b", "row security": "b"},
    ),
    Case(
        TABLE,
        (("a", "ALTER TABLE {0} RENAME TO w{1}"), ("b", "CREATE TABLE {0} (i int, j int)")),
        dict.fromkeys(_TABLE_LINES, "a"),
        of="mix.w{1}", of_kind=TABLE,
    ),
    Case(
        ROLE,
        (("a", "CREATE ROLE made{1} CREATEDB"), ("b", "ALTER ROLE made{1} RENAME TO remade{1}")),
        dict.fromkeys(_ATTRIBUTES, "a"),
        of="remade{1}", of_kind=ROLE,
    ),
    Case(
        ROLE,
        (("a", "ALTER ROLE {0} CREATEDB"), ("b", "ALTER ROLE {0} RENAME TO other{1}")),
        dict.fromkeys(_ATTRIBUTES, "b") | {"createdb": "a"},
        of="other{1}", of_kind=ROLE,
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
            return self._key(self.case.of_kind, self.case.of.format(self.name, self.number))
        return self._key(self.case.kind, self.name)

    @staticmethod
    def _key(kind: str, name: str) -> Key:
        return (kind, "" if kind == ROLE else DATABASE, name)

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
    note: str = ""


@dataclass
class Mixed:
    """Seeded: the same seed gives the same ones. Each case uses up an object."""

    seed: int
    expected: int = 0
    seen: int = 0
    right: int = 0
    wrong: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    """Rows that name somebody else besides."""
    by_sort: Counter[str] = field(default_factory=Counter)
    _number: int = 0

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)

    def setup(self) -> Iterator[str]:
        """Run by a superuser."""
        yield "CREATE SCHEMA mix"
        yield "CREATE SCHEMA mix_b"
        yield "CREATE ROLE mixed"
        yield "CREATE ROLE mixed_too"
        yield (
            "CREATE FUNCTION mix.nothing() RETURNS trigger LANGUAGE plpgsql"
            " AS 'BEGIN RETURN NULL; END'"
        )
        for number in range(OBJECTS):
            yield f"CREATE ROLE mix{number}"
            yield f"CREATE TABLE mix.t{number} (i int, j int)"
            yield f"ALTER TABLE mix.t{number} ENABLE ROW LEVEL SECURITY"
            for sql in CASES[number % len(CASES)].setup:
                yield sql.format(f"mix.t{number}", number)

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
            self.doubts += [f"{played.key}: {row}" for row in told if MAY_BE in row.note]
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
            "also_named": len(self.doubts),
            "also_named_examples": self.doubts[:10],
        }


def complete(group: Iterable[Played], rows: dict[Key, list[Row]]) -> bool:
    told = {
        key: {line for row in found if row.open for line in row.lines}
        for key, found in rows.items()
    }
    return all(played.truth.keys() <= told.get(played.key, set()) for played in group)


def rows_of(found: Sequence[tuple[Any, ...]]) -> dict[Key, list[Row]]:
    """``found``: (kind, database, name, change, desired, observed, actor, resolved, note) by
    moment. What was changed on a thing is told apart from what it came with by a new name, which is
    later."""
    rows: dict[Key, list[Row]] = {}
    came_first = sorted(found, key=lambda row: row[3] != DriftChange.ADDED)
    for kind, database, name, change, desired, observed, actor, resolved, note in came_first:
        step = Difference(name, DriftChange(change), desired, observed, ("", ""))
        lines = frozenset(part.key for part in parts(CatalogKind(kind), step))
        rows.setdefault((kind, database, name), []).append(Row(actor, lines, not resolved, note))
    return rows
