"""Under which names the objects of a server were known before, by their numbers in the record.

A declared file holds no numbers, and needs none: what has the declared name no more, and is the
same object all the same, the record has seen under both names, one right after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

import duckdb

from collector.drift.baseline import Fact
from collector.drift.numbers import numbers_of, oid_of
from collector.drift.observed import PERIODS, has_periods
from model.catalog import CatalogKind

KINDS = (
    CatalogKind.TABLE, CatalogKind.POLICY, CatalogKind.TRIGGER, CatalogKind.SCHEMA,
    CatalogKind.SEQUENCE, CatalogKind.TYPE, CatalogKind.FUNCTION, CatalogKind.ROLE,
)  # fmt: skip
"""Of which a plan gives names back."""
Place = tuple[CatalogKind, str]
"""Kind and database."""
_QUERY = f"""
    SELECT kind, database, name, value, detail, valid_from, valid_to FROM {PERIODS}
    WHERE agent = ? AND cluster = ? AND kind IN (SELECT unnest(?)) AND known_to IS NULL
    QUALIFY count(*) OVER (PARTITION BY kind, database, regexp_extract(detail, '^oid \\d+')) > 1
        OR max(valid_to IS NULL) OVER (PARTITION BY kind, database, name) = false
    ORDER BY valid_from, valid_to NULLS LAST
"""


class Named(NamedTuple):
    """What an object was under a name."""

    name: str
    fact: Fact


class Period(NamedTuple):
    name: str
    fact: Fact
    valid_from: datetime
    valid_to: datetime | None


@dataclass(frozen=True)
class Past:
    """Empty: nothing is known, and nothing is proven."""

    names: Mapping[Place, Mapping[str, tuple[Named, ...]]] = field(default_factory=dict)
    """What each that is there was before, the newest first."""
    last: Mapping[Place, Mapping[str, str]] = field(default_factory=dict)
    """The numbers of those that are gone, by the name that they had last."""

    def of(self, kind: CatalogKind, database: str) -> Mapping[str, tuple[Named, ...]]:
        return self.names.get((kind, database), {})

    def named(self, database: str, now: Callable[[CatalogKind, str], str]) -> Past:
        """With what is there in ``database`` by the names that it has ``now``."""
        names = {
            (kind, where): {
                now(kind, own) if where == database else own: known for own, known in facts.items()
            }
            for (kind, where), facts in self.names.items()
        }
        return replace(self, names=names)

    def is_another(self, place: Place, gone: str, now: Fact) -> bool:
        """The numbers say that ``now`` is not the one that was called ``gone``."""
        known, number = self.last.get(place, {}).get(gone, ""), oid_of(now.detail)
        return bool(known and number) and known != number

    def is_another_column(self, database: str, table: str, gone: str, now: str, fact: Fact) -> bool:
        """As ``is_another``, of two columns of the table that ``fact`` tells of."""
        number = {own: number for number, own in numbers_of("column", fact).items()}.get(now)
        for known in self.of(CatalogKind.TABLE, database).get(table, ()):
            before = {own: n for n, own in numbers_of("column", known.fact).items()}
            if gone in before:
                return number is not None and before[gone] != number
        return False


NO_PAST = Past()


def read_past(connection: duckdb.DuckDBPyConnection, agent: str, cluster: str) -> Past:
    """Of one server. Nothing where the record is of an older release."""
    if not has_periods(connection):
        return NO_PAST
    rows = connection.execute(_QUERY, [agent, cluster, [*map(str, KINDS)]]).fetchall()
    found: dict[Place, list[Period]] = {}
    for kind, database, name, value, detail, valid_from, valid_to in rows:
        period = Period(name, Fact(value or "", detail or ""), valid_from, valid_to)
        found.setdefault((CatalogKind(kind), database or ""), []).append(period)
    return Past(
        {place: _names(periods) for place, periods in found.items()},
        {place: _last(periods) for place, periods in found.items()},
    )


def _names(periods: Iterable[Period]) -> dict[str, tuple[Named, ...]]:
    """Only what follows on each other without a gap is one object: its number may be given anew
    once it is gone."""
    lines: dict[str, list[Period]] = {}
    for period in periods:
        number = oid_of(period.fact.detail)
        line = lines.setdefault(number, [])
        if line and line[-1].valid_to != period.valid_from:
            line.clear()
        line.append(period)
    return {
        line[-1].name: tuple(Named(each.name, each.fact) for each in reversed(line[:-1]))
        for number, line in lines.items()
        if number and line[-1].valid_to is None and len(line) > 1
    }


def _last(periods: Iterable[Period]) -> dict[str, str]:
    found: dict[str, str] = {}
    for period in periods:
        found[period.name] = oid_of(period.fact.detail) if period.valid_to is not None else ""
    return {name: number for name, number in found.items() if number}
