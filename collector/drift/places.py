"""Under which name a database was known when: databases change their names, and change places."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from collector.drift.changes import Change


class Place(NamedTuple):
    """The database had this name from one moment to another, Unix microseconds."""

    database: str
    from_us: float
    until_us: float


class Renaming(NamedTuple):
    """Seen between two looks, at ``since_us`` and at ``at_us``."""

    former: str
    since_us: int
    at_us: int


def places(name: str, seen: Renaming, renames: Iterable[Change]) -> tuple[Place, ...]:
    """Of the database that is called ``name`` now, the latest first. ``renames``: captured ones of
    its server; where they do not lead from one name to the other, all that is known is between
    which looks it was. A database that is renamed has no sessions: nothing runs under both names.
    """
    found, at, until_us = [], name, math.inf
    for ended_us, old, new in sorted(_between(seen, renames), reverse=True):
        if new == at:
            found.append(Place(at, ended_us, until_us))
            at, until_us = old, ended_us
    if at != seen.former:
        return (Place(name, seen.since_us, math.inf), Place(seen.former, 0, seen.at_us))
    return (*found, Place(at, 0, until_us))


def as_if_here(changes: Iterable[Change], known: Sequence[Place]) -> Iterator[Change]:
    """What ran in this database, under whichever name, as if it had its present one by then."""
    here = known[0].database
    names = {place.database for place in known}
    for change in changes:
        if change.database not in names:
            yield change
        elif any(p.database == change.database and _was(p, change) for p in known):
            yield replace(change, database=here)


def _was(place: Place, change: Change) -> bool:
    return place.from_us <= change.at_us < place.until_us


def _between(seen: Renaming, renames: Iterable[Change]) -> Iterator[tuple[int, str, str]]:
    for change in renames:
        ended_us = change.effect.committed_us or change.at_us
        if change.effect.undone or not seen.since_us <= ended_us <= seen.at_us:
            continue
        for rename in change.renames:
            yield ended_us, rename.old, rename.new
