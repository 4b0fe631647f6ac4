"""Statements that change more than they name: whatever hangs on what they drop or rename.

Each is played on a schema of its own, made before the baseline, with all that PostgreSQL lets hang
on a table and a type: views on views, policies, foreign keys, functions, grants, partitions.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from bench.drift_town import OPERATORS, PATHS, Change, Key, in_database

SCHEMAS = 128
IN_A_GROUP = 2
ROLE = "hanger_on"
_OBJECTS = """
CREATE SCHEMA {0};
CREATE TYPE {0}.ty AS ENUM ('a');
CREATE TABLE {0}.t (i int PRIMARY KEY, j int, e {0}.ty);
CREATE TABLE {0}.u (i int REFERENCES {0}.t (i));
CREATE VIEW {0}.v AS SELECT i, j FROM {0}.t;
CREATE VIEW {0}.w AS SELECT j FROM {0}.v;
CREATE POLICY p ON {0}.t USING (j > 0);
CREATE POLICY q ON {0}.u USING (i IN (SELECT t.i FROM {0}.t));
CREATE FUNCTION {0}.f({0}.ty) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION {0}.g({0}.t) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TABLE {0}.p (i int) PARTITION BY RANGE (i);
CREATE TABLE {0}.c PARTITION OF {0}.p FOR VALUES FROM (1) TO (9);
GRANT SELECT ON {0}.t, {0}.w TO {1};
GRANT SELECT (j) ON {0}.t TO {1};
GRANT EXECUTE ON FUNCTION {0}.f({0}.ty) TO {1};
"""
_ALL = (
    "schema:{0}", "type:{0}.ty", "table:{0}.t", "table:{0}.u", "table:{0}.v", "table:{0}.w",
    "table:{0}.p", "table:{0}.c", "policy:{0}.t.p", "policy:{0}.u.q", "function:{0}.f({0}.ty)",
    "function:{0}.g({0}.t)", "privilege:table:{0}.t<-{1}", "privilege:table:{0}.w<-{1}",
    "privilege:column:{0}.t.j<-{1}", "privilege:function:{0}.f({0}.ty)<-{1}",
)  # fmt: skip
_OF_TYPE = (
    "type:{0}.ty", "function:{0}.f({0}.ty)", "privilege:function:{0}.f({0}.ty)<-{1}",
)  # fmt: skip
_OF_TABLE = (
    "table:{0}.t", "policy:{0}.t.p", "function:{0}.g({0}.t)", "privilege:table:{0}.t<-{1}",
    "privilege:column:{0}.t.j<-{1}",
)  # fmt: skip
_BUILT_ON_IT = ("table:{0}.u", "table:{0}.v", "policy:{0}.u.q")
_VIEWS = ("table:{0}.v", "table:{0}.w", "privilege:table:{0}.w<-{1}")


def _named_anew(names: tuple[str, ...], old: str, new: str) -> tuple[str, ...]:
    return (*names, *(name.replace(old, new) for name in names))


STATEMENTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "ALTER TABLE {0}.t RENAME COLUMN j TO jj",
        ("table:{0}.t", "table:{0}.v", "policy:{0}.t.p", "privilege:column:{0}.t.j<-{1}",
         "privilege:column:{0}.t.jj<-{1}"),
    ),
    (
        "ALTER TABLE {0}.t DROP COLUMN j CASCADE",
        ("table:{0}.t", "policy:{0}.t.p", "privilege:column:{0}.t.j<-{1}", *_VIEWS),
    ),
    ("DROP TYPE {0}.ty CASCADE", ("table:{0}.t", *_OF_TYPE)),
    ("DROP TABLE {0}.t CASCADE", (*_OF_TABLE, "table:{0}.u", "policy:{0}.u.q", *_VIEWS)),
    ("DROP VIEW {0}.v CASCADE", _VIEWS),
    (
        "ALTER TYPE {0}.ty RENAME TO ty2",
        ("table:{0}.t", *_named_anew(_OF_TYPE, "{0}.ty", "{0}.ty2")),
    ),
    (
        "ALTER TABLE {0}.t RENAME TO t2",
        (*_named_anew(_OF_TABLE, "{0}.t", "{0}.t2"), *_BUILT_ON_IT),
    ),
    ("ALTER SCHEMA {0} RENAME TO {0}n", _named_anew(_ALL, "{0}", "{0}n")),
    ("DROP SCHEMA {0} CASCADE", _ALL),
    ("CREATE INDEX by_i ON {0}.p (i)", ("table:{0}.p", "table:{0}.c")),
)  # fmt: skip
"""SQL, and the differences that it makes."""


@dataclass
class Dependents:
    """Seeded: the same seed gives the same ones. One schema is used up by each statement."""

    seed: int
    _dice: random.Random = field(init=False)
    _number: int = 0

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)

    def setup(self) -> Iterator[str]:
        """Run by a superuser."""
        yield f"CREATE ROLE {ROLE}"
        yield from (_OBJECTS.format(f"hang{number}", ROLE) for number in range(SCHEMAS))

    def group(self) -> Iterator[Change]:
        """None once all schemas are used up."""
        for _ in range(min(IN_A_GROUP, SCHEMAS - self._number)):
            sql, names = STATEMENTS[self._number % len(STATEMENTS)]
            words = (f"hang{self._number}", ROLE)
            self._number += 1
            actor, path = self._dice.choice(OPERATORS), self._dice.choice(PATHS)
            keys = frozenset(_key(name.format(*words)) for name in names)
            yield Change("dependent", actor, path, sql.format(*words), keys)


def _key(name: str) -> Key:
    kind, _, rest = name.partition(":")
    return in_database(kind, rest)
