"""Facts from the record or from declarations, by the name that a person gives them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.context import Exit, err, fail, printable
from cli.drift.shown import listed
from config import Config

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from collector.drift.baseline import Facts, Scope
    from collector.drift.declaration import Declaration
    from collector.drift.observed import Whole
    from model.catalog import CatalogKind

DECLARATIONS = (".yaml", ".yml")
DATABASE_OF_FILE = "#"


@dataclass(frozen=True)
class Place:
    """One server of the record; ``database`` None: all of them."""

    agent: str
    cluster: str
    database: str | None

    def __str__(self) -> str:
        return "/".join(word for word in (self.agent, self.cluster, self.database) if word)


@contextmanager
def record(config: Config) -> Iterator[DuckDBPyConnection]:
    """The views; the command ends where there is no record yet."""
    data_dir = config.collector.data_dir
    if not data_dir.is_dir():
        fail(f"{data_dir} does not exist: has the collector run? see collector.data_dir")
    from collector.views import open_views

    with open_views(data_dir) as views:
        yield views


def facts(config: Config, at: datetime | None = None) -> dict[Scope, Facts]:
    from collector.drift.observed import read

    with record(config) as views:
        return read(views, at=at)


def choose(known: dict[Scope, Facts], name: str, database: str = "") -> Place:
    """The server (and database) that ``name`` means; empty: the only one there is.

    ``agent/cluster/database`` and each end of it that means just one place will do.
    """
    from collector.drift.observed import servers

    places = []
    for (agent, cluster), databases in servers(known).items():
        places.append(Place(agent, cluster, None))
        places += [Place(agent, cluster, each) for each in databases]
    whole = [place for place in places if place.database is None]
    if not whole:
        fail("no snapshot in the record yet: an agent with access to the catalog must be connected")
    if not name:
        if len(whole) > 1:
            fail(f"which server? There are {listed(map(str, whole))}", Exit.USAGE)
        return _with_database(whole[0], places, database)
    found = [place for place in places if str(place) == name] or [
        place for place in places if name in _short_names(place)
    ]
    if len(found) != 1:
        what = "could be" if found else "is not known; there are"
        fail(f"{printable(name)} {what} {listed(map(str, found or places))}", Exit.USAGE)
    return _with_database(found[0], places, database)


def _short_names(place: Place) -> set[str]:
    if place.database is None:
        return {place.agent, place.cluster}
    return {place.database, f"{place.cluster}/{place.database}"}


def _with_database(place: Place, places: list[Place], database: str) -> Place:
    if not database:
        return place
    wanted = Place(place.agent, place.cluster, database)
    if wanted not in places:
        there = [each.database or "" for each in places if each.database]
        fail(
            f"no snapshot of database {printable(database)}; there are {listed(there)}", Exit.USAGE
        )
    return wanted


def at_place(known: dict[Scope, Facts], place: Place) -> Whole:
    from collector.drift.observed import whole

    found = whole(known, place.agent, place.cluster)
    return {
        (kind, database): items
        for (kind, database), items in found.items()
        if place.database is None or database in ("", place.database)
    }


def declaration(path: Path) -> Declaration:
    """Read, or exit 78 with every mistake and its line."""
    from collector.drift.declaration import DeclarationError, read_declaration

    try:
        return read_declaration(path)
    except DeclarationError as error:
        for problem in error.problems:
            err.print(f"✗ {printable(problem)}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(Exit.CONFIGURATION) from None


def is_file(name: str) -> bool:
    path = name.partition(DATABASE_OF_FILE)[0]
    return path.endswith(DECLARATIONS) or Path(path).is_file()


def kinds_of(text: str) -> frozenset[CatalogKind]:
    """``table, policy``; empty: all."""
    from model.catalog import CatalogKind

    names = [word.strip() for word in text.split(",") if word.strip()]
    unknown = [word for word in names if word not in map(str, CatalogKind)]
    if unknown:
        close = get_close_matches(unknown[0], map(str, CatalogKind), 1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(CatalogKind)}"
        fail(f"unknown kind {listed(unknown)}; {hint}", Exit.USAGE)
    return frozenset(map(CatalogKind, names))


def moment(text: str) -> datetime | None:
    """ISO 8601, in UTC where it has no zone; as the record keeps it."""
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        fail(f"{printable(text)} is not a time; write 2026-03-03 or 2026-03-03T14:02", Exit.USAGE)
    return at if at.tzinfo is None else at.astimezone(UTC).replace(tzinfo=None)
