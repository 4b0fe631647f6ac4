"""Casts, and what a schema has lines for: collations, operator classes and so on."""

from __future__ import annotations

from collector.drift import wording
from collector.drift.changes import Change
from collector.drift.matching.owners import reassigned
from collector.drift.matching.target import NAMED, Target, fits, owner_in
from collector.drift.wording import Rename
from model.catalog import CatalogKind

TYPES: dict[str, frozenset[str]] = {
    "collation": frozenset(("collation",)),
    "conversion": frozenset(("conversion",)),
    "operator class": frozenset(("operator class", "opclass")),
    # CREATE OPERATOR CLASS makes a family of its name where none is said.
    "operator family": frozenset(("operator family", "opfamily", "operator class", "opclass")),
    "text search configuration": frozenset(("tsconfiguration",)),
    "text search dictionary": frozenset(("tsdictionary",)),
    "text search parser": frozenset(("tsparser",)),
    "text search template": frozenset(("tstemplate",)),
}
"""Beginnings of lines, and what statements call what they tell of."""
_OF_METHOD = frozenset(("opclass", "opfamily"))
"""Statements say their access method before their name: ``btree.hr.ops``."""
_AS = " AS "


def cast(change: Change, target: Target) -> int:
    """There is no ALTER CAST."""
    made = ("drop" if target.removed else "create") in change.verbs
    moved = "extension" in change.types and "alter" in change.verbs
    if not (made or moved):
        return 0
    said = (name for kind, name in change.objects if kind == "cast")
    return max((_same_cast(each, target.object) for each in said), default=0)


def _same_cast(said: str, name: str) -> int:
    ends = list(zip(said.split(_AS), name.split(_AS), strict=False))
    if len(ends) != 2:
        return 0
    found = [fits(one.removesuffix("[]"), wording.parts(other)) for one, other in ends]
    same_arrays = all(one.endswith("[]") == other.endswith("[]") for one, other in ends)
    return min(found) if same_arrays else 0


def line_of_schema(change: Change, target: Target) -> int:
    if target.scope.kind is not CatalogKind.SCHEMA or target.added or target.removed:
        return 0
    return max((_line(change, target, key) for key in target.changed), default=0)


def _line(change: Change, target: Target, key: str) -> int:
    begin = next((word for word in TYPES if key.startswith(f"{word} ")), None)
    if begin is None:
        return 0
    owners = {owner_in(side.get(key, "")) for side in (target.before, target.after)}
    if "reassign" in change.verbs:
        old, new = (owner_in(side.get(key, "")) for side in (target.before, target.after))
        gives = any(old in olds and new in news for olds, news in reassigned(change, new))
        return NAMED if gives else 0
    if change.heading.startswith("drop owned"):
        return NAMED if owners - {""} <= change.roles | {change.user} else 0
    if not _can(change, target, key):
        return 0
    name = (*target.parts[:1], *wording.parts(_own_name(begin, key)))
    said = [_plain(kind, each) for kind, each in change.objects if kind in TYPES[begin]]
    said += [_new_name(rename) for rename in change.renames if said]
    return max((fits(each, name) for each in said), default=0)


def _new_name(rename: Rename) -> str:
    schema, _, stem = rename.old.rpartition(".")
    parts = (rename.schema or schema, rename.new or stem)
    return ".".join(filter(None, parts))


def _own_name(begin: str, key: str) -> str:
    """``ops`` of ``operator class ops of btree``"""
    name = key.removeprefix(begin).strip()
    return name.rpartition(" of ")[0] if begin.startswith("operator ") else name


def _can(change: Change, target: Target, key: str) -> bool:
    moved = bool(change.renames) or "extension" in change.types
    if key not in target.before:
        return "create" in change.verbs or (moved and "alter" in change.verbs)
    if key not in target.after:
        return "drop" in change.verbs or (moved and "alter" in change.verbs)
    return "alter" in change.verbs or {"create", "drop"} <= change.verbs


def _plain(kind: str, said: str) -> str:
    return said.partition(".")[2] if kind in _OF_METHOD else said
