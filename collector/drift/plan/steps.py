"""What a plan consists of, and the order in which it is safe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from collector.drift.baseline import Difference, Facts
from collector.drift.observed import Whole
from collector.drift.plan.past import NO_PAST, Past
from model.catalog import CatalogKind


class Phase(IntEnum):
    """Rights go first and come last; what others stand on is made before and dropped after."""

    NAME_BACK = -1
    """What all other steps speak of by its old name."""
    DECIDE = 0
    """What a person has to know before the rest is of use."""
    REVOKE = 1
    MEMBER_OUT = 2
    ROLE = 3
    MEMBER_IN = 4
    RENAME = 5
    GUARD = 6
    """Row level security and triggers back on, before anything is opened again."""
    DROP_QUERY_CODE = 7
    """A body in SQL may stand on views and tables, and only a hash of it is known."""
    DROP_VIEW = 8
    DROP_FOREIGN_KEY = 9
    DROP_PART = 10
    DROP_COLUMN = 11
    DROP_CHILD = 12
    DROP = 13
    DROP_IN_SCHEMA = 14
    DROP_CODE = 15
    DROP_TYPE = 16
    SCHEMA = 20
    EXTENSION = 21
    TYPE = 22
    SEQUENCE = 23
    CODE = 24
    TABLE = 25
    CHILD = 26
    COLUMN = 27
    CONSTRAINT = 28
    FOREIGN_KEY = 29
    VIEW = 30
    OWNER = 31
    PART = 32
    DROP_COLLATION = 33
    DROP_EXTENSION = 34
    """Definitions do not say which functions and types are an extension's."""
    DROP_SCHEMA = 35
    GRANT = 36
    DROP_ROLE = 40
    """After what it owned and was granted in all databases."""
    SETTING = 41


CLUSTER_LAST = frozenset([Phase.DROP_ROLE, Phase.SETTING])


@dataclass(frozen=True)
class Step:
    """One statement, or what a person has to do (``by_hand``)."""

    phase: Phase
    text: str
    by_hand: bool = False
    loses: bool = False
    """Data would be gone: it is run only if that is allowed."""
    alone: bool = False
    """It cannot stand in a transaction."""
    note: str = ""
    database: str = ""
    about: str = ""
    """What it makes or drops, as definitions name it, if that is not the difference's object."""


@dataclass(frozen=True)
class World:
    """What the writers of steps know beside the difference itself."""

    desired: Whole
    observed: Whole
    dropped: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By database: tables, functions and so on that the plan drops, with all that hangs on them."""
    perhaps: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """By database and table: what is said beside its drop, because it may have been renamed."""
    past: Past = NO_PAST

    def facts(self, kind: CatalogKind, database: str = "") -> Facts:
        return self.observed.get((kind, database), {})

    def is_role(self, name: str) -> bool:
        return any(name in side.get((CatalogKind.ROLE, ""), {}) for side in (
            self.desired, self.observed
        ))  # fmt: skip


Writer = Callable[[Difference, World, str], Iterator[Step]]
"""(difference, world, database) -> steps. May raise NotSqlError."""


def by_hand(phase: Phase, text: str, about: str = "") -> Step:
    return Step(phase, text, by_hand=True, about=about)
