"""What a change of memberships, roles or grants let somebody do: consequences in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from analytics.drift.effective import Access, Numbering, Reach, access_of, gained, revised
from collector.drift.baseline import Difference, Known, Scope
from collector.drift.lines import attributes, granted_to, lines_of
from collector.drift.renamed import has_another_name_alone
from collector.drift.state import OpenDrift
from model.catalog import CatalogItem, CatalogKind, DriftChange

POWER = frozenset((CatalogKind.ROLE, CatalogKind.MEMBERSHIP, CatalogKind.PRIVILEGE))
"""Kinds whose change lets somebody do something."""
OWNED = frozenset(
    (
        CatalogKind.TABLE, CatalogKind.SEQUENCE, CatalogKind.SCHEMA, CatalogKind.FUNCTION,
        CatalogKind.TYPE, CatalogKind.DATABASE,
    )
)  # fmt: skip
"""Kinds of which another owner does."""
ALL = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
"""Of a table."""
SAID_ROLES = 2
MOST_SENTENCES = 50
_VERBS = {
    "SELECT": "read", "INSERT": "add to", "UPDATE": "change", "DELETE": "delete from",
    "TRUNCATE": "empty", "EXECUTE": "run", "USAGE": "use", "CREATE": "create in",
    "CONNECT": "connect to", "TEMPORARY": "make temporary tables in", "SET": "set",
    "REFERENCES": "refer to", "TRIGGER": "put triggers on", "MAINTAIN": "maintain",
    "ALTER SYSTEM": "set for all",
}  # fmt: skip
_OF_CLUSTER = ("database:", "tablespace:", "parameter:")
_CALLED_BY_TYPE = (*_OF_CLUSTER, "language:", "foreign_server:", "foreign_data_wrapper:", "schema:")


class Consequences:
    """Remembers the facts of each database until it is read again."""

    def __init__(self) -> None:
        self._facts: dict[tuple[str, str, str], tuple[object, Access]] = {}

    def of(self, known: Mapping[Scope, Known], drifts: Sequence[OpenDrift]) -> tuple[str, ...]:
        """``14 roles read hr.*``: what these differences together give to roles.

        The facts before are those of now with these differences undone; what is only given to
        whom the grant names is left out, for the difference says it already.
        """
        power = [drift for drift in drifts if drift.scope.kind in POWER or _has_other_owner(drift)]
        power = [drift for drift in power if not has_another_name_alone(drift)]
        if not power:
            return ()
        found: list[tuple[Reach, str, Access]] = []
        databases = _databases(known, power)
        for database in databases:
            now = self._now(known, power[0].scope, database)
            then = _undone(now, [d for d in power if d.scope.database in ("", database)])
            almighty = {name for name, role in now.roles.items() if role.superuser}
            found += [(reach, database, now) for reach in _of_most(gained(then, now), almighty)]
        grants = (drift for drift in power if drift.scope.kind is CatalogKind.PRIVILEGE)
        named = {granted_to(drift.difference.name)[1] for drift in grants}
        told = [each for each in found if {*each[0].roles} - named or each[0].count > 1]
        told.sort(key=lambda each: ("SELECT" not in each[0].privileges, -_pairs(each[0])))
        several = len({database for _, database, _ in told}) > 1
        sentences = (
            _said(reach, now) + (f" in {database}" if several and _is_inside(reach) else "")
            for reach, database, now in told[:MOST_SENTENCES]
        )
        return (*_almighty(power), *dict.fromkeys(sentences))

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


def _has_other_owner(drift: OpenDrift) -> bool:
    difference = drift.difference
    if drift.scope.kind not in OWNED or difference.change is not DriftChange.CHANGED:
        return False
    before, after = lines_of(difference.desired), lines_of(difference.observed)
    return before.get("owner") != after.get("owner")


def _almighty(drifts: Sequence[OpenDrift]) -> Iterator[str]:
    roles = (drift.difference for drift in drifts if drift.scope.kind is CatalogKind.ROLE)
    if new := tuple(sorted(role.name for role in roles if _became_superuser(role))):
        yield f"{_who(new)} do everything"


def _became_superuser(role: Difference) -> bool:
    before, after = attributes(role.desired), attributes(role.observed)
    return after.get("superuser") == "true" != before.get("superuser")


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


def _said(reach: Reach, now: Access) -> str:
    does = "do everything with" if _is_all(reach, now) else _does(reach.privileges)
    return f"{_who(reach.roles)} {does} {_what(reach.objects)}"


def _is_all(reach: Reach, now: Access) -> bool:
    """As an owner may, with what they could do before."""
    if not {"REFERENCES", "TRIGGER"} & {*reach.privileges}:
        return False
    held = [now.effective(role).get(privilege, 0) for role in reach.roles for privilege in ALL]
    return all(reach.bits & ~bits == 0 for bits in held)


def _who(roles: tuple[str, ...]) -> str:
    if len(roles) <= SAID_ROLES:
        return " and ".join(roles)
    return f"{len(roles)} roles"


def _does(privileges: tuple[str, ...]) -> str:
    words = [_VERBS.get(privilege, privilege) for privilege in privileges]
    if len(words) == len({"SELECT", "INSERT", "UPDATE", "DELETE"} & {*privileges}) == 4:
        return "read and write"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _is_inside(reach: Reach) -> bool:
    """Of one database, and not of the cluster, which each of them shows."""
    return not all(name.startswith(_OF_CLUSTER) for name in reach.objects)


def _what(objects: tuple[str, ...]) -> str:
    names = [name.partition(":")[2] for name in objects]
    if len(names) == 1:
        word = objects[0].partition(":")[0].replace("_", " ")
        return f"{word} {names[0]}" if objects[0].startswith(_CALLED_BY_TYPE) else names[0]
    schemas = {name.partition(".")[0] for name in names if "." in name}
    if len(schemas) == 1:
        return f"{schemas.pop()}.* ({len(names)} objects)"
    return f"{len(names)} objects in {len(schemas)} schemas" if schemas else f"{len(names)} objects"
