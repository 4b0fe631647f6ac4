"""Grants: by GRANT and REVOKE, by default privileges, and with the object or role they are for."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from collector.drift import wording
from collector.drift.called import default_of
from collector.drift.changes import UNLINKING, Change
from collector.drift.lines import REVOKED, granted_to
from collector.drift.matching import objects
from collector.drift.matching.cluster import names_role, renamed_role
from collector.drift.matching.signatures import grants_another
from collector.drift.matching.target import (
    CAUSED,
    NAMED,
    POSSIBLE,
    RELATIONS,
    Target,
    about,
    fits,
    renamed,
)
from model.catalog import CatalogKind

_RELATIONS = RELATIONS | {"column"}
_ROUTINES = frozenset(("function", "procedure", "routine", "aggregate"))
TYPES: dict[str, frozenset[str]] = {
    "table": _RELATIONS,
    "column": _RELATIONS,
    "sequence": _RELATIONS,
    "function": _ROUTINES,
    "procedure": _ROUTINES,
    "type": frozenset(("type", "domain")),
    "foreign_server": frozenset(("foreign server",)),
    "foreign_data_wrapper": frozenset(("fdw", "foreign data wrapper")),
    "parameter": frozenset(("parameter acl",)),
    "large_object": frozenset(("largeobject",)),
}
"""What statements call the types of objects in a privilege's name; others go by their own."""
KINDS = {
    "table": CatalogKind.TABLE,
    "column": CatalogKind.TABLE,
    "sequence": CatalogKind.SEQUENCE,
    "function": CatalogKind.FUNCTION,
    "procedure": CatalogKind.FUNCTION,
    "schema": CatalogKind.SCHEMA,
    "type": CatalogKind.TYPE,
    "language": CatalogKind.LANGUAGE,
    "foreign_server": CatalogKind.FOREIGN_SERVER,
}


def privilege(change: Change, target: Target) -> int:
    name, grantee = granted_to(target.step.name)
    kind = name.partition(":")[0]
    if kind == "large_object":
        return _on_large_object(change, target, grantee)
    if target.scope.database and change.database != target.scope.database:
        return 0
    if kind == "default":
        own = max(_default(change, target, grantee), _of_role(change, target, grantee))
        return max(own, _default_renamed(change, target))
    parts = target.parts[:-1] if kind == "column" else target.parts
    return max(
        _granted(change, target, kind, parts, grantee),
        _with_object(change, target, kind, parts),
        _of_role(change, target, grantee),
    )


def _granted(
    change: Change, target: Target, kind: str, parts: tuple[str, ...], grantee: str
) -> int:
    if not change.verbs & {"grant", "revoke"} or _is_default(change):
        return 0
    named = about(change, _types(kind), parts)
    if not named and kind not in ("schema", "database") and ("schema", parts[0]) in change.objects:
        vague = change.contained or change.on_all is None
        named = NAMED if change.on_all else CAUSED - 5 if vague else 0
    if not named or not _right_way(change, target) or grants_another(change, target):
        return 0
    if names_role(change, grantee):
        return named
    if not change.roles and not change.flags & {"public"}:
        return min(named, CAUSED)  # it names more than was noted
    return CAUSED - 5 if "cascade" in change.flags and "revoke" in change.verbs else 0


def _on_large_object(change: Change, target: Target, grantee: str) -> int:
    """Its number is redacted: it may be any."""
    if change.database != target.scope.database:
        return 0
    if change.functions & UNLINKING:
        return POSSIBLE if target.removed else 0
    words = wording.tokens(change.said)
    said = any(pair == ("large", "object") for pair in pairwise(words))
    unsaid = not change.objects and change.said == change.summary
    if not change.verbs & {"grant", "revoke"} or not (said or unsaid):
        return _of_role(change, target, grantee)
    fits = names_role(change, grantee) and _right_way(change, target)
    return POSSIBLE + 5 * said if fits else 0


def _right_way(change: Change, target: Target) -> bool:
    """A GRANT gives and a REVOKE takes, and only what they name."""
    before, after = ({*value.split(", ")} - {""} for value in (
        target.step.desired, target.step.observed
    ))  # fmt: skip
    won, lost = after - before, before - after
    if REVOKED in won or REVOKED in lost:
        won, lost = lost, won
    if {"grant", "revoke"} <= change.verbs:
        return True
    # Without its right to grant on, a privilege is listed by its plain name: SELECT* became SELECT.
    moved = won if "grant" in change.verbs else lost
    if not moved:
        return False
    plain = {word.rstrip("*") for word in moved} - {REVOKED}
    named = change.privileges
    return not plain or not named or "ALL" in named or bool(plain & named)


