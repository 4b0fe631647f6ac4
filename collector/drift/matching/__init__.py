"""How well a statement explains a difference: a file for each family of kinds. Pure."""

from __future__ import annotations

from dataclasses import replace

from collector.drift.changes import Change
from collector.drift.matching import catalogs, cluster, moved, objects, privileges, rows
from collector.drift.matching.impossible import unless_impossible
from collector.drift.matching.target import Match, Target, target_of
from model.catalog import OBJECT_KINDS, CatalogKind


def _or_with_its_database(match: Match) -> Match:
    """What lies in a database goes with it, too: DROP DATABASE runs in another one."""

    def matches(change: Change, target: Target) -> int:
        return max(match(change, target), cluster.with_its_database(change, target))

    return matches


def _or_by_hand(match: Match) -> Match:
    """Whoever may write to the system's own tables needs no command."""

    def matches(change: Change, target: Target) -> int:
        return max(match(change, target), catalogs.by_hand(change, target) if change.writes else 0)

    return matches


def _there(one: Change, database: str) -> Change:
    return one if one.database == database else replace(one, database=database)


def _one_by_one(match: Match) -> Match:
    """Each GRANT of a text of several counts with its own privileges, objects and grantees."""

    def matches(change: Change, target: Target) -> int:
        if not change.several:
            return match(change, target)
        return max(match(_there(one, change.database), target) for one in change.several)

    return matches


_OWN: dict[CatalogKind, Match] = {
    # hba and ident are files: nothing on the wire writes them.
    CatalogKind.SETTING: cluster.setting,
    CatalogKind.ROLE: cluster.role,
    CatalogKind.MEMBERSHIP: _one_by_one(cluster.membership),
    CatalogKind.DATABASE: cluster.database,
    CatalogKind.TABLESPACE: cluster.tablespace,
    CatalogKind.PRIVILEGE: _or_with_its_database(_one_by_one(privileges.privilege)),
    **dict.fromkeys(OBJECT_KINDS, _or_with_its_database(objects.object_of_database)),
}
MATCHES: dict[CatalogKind, Match] = {
    **{
        kind: moved.unless_moved(_or_by_hand(unless_impossible(match)))
        for kind, match in _OWN.items()
    },
    CatalogKind.SLOT: cluster.slot,
    CatalogKind.WATCHED: _or_with_its_database(rows.watched),
}

__all__ = ["MATCHES", "Match", "Target", "target_of"]
