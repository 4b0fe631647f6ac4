"""What was accepted of each server, what was last seen of it, and how the two differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from model.catalog import CatalogItem, CatalogKind, DriftChange, Snapshot

HBA_ORDER = "(order)"
ORDER_SEPARATOR = " > "


class Scope(NamedTuple):
    """The unit that is read, accepted and compared as a whole."""

    agent: str
    cluster: str
    kind: CatalogKind
    database: str
    """Empty for what belongs to the whole cluster."""


class Fact(NamedTuple):
    value: str
    detail: str
    """Where it comes from; never compared (a line that moved is no drift)."""


Facts = Mapping[str, Fact]


@dataclass
class Known:
    """One scope: ``accepted`` is None until somebody, or the first snapshot, set a baseline."""

    accepted: Facts | None
    observed: Facts = field(default_factory=dict)
    at_us: int = 0


class Difference(NamedTuple):
    name: str
    change: DriftChange
    desired: str
    observed: str
    details: tuple[str, str]
    """Where the value came from when it was accepted, and where it comes from now."""


def scopes(agent: str, snapshot: Snapshot) -> dict[Scope, Facts]:
    """The scopes that the snapshot covers in full, empty ones included.

    What belongs to the whole cluster is read together with the roles, from one database; a
    snapshot without roles covers its own database alone.
    """
    covered: dict[Scope, dict[str, Fact]] = {}
    for kind in snapshot.kinds:
        if kind is CatalogKind.PRIVILEGE:
            covered[Scope(agent, snapshot.cluster, kind, snapshot.database)] = {}
        if kind is not CatalogKind.PRIVILEGE or CatalogKind.ROLE in snapshot.kinds:
            covered[Scope(agent, snapshot.cluster, kind, "")] = {}
    for item in snapshot.items:
        facts = covered.get(Scope(agent, snapshot.cluster, item.kind, item.database))
        if facts is not None:
            facts[item.name] = Fact(item.value, item.detail)
    return dict(covered)


def differences(accepted: Facts, observed: Facts) -> Iterator[Difference]:
    for name in sorted({*accepted, *observed}):
        old, new = accepted.get(name), observed.get(name)
        if old is not None and new is not None:
            if old.value == new.value or _same_order(name, old.value, new.value):
                continue
            change = DriftChange.CHANGED
        else:
            change = DriftChange.ADDED if old is None else DriftChange.REMOVED
        before, after = old or Fact("", ""), new or Fact("", "")
        details = (before.detail, after.detail)
        yield Difference(name, change, before.value, after.value, details)


def _same_order(name: str, old: str, new: str) -> bool:
    """Rules that came or went are differences of their own; here only the order of the rest."""
    if name != HBA_ORDER:
        return False
    before, after = old.split(ORDER_SEPARATOR), new.split(ORDER_SEPARATOR)
    common = {*before} & {*after}
    return [r for r in before if r in common] == [r for r in after if r in common]


def snapshots_of(rows: Iterable[Mapping[str, object]]) -> list[tuple[str, Snapshot]]:
    """(agent, snapshot) from rows of view ``catalog`` (``occurred_at`` as Unix microseconds).

    A kind with a row counts as read in full: no kind of a real server is empty.
    """
    groups: dict[tuple[str, str, int, str], list[CatalogItem]] = {}
    known = frozenset(map(str, CatalogKind))
    for row in rows:
        if row["kind"] not in known:
            continue
        item = CatalogItem(
            CatalogKind(str(row["kind"])),
            str(row["database"]),
            str(row["name"]),
            str(row["value"]),
            str(row["detail"]),
        )
        at_us = row["occurred_at"]
        assert isinstance(at_us, int)
        key = (str(row["agent"]), str(row["cluster"]), at_us, str(row["server_version"]))
        groups.setdefault(key, []).append(item)
    return [
        (
            agent,
            Snapshot(
                at_us=at_us,
                cluster=cluster,
                # The database's own items name it; a snapshot has them from one database only.
                database=max((item.database for item in items), default=""),
                kinds=tuple(sorted({item.kind for item in items})),
                items=tuple(items),
                server_version=version,
            ),
        )
        for (agent, cluster, at_us, version), items in sorted(groups.items())
    ]
