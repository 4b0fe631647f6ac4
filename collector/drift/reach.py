"""What a change of memberships, roles or grants let somebody do: consequences in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from analytics.drift.effective import Access, Numbering, Reach, access_of, gained, revised
from collector.drift.baseline import Known, Scope
from collector.drift.state import OpenDrift
from model.catalog import CatalogItem, CatalogKind, DriftChange

POWER = frozenset((CatalogKind.ROLE, CatalogKind.MEMBERSHIP, CatalogKind.PRIVILEGE))
"""Kinds whose change lets somebody do something."""
SAID_ROLES = 2
MOST_SENTENCES = 50
_VERBS = {
    "SELECT": "read", "INSERT": "add to", "UPDATE": "change", "DELETE": "delete from",
    "TRUNCATE": "empty", "EXECUTE": "run", "USAGE": "use", "CREATE": "create in",
}  # fmt: skip


class Consequences:
    """Remembers the facts of each database until it is read again."""

    def __init__(self) -> None:
        self._facts: dict[tuple[str, str, str], tuple[object, Access]] = {}

    def of(self, known: Mapping[Scope, Known], drifts: Sequence[OpenDrift]) -> tuple[str, ...]:
        """``14 roles read hr.*``: what these differences together give to roles.

        The facts before are those of now with these differences undone; what is only given to
        whom the grant names is left out, for the difference says it already.
        """
        power = [drift for drift in drifts if drift.scope.kind in POWER]
        if not power:
            return ()
        found: list[tuple[Reach, str]] = []
        databases = _databases(known, power)
        for database in databases:
            now = self._now(known, power[0].scope, database)
            then = _undone(now, [d for d in power if d.scope.database in ("", database)])
            almighty = {name for name, role in now.roles.items() if role.superuser}
            found += [(reach, database) for reach in _of_most(gained(then, now), almighty)]
        named = {drift.difference.name.rpartition("<-")[2] for drift in power}
        told = [each for each in found if {*each[0].roles} - named or each[0].count > 1]
        told.sort(key=lambda each: ("SELECT" not in each[0].privileges, -_pairs(each[0])))
        several = len({database for _, database in told}) > 1
        return tuple(
            f"{_said(reach)} in {database}" if several else _said(reach)
            for reach, database in told[:MOST_SENTENCES]
        )

    def _now(self, known: Mapping[Scope, Known], first: Scope, database: str) -> Access:
        scopes = [
            (scope, facts)
            for scope, facts in known.items()
            if (scope.agent, scope.cluster) == (first.agent, first.cluster)
            and scope.database in ("", database)
        ]
        moments = tuple((scope, facts.at_us, len(facts.observed)) for scope, facts in scopes)
        key = (first.agent, first.cluster, database)
        remembered = self._facts.get(key)
        if remembered is not None and remembered[0] == moments:
            return remembered[1]
        items = [*_items(scopes)]
        facts = access_of(items, database, _major(items), Numbering())
        self._facts[key] = (moments, facts)
        return facts


def _of_most(found: Iterable[Reach], almighty: set[str]) -> Iterator[Reach]:
    """Roles of the server itself say nothing to a person, and of a superuser all is said."""
    for reach in found:
        roles = (role for role in reach.roles if not role.startswith("pg_"))
        if kept := tuple(role for role in roles if role not in almighty):
            yield replace(reach, roles=kept)


def _pairs(reach: Reach) -> int:
    return len(reach.roles) * reach.count


def _databases(known: Mapping[Scope, Known], drifts: Sequence[OpenDrift]) -> list[str]:
    """Those of the differences; all where one is about the whole cluster."""
    first = drifts[0].scope
    mine = {drift.scope.database for drift in drifts}
    if "" not in mine:
        return sorted(mine)
    of_cluster = (s for s in known if (s.agent, s.cluster) == (first.agent, first.cluster))
    return sorted({scope.database for scope in of_cluster} - {""}) or [""]


def _items(scopes: Iterable[tuple[Scope, Known]]) -> Iterator[CatalogItem]:
    for scope, facts in scopes:
        for name, fact in facts.observed.items():
            yield CatalogItem(scope.kind, scope.database, name, fact.value, fact.detail)


def _undone(now: Access, drifts: Sequence[OpenDrift]) -> Access:
    gone, back = [], []
    for scope, difference in ((drift.scope, drift.difference) for drift in drifts):
        what = (scope.kind, scope.database, difference.name)
        before, after = difference.details
        if difference.change is not DriftChange.REMOVED:
            gone.append(CatalogItem(*what, difference.observed, after))
        if difference.change is not DriftChange.ADDED:
            back.append(CatalogItem(*what, difference.desired, before))
    return revised(now, gone, back)


def _major(items: Iterable[CatalogItem]) -> int:
    """From the setting that every server has; the newest rules where it is not known."""
    for item in items:
        if item.kind is CatalogKind.SETTING and item.name == "server_version_num":
            return int(item.value) // 10_000 if item.value.isdigit() else 18
    return 18


def _said(reach: Reach) -> str:
    return f"{_who(reach.roles)} {_does(reach.privileges)} {_what(reach.objects)}"


def _who(roles: tuple[str, ...]) -> str:
    if len(roles) <= SAID_ROLES:
        return " and ".join(roles)
    return f"{len(roles)} roles"


def _does(privileges: tuple[str, ...]) -> str:
    words = [_VERBS.get(privilege, privilege) for privilege in privileges]
    if len(words) == len({"SELECT", "INSERT", "UPDATE", "DELETE"} & {*privileges}) == 4:
        return "read and write"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _what(objects: tuple[str, ...]) -> str:
    names = [name.partition(":")[2] for name in objects]
    if len(names) == 1:
        return names[0]
    schemas = {name.partition(".")[0] for name in names if "." in name}
    if len(schemas) == 1:
        return f"{schemas.pop()}.* ({len(names)} objects)"
    return f"{len(names)} objects in {len(schemas)} schemas" if schemas else f"{len(names)} objects"
