"""Prepared transactions, and which of them COMMIT PREPARED and ROLLBACK PREPARED end.

Their name is a literal and stays on the host; a hash of it is at both ends, among the objects of
the statements (agent/shown.py). Where an end has none (an older agent, a name in other quotes) it
is concluded from who prepared and who ends: PostgreSQL lets only the same user end one, or a
superuser, and only in the same database.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from collector.drift.changes import Backend, Effect, backend_of, ended_us

MOST_PLACES = 1_000
MOST_PREPARED = 1_000
"""In one database; PostgreSQL itself holds as many as ``max_prepared_transactions``."""
OBJECT = "prepared transaction:"
_SESSION, _USER, _ANYBODY = 3, 2, 1
"""How well who ends it fits who prepared it."""

Row = Mapping[str, Any]
Place = tuple[str, str, str]


@dataclass(slots=True)
class _Prepared:
    backend: Backend
    user: str
    effects: list[Effect]
    name: str = ""
    """Its hash; empty: not known."""
    ended_by: int = 0
    """How well the one who ended it fits; 0: it is not over."""

    def fits(self, row: Row) -> int:
        if self.backend == backend_of(row):
            return _SESSION
        return _USER if self.user == (row["user_name"] or "") else _ANYBODY


class TwoPhase:
    """By server and database, bounded."""

    def __init__(self) -> None:
        self._places: OrderedDict[Place, list[_Prepared]] = OrderedDict()

    def prepare(self, row: Row, effects: list[Effect]) -> None:
        """Also one without effects: what ends that one ends no other."""
        known = self._places.setdefault(_place_of(row), [])
        known.append(_Prepared(backend_of(row), row["user_name"] or "", effects, _name_of(row)))
        del known[:-MOST_PREPARED]
        self._places.move_to_end(_place_of(row))
        while len(self._places) > MOST_PLACES:
            self._places.popitem(last=False)

    def end(self, row: Row, *, committed: bool) -> None:
        """The one of that name. Where a name is not known, the oldest of those that fit best; one
        that is over already, where who ended it fits worse, was not meant by that one."""
        known = self._places.get(_place_of(row), [])
        if (name := _name_of(row)) and (named := [each for each in known if each.name == name]):
            known.remove(named[-1])
            end(named[-1].effects, committed=committed, at_us=ended_us(row))
            return
        fitting = [
            each for each in known if each.fits(row) > each.ended_by and not (name and each.name)
        ]
        if not fitting:
            return
        meant = max(fitting, key=lambda each: (each.fits(row), not each.ended_by))
        meant.ended_by = meant.fits(row)
        end(meant.effects, committed=committed, at_us=ended_us(row))
        if not meant.effects or meant.ended_by == _SESSION:
            known.remove(meant)


def end(effects: Iterable[Effect], *, committed: bool, at_us: int) -> None:
    for effect in effects:
        effect.committed_us, effect.undone = at_us, not committed


def _name_of(row: Row) -> str:
    found = (each for each in row["objects"] or () if each.startswith(OBJECT))
    return next((each.removeprefix(OBJECT) for each in found), "")


def _place_of(row: Row) -> Place:
    return row["agent"], row["cluster"], row["database"]
