"""What ``bench/drift_history.py`` has not: whole databases, rows of watched tables, several people
on one table at once. Each with its truth, and played with a group of the history.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bench.drift_history import History
from bench.drift_town import DATABASE, OPERATORS, Change

FLAGS = tuple(f"ops.flags{n}" for n in range(4))
ROWS = 20
CROWD_ROLE = "crowd"
WATCHED: tuple[dict[str, Any], ...] = tuple(
    {"table": name, "database": DATABASE, "key": ["name"]} for name in FLAGS
)
"""For ``agent.catalog.watched``."""
ROW_PATHS = ("direct", "do", "transaction", "prepared")
DATABASE_EVERY = 2
"""Groups: creating one copies files, and dropping one waits for everybody to leave it."""


@dataclass
class Deeds:
    """Seeded: the same seed gives the same ones."""

    seed: int
    _dice: random.Random = field(init=False)
    _number: int = 0
    _database: str = ""
    _renamed: bool = False

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)

    def setup(self) -> Iterator[str]:
        """After the history's, which makes schema ops; run by a superuser."""
        yield f"CREATE ROLE {CROWD_ROLE}"
        yield "GRANT USAGE ON SCHEMA ops TO pgwarden"
        for name in FLAGS:
            yield f"CREATE TABLE {name} (name text PRIMARY KEY, value text)"
            yield f"INSERT INTO {name} SELECT 'f' || n, 'off' FROM generate_series(1, {ROWS}) AS n"
            yield f"GRANT SELECT ON {name} TO pgwarden"

    def group(self, history: History) -> list[Change]:
        """Nothing here is about what the history's group of this moment is about."""
        self._number += 1
        found = [*self._rows(), *self._crowd(history), *self._pair(history)]
        if self._number % DATABASE_EVERY == 0:
            found.append(self._of_databases())
        return found

    def _actors(self, count: int) -> list[str]:
        return self._dice.sample(OPERATORS, count)

    def _rows(self) -> Iterator[Change]:
        """Two people, each in a table of their own: of two in one table none would be named."""
        for table, actor in zip(self._dice.sample(FLAGS, 2), self._actors(2), strict=True):
            name = f"f{self._dice.randint(1, ROWS)}"
            yield Change(
                "row", actor, self._dice.choice(ROW_PATHS),
                f"UPDATE {table} SET value = 'v{self._number}' WHERE name = '{name}'",
                frozenset({("watched", DATABASE, f"{table}[{name}]")}),
            )  # fmt: skip

    def _crowd(self, history: History) -> Iterator[Change]:
        """Four people at one table; each makes a difference of their own."""
        table = history.take_table()
        trigger, policy, column = (f"{word}{self._number}" for word in ("ct", "cp", "c_crowd"))
        history.add_to(table, column=column, trigger=trigger, policy=policy, role=CROWD_ROLE)
        kinds = (
            (f"ALTER TABLE {table} ADD COLUMN {column} text", "table", table),
            (f"CREATE POLICY {policy} ON {table} USING (id > 0)", "policy", f"{table}.{policy}"),
            (
                f"CREATE TRIGGER {trigger} BEFORE UPDATE ON {table} FOR EACH ROW"
                " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
                "trigger", f"{table}.{trigger}",
            ),
            (
                f"GRANT DELETE ON {table} TO {CROWD_ROLE}",
                "privilege", f"table:{table}<-{CROWD_ROLE}",
            ),
        )  # fmt: skip
        for actor, (sql, kind, name) in zip(self._actors(len(kinds)), kinds, strict=True):
            path = self._dice.choice(ROW_PATHS)
            yield Change("crowd", actor, path, sql, frozenset({(kind, DATABASE, name)}))

    def _pair(self, history: History) -> Iterator[Change]:
        """Two people make one difference: both are to be named."""
        table = history.take_table()
        one, two = self._actors(2)
        keys = frozenset({("table", DATABASE, table)})
        index = f"CREATE INDEX pair{self._number} ON {table} (note)"
        default = f"ALTER TABLE {table} ALTER COLUMN note SET DEFAULT 'pair {self._number}'"
        yield Change("pair", one, "direct", index, keys)
        yield Change("pair", two, "direct", default, keys)

    def _of_databases(self) -> Change:
        """Made, renamed, dropped, and so on."""
        (actor,) = self._actors(1)
        name, new = self._database, f"db{self._number}"
        if not name:
            self._database, sql, names = new, f"CREATE DATABASE {new}", {new}
        elif not self._renamed:
            self._database, sql, names = new, f"ALTER DATABASE {name} RENAME TO {new}", {name, new}
            self._renamed = True
        else:
            self._database, sql, names = "", f"DROP DATABASE {name}", {name}
            self._renamed = False
        # What PUBLIC may do in every database that is made is an item, too.
        keys = frozenset(
            key
            for each in names
            for key in (("database", "", each), ("privilege", "", f"database:{each}<-PUBLIC"))
        )
        inside = name if sql.startswith("DROP") else ""
        return Change("database", actor, "direct", sql, keys, inside)
