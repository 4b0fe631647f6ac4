"""A made-up history of changes to a database, each with what must be noticed and who did it.

Seeded: the same seed gives the same history. Changes come in groups; within a group no item changes
twice, so that each difference has one cause.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bench.drift_rights_changes import GRANTS, SETTINGS
from bench.drift_schema_changes import SCHEMA
from bench.drift_town import OPERATORS, PATHS, Change, Town


@dataclass
class History(Town):
    """``setup`` makes the database; then ``group`` after ``group``."""

    def group(self, schema: int, grants: int, settings: int) -> list[Change]:
        """So many changes of each sort, in a random order."""
        self.busy = set()
        sorts = ["schema"] * schema + ["grant"] * grants + ["setting"] * settings
        self.dice.shuffle(sorts)
        return [self._one(sort) for sort in sorts]

    def _one(self, sort: str) -> Change:
        makers = {"schema": SCHEMA, "grant": GRANTS, "setting": SETTINGS}[sort]
        while True:
            made = self.dice.choice(makers)(self)
            if made is None:
                continue
            sql, keys = made
            if not {name for _, _, name in keys} & self.busy:
                break
        self.busy |= {name for _, _, name in keys} | _mentioned(sql)
        if sql.startswith("FILE "):
            return Change(sort, "", "file", sql.removeprefix("FILE "), frozenset(keys))
        path = self.dice.choice(PATHS)
        if sql.startswith("ALTER SYSTEM"):
            path = "direct"  # not allowed in a transaction
        return Change(sort, self.dice.choice(OPERATORS), path, sql, frozenset(keys))


def _mentioned(sql: str) -> set[str]:
    """Relations, and of a view the table below it."""
    found = set(re.findall(r"\b(?:sales|hr|stock)\.[a-z]\w*", sql))
    below = (re.fullmatch(r"\w+\.v\d+_(sales|hr|stock)_(\w+)", each) for each in found)
    return found | {f"{match[1]}.{match[2]}" for match in below if match}
