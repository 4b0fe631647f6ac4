"""A difference, taken apart once for all the statements that it is held against."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from collector.drift import wording
from collector.drift.baseline import Difference, Scope
from collector.drift.changes import Change
from collector.drift.wording import Rename
from model.catalog import OBJECT_KINDS, CatalogKind, DriftChange

EXACT = 40
"""The statement is about this object, by its full name."""
NAMED = 35
"""It is about an object of this name, in a schema that it does not say."""
CAUSED = 25
"""It is about something that this object goes with: its table, schema, owner."""
POSSIBLE = 10
"""It is of a sort that may have such consequences, in the same database."""
ANYWHERE = "*"
"""Key of statements whose consequences have other names than they do."""

RELATIONS = frozenset(("table", "view", "materialized view", "foreign table", "sequence", "index"))
ROUTINES = frozenset(("function", "procedure", "routine", "aggregate"))
_OWNED = frozenset((CatalogKind.DATABASE, CatalogKind.TABLESPACE)) | OBJECT_KINDS
_PARENTS = ("partition of", "owned by", "inherits")
_LEADING = ("owner", *_PARENTS, "function", "schema", "server", "tables")
MOST_KEYS = 200


class Way(NamedTuple):
    """A write to another table that writes the watched one, too."""

    table: tuple[str, ...]
    change: str
    """What becomes of the watched row."""
    verbs: frozenset[str]


@dataclass(frozen=True)
class Target:
    scope: Scope
    step: Difference
    """From what was seen before to what is seen now."""
    ways: tuple[Way, ...] = ()
    others: tuple[str, ...] = ()
    """What captured renames say that it was called before, or is called now."""
    moved: frozenset[str] | None = None
    """Which rights came from, or went to, one of ``others``; of an object none. None: not known."""

    @cached_property
    def parts(self) -> tuple[str, ...]:
        """``("hr", "salary", "only_own")``; of a privilege those of its object."""
        return wording.parts(self.object)

    @cached_property
    def object(self) -> str:
        """The name without what kind and grantee a privilege puts around it."""
        if self.scope.kind is CatalogKind.PRIVILEGE:
            return self.step.name.rpartition("<-")[0].partition(":")[2]
        return self.step.name

    @cached_property
    def before(self) -> Mapping[str, str]:
        return _lines(self.step.desired)

    @cached_property
    def after(self) -> Mapping[str, str]:
        return _lines(self.step.observed)

    @cached_property
    def changed(self) -> tuple[str, ...]:
        """Keys of the lines that differ."""
        both = {**self.before, **self.after}
        return tuple(key for key in both if self.before.get(key) != self.after.get(key))

    @cached_property
    def known(self) -> Mapping[str, str]:
        return self.after or self.before

    @property
    def added(self) -> bool:
        return self.step.change is DriftChange.ADDED

    @property
    def removed(self) -> bool:
        return self.step.change is DriftChange.REMOVED

    @cached_property
    def parent(self) -> tuple[str, ...]:
        """The table that it is a part or child of: a partition's, an owned sequence's."""
        text = next(filter(None, map(self.known.get, _PARENTS)), "")
        found = wording.parts(text.partition(" FOR ")[0].partition(" DEFAULT")[0].strip())
        return found[:2] if text else ()

    @cached_property
    def keys(self) -> frozenset[str]:
        """What a statement that did it may have said; see ``keys_of``."""
        found = {*self.parts, ANYWHERE}
        if self.removed and self.scope.database:
            found.add(self.scope.database)
        if self.scope.kind in (CatalogKind.PRIVILEGE, CatalogKind.MEMBERSHIP):
            group, _, member = self.step.name.rpartition("<-")
            found |= {_role(member), _role(group), *(_role(p) for p in self.parts)}
        if self.scope.kind is CatalogKind.PRIVILEGE and self.object.count(" "):
            found |= {*self.object.split()}  # default privileges: tables of bob in hr
        if self.scope.kind is CatalogKind.SETTING:
            name, _, about = self.step.name.partition("@")
            found |= {name.lower(), "all", *map(_role, about.split("/")), *about.split("/")}
        if self.scope.kind is CatalogKind.ROLE:
            found.add(_role(self.step.name))
        if self.scope.kind in (CatalogKind.SLOT, CatalogKind.WATCHED, CatalogKind.USER_MAPPING):
            found |= {*wording.tokens(self.step.name), *wording.tokens(self.step.details[1])}
            found |= {self.step.name.rpartition("<-")[2]}
            found |= {way.table[-1] for way in self.ways}
        if self.object.startswith("wrapper "):
            found |= {*wording.parts(self.object.partition(" ")[2])}
        if self.scope.kind is CatalogKind.SCHEMA:
            found.add(_in_system(self.step.name))
        if self.scope.kind in _OWNED:
            found |= self._keys_of_lines()
        stem = self.parts[-1] if self.parts else ""
        if stem.endswith("_seq"):  # of a serial column: t_id_seq
            words = stem.split("_")
            found |= {"_".join(words[:count]) for count in range(1, len(words) - 1)}
        return frozenset(found)

    def of_line(self, key: str) -> Target:
        """As if only this line differed."""
        lines = {name: text for name, text in self.before.items() if name != key}
        if key in self.after:
            lines[key] = self.after[key]
        observed = "\n".join(f"{name}: {text}" for name, text in lines.items())
        return Target(self.scope, self.step._replace(observed=observed), self.ways)

    def _keys_of_lines(self) -> set[str]:
        found: set[str] = set()
        for line in (self.before, self.after):
            if owner := line.get("owner"):
                found.add(_role(owner))
            for key in _LEADING:
                if key in line:
                    found |= {*wording.tokens(line[key])}
        for key in self.changed:
            found |= {*wording.tokens(f"{key} {self.before.get(key, '')}")}
            found |= {*wording.tokens(self.after.get(key, ""))}
            if len(found) > MOST_KEYS:
                break
        return found


Match = Callable[[Change, Target], int]
"""How well a statement explains a difference; 0: not at all."""


def target_of(scope: Scope, step: Difference) -> Target:
    return Target(scope, step)


def keys_of(change: Change) -> set[str]:
    """Under which a statement is found: bare names of what it is about."""
    names = [name for _, name in change.objects] + [*change.writes, *change.settings]
    found = {name.rpartition(".")[2] for name in names} | {*names}
    for rename in change.renames:
        found |= {rename.old.rpartition(".")[2], rename.new, rename.schema} - {""}
    about = change.types - {"role", "schema"}
    if not about or change.renames or "multi" in change.flags or change.contained:
        found |= {_role(name) for name in change.roles}
        found |= {_role("PUBLIC")} if "public" in change.flags else set()
    wide = change.flags & {"cascade"} or change.functions or "slot" in change.types
    if wide or "import" in change.verbs or "extension" in change.types:
        found.add(ANYWHERE)
    return found | _systems(change, names)


def _systems(change: Change, names: Iterable[str]) -> set[str]:
    """Schemas of the system that it may have written to: pg_catalog need not be said."""
    bare = any("." not in name for kind, name in change.objects if kind in ROUTINES)
    found = {"pg_catalog"} if bare or "pg_catalog" in change.said.lower() else set()
    found |= {name.partition(".")[0] for name in names} & {"information_schema"}
    return {_in_system(schema) for schema in found}


def _in_system(schema: str) -> str:
    return f"in:{schema}"


def _role(name: str) -> str:
    return f"role:{name}"


def _lines(value: str) -> dict[str, str]:
    """``owner: alice`` and the like, by key."""
    found = {}
    for line in value.splitlines():
        key, _, text = line.partition(": ")
        found[key] = text
    return found


def fits(said: str, parts: tuple[str, ...]) -> int:
    """How well a name in a statement is that of an object; 0: it is another one."""
    if not parts:
        return 0
    if said == ".".join(parts):
        return EXACT
    return NAMED if said == parts[-1] else 0


def about(change: Change, types: frozenset[str], parts: tuple[str, ...]) -> int:
    return max((fits(name, parts) for kind, name in change.objects if kind in types), default=0)


def renamed(change: Change, target: Target, parts: tuple[str, ...]) -> int:
    """It took this name away, or gave it."""
    return max((_renamed(rename, target, parts) for rename in change.renames), default=0)


def _renamed(rename: Rename, target: Target, parts: tuple[str, ...]) -> int:
    if not parts:
        return 0
    old, stem = fits(rename.old, parts), rename.old.rpartition(".")
    if rename.schema:
        arrived = parts[0] == rename.schema and parts[-1] == stem[2]
        return old if target.removed else EXACT if target.added and arrived else 0
    if target.removed:
        return old
    if not target.added:
        return 0
    # Redaction hides new names that do not look like names.
    if rename.new not in (parts[-1], "?"):
        return 0
    if stem[0] and stem[0] != ".".join(parts[:-1]):
        return 0
    return (EXACT if stem[0] else NAMED) if rename.new == parts[-1] else POSSIBLE