def _is_default(change: Change) -> bool:
    return change.heading == "alter default privileges" or change.summary.upper().startswith(
        "ALTER DEFAULT PRIVILEGES"
    )


def _default(change: Change, target: Target, grantee: str) -> int:
    """``tables of bob in hr``"""
    if not _is_default(change) or not names_role(change, grantee):
        return 0
    words = target.object.split()
    maker = words[2] if words[1:2] == ["of"] and len(words) > 2 else ""
    schema = target.object.partition(" in ")[2].strip('"')
    said = {name for kind, name in change.objects if kind == "schema"}
    # Without IN SCHEMA it is about all schemas at once, which is an item of its own.
    elsewhere = schema not in said if said or _is_plain(change) else False
    if (schema != "" and elsewhere) or (schema == "" and said):
        return 0
    said_whose = {"role", "user"} & {*wording.tokens(change.said)[:5]}
    if maker and maker not in change.roles | (set() if said_whose else {change.user}):
        return POSSIBLE
    return NAMED if _right_way(change, target) else 0


def _is_plain(change: Change) -> bool:
    return bool(change.text) and "multi" not in change.flags and not change.contained


def _default_renamed(change: Change, target: Target) -> int:
    """They go by the names of the role that makes the objects, and of the schema."""
    _, maker, schema = default_of(target.object)
    if renamed_role(change, target, maker):
        return NAMED
    place = wording.parts(schema)
    of_schema = bool(place) and "schema" in change.types and renamed(change, target, place)
    return NAMED if of_schema else 0


def _with_object(change: Change, target: Target, kind: str, parts: tuple[str, ...]) -> int:
    """It came with its object by default privileges, and goes with it or to another owner."""
    if kind == "database":
        said = max((fits(n, parts) for k, n in change.objects if k == "database"), default=0)
        given = "database" in change.types and renamed(change, target, parts)
        owns = _may_set_owner(change) and granted_to(target.step.name)[1] != "PUBLIC"
        does = given or change.verbs & {"create", "drop"} or owns
        if (said or given) and does and not change.verbs & {"grant", "revoke"}:
            return CAUSED
        return 0
    if change.verbs & {"grant", "revoke"} and not change.verbs & _OBJECT_VERBS:
        return 0
    came_along = _with_owner(change, kind, parts) if change.contained or _loses(target) else 0
    return max(_made_or_dropped(change, target, kind), came_along)


def _made_or_dropped(change: Change, target: Target, kind: str) -> int:
    of_kind = KINDS.get(kind)
    if of_kind is None:
        return 0
    step = target.step._replace(
        name=target.object.rpartition(".")[0] if kind == "column" else target.object,
        desired="",
        observed="",
    )
    found = objects.object_of_database(
        change, replace(target, scope=target.scope._replace(kind=of_kind), step=step)
    )
    return max(POSSIBLE, found - 10) if found else 0


def _with_owner(change: Change, kind: str, parts: tuple[str, ...]) -> int:
    """What the old owner may is the new one's: ALTER ... OWNER TO names neither privilege."""
    if not change.verbs & {"alter", "reassign"}:
        return 0
    types = _types(kind)
    # Of a table any ALTER takes privileges along: on columns that it drops.
    if types is not _RELATIONS and not _may_set_owner(change):
        return 0
    return POSSIBLE if about(change, types, parts) else 0


def _loses(target: Target) -> bool:
    """Only: with an object that is another role's nobody gets a right that is told."""
    before, after = ({*value.replace("*", "").split(", ")} - {"", REVOKED} for value in (
        target.step.desired, target.step.observed
    ))  # fmt: skip
    return after < before


def _may_set_owner(change: Change) -> bool:
    vague = change.contained or change.said == change.summary
    said = vague or "owner" in wording.tokens(change.said)
    return said and bool(change.verbs & {"alter", "reassign"})


def _types(kind: str) -> frozenset[str]:
    return TYPES.get(kind, frozenset((kind.replace("_", " "),)))


_OBJECT_VERBS = frozenset(("create", "alter", "drop"))


def _of_role(change: Change, target: Target, grantee: str) -> int:
    """DROP OWNED takes what the role was granted; one that is renamed keeps it by its new name."""
    if renamed_role(change, target, grantee):
        return NAMED
    if grantee not in change.roles:
        return 0
    if change.drops_owned and target.removed:
        return CAUSED + 5
    if "reassign" in change.verbs:
        return POSSIBLE if _loses(target) else 0
    return POSSIBLE if "drop" in change.verbs and "role" in change.types and target.removed else 0
