"""What a made-up history knows of the database that it changes, and how a change is told."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

DATABASE = "shop"
OPERATORS = (
    "alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy",
)  # fmt: skip
"""Superusers, each with a session of its own."""
Key = tuple[str, str, str]
"""(kind, database, name), as in view catalog."""
STRINGS = {
    "after a set": ("SET lock_timeout = '60s'; {}",),
    "after a grant": ("GRANT USAGE ON SCHEMA ops TO PUBLIC; {}",),
    "before a grant": ("{}; GRANT USAGE ON SCHEMA ops TO PUBLIC",),
    "begin to commit": ("BEGIN; SELECT 1; {}; COMMIT",),
    "after a begin": ("BEGIN; {}", "COMMIT"),
}
"""Several statements in one string, message by message; the grant is there already."""
PATHS = ("direct", "direct", "direct", "do", "function", "transaction", "prepared", *STRINGS)
HELPERS = """
CREATE SCHEMA IF NOT EXISTS ops;
CREATE OR REPLACE FUNCTION ops.run(command text) RETURNS void LANGUAGE plpgsql
  AS $$ BEGIN EXECUTE command; END $$;
GRANT USAGE ON SCHEMA ops TO PUBLIC;
"""


@dataclass(frozen=True)
class Change:
    """``sql``, by ``actor``, on one of PATHS ('file': written to a configuration file by nobody).

    ``keys`` are the differences that it makes, all of them; ``about`` is ``schema``, ``grant`` or
    ``setting``, or as in ``bench/drift_deeds.py``. ``inside``: all in this database goes as well.
    """

    about: str
    actor: str
    path: str
    sql: str
    keys: frozenset[Key]
    inside: str = ""


Made = tuple[str, set[Key]] | None
"""SQL, and the differences that it makes; None: nothing to do so to."""


@dataclass
class Town:
    """``setup`` makes the database. Seeded: the same seed gives the same one."""

    seed: int
    tables: int = 200
    roles: int = 40
    dice: random.Random = field(init=False)
    number: int = 0
    columns: dict[str, list[str]] = field(default_factory=dict)
    functions: list[str] = field(default_factory=list)
    granted: set[tuple[str, str, str]] = field(default_factory=set)
    members: set[tuple[str, str]] = field(default_factory=set)
    policies: list[tuple[str, str]] = field(default_factory=list)
    triggers: dict[tuple[str, str], bool] = field(default_factory=dict)
    views: list[str] = field(default_factory=list)
    was_set: dict[str, str] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)

    def setup(self) -> Iterator[str]:
        """SQL for an empty database, run by a superuser."""
        yield HELPERS
        yield from (f"CREATE ROLE {name} LOGIN SUPERUSER" for name in OPERATORS)
        yield from (f"CREATE ROLE {self.role(n)}" for n in range(self.roles))
        yield from ("CREATE SCHEMA sales", "CREATE SCHEMA hr", "CREATE SCHEMA stock")
        for n in range(self.tables):
            name = f"{self._schema(n)}.t{n}"
            self.columns[name] = ["id", "note", "amount"]
            yield (f"CREATE TABLE {name} (id bigint PRIMARY KEY, note text, amount numeric)")
        for n in range(20):
            name = f"sales.f{n}"
            self.functions.append(name)
            yield f"CREATE FUNCTION {name}(i int) RETURNS int LANGUAGE sql AS 'SELECT i + {n}'"

    def take_table(self) -> str:
        """For others' changes: one that this group does not touch."""
        while True:
            name = self.table()
            views = self.views_on(name)
            if self.busy.isdisjoint(views) and not self.was_set.get(f"owner {name}"):
                self.busy |= {name, *views}
                return name

    def add_to(self, table: str, *, column: str, trigger: str, policy: str, role: str) -> None:
        """Somebody else made these on it, and granted ``role`` something."""
        self.columns[table].append(column)
        self.triggers[table, trigger] = True
        self.policies.append((table, policy))
        self.granted.add((f"table:{table}", role, "DELETE"))

    def role(self, number: int) -> str:
        return f"r{number}"

    def _schema(self, number: int) -> str:
        return ("sales", "hr", "stock")[number % 3]

    def new(self, prefix: str) -> str:
        self.number += 1
        return f"{prefix}{self.number}"

    def table(self) -> str:
        """One that nothing else in this group is about: its changes are played all at once."""
        return self.dice.choice(sorted(self.columns.keys() - self.busy))

    def idle_table(self) -> str | None:
        """One that nothing in this group has touched."""
        name = self.table()
        return None if name in self.busy else name

    def some_role(self) -> str:
        return self.role(self.dice.randrange(self.roles))

    def views_on(self, table: str) -> list[str]:
        return [view for view in self.views if view.endswith(f"_{table.replace('.', '_')}")]


def in_database(kind: str, name: str) -> Key:
    return (kind, DATABASE, name)
