"""A difference, taken apart once for all the statements that it is held against."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from collector.drift import ranges, wording
from collector.drift.baseline import Difference, Scope
from collector.drift.changes import SLOT_FUNCTIONS, UNLINKING, Change, Moment
from collector.drift.lines import ARROW, granted_to
from collector.drift.numbers import retyped_in, same_object
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

DROPPED_TYPE = "type:"
"""Key of DROP TYPE, which does not say what its multirange type was called."""
REASSIGNING = "reassign:"
"""Key of REASSIGN OWNED: one may give on what another gave, and names neither object nor owner."""

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
    by_trigger: bool = False
    """The code of a trigger names the watched table; whether it writes there, nobody knows."""


class Called(NamedTuple):
    """A name that a thing had, from one moment to another."""

    name: str
    since: Moment
    until: Moment


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
    came_as: tuple[Called, ...] = ()
    """Of a privilege: what the object that it is on now was called when."""
    went_as: tuple[Called, ...] = ()
    """And the one that had the name before."""
    names: tuple[Called, ...] = ()
    """Of an object of which no rename explains the difference: what it was called when."""
    renamer: Change | None = None
    """Of an object that has another name: who gave it, or took the former one."""
    is_elsewhere: bool = False
    """What had the name before was not dropped: it has another one now."""
    new_parts: tuple[tuple[str, str], ...] = ()
    """Lines of columns, constraints and indexes that are new, with a name that they had before."""

    owners: frozenset[str] = frozenset()
    """Whom captured statements gave it to between the looks, the last one or not."""

    @cached_property
    def parts(self) -> tuple[str, ...]:
        """``("hr", "salary", "only_own")``; of a privilege those of its object."""
        return wording.parts(self.object)

    @cached_property
    def object(self) -> str:
        """The name without what kind and grantee a privilege puts around it."""
        if self.scope.kind is CatalogKind.PRIVILEGE:
            return granted_to(self.step.name)[0].partition(":")[2]
        return self.step.name

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The names in its name."""
        kind, name = self.scope.kind, self.step.name
        if kind is CatalogKind.SETTING:
            return tuple(name.partition("@")[2].split("/"))
        if kind is CatalogKind.ROLE:
            return (name,)
        if kind is CatalogKind.MEMBERSHIP:
            return tuple(each for pair in self.roles for each in pair)
        who = self.roles[0][1:] if kind is CatalogKind.PRIVILEGE else ()
        return (*self.parts, *who)

    @cached_property
    def roles(self) -> tuple[tuple[str, str], ...]:
        """Of a membership the group and the member, of a privilege what is granted and to whom. A
        role's name may have the arrow that stands between them."""
        if self.scope.kind is CatalogKind.PRIVILEGE:
            return (granted_to(self.step.name),)
        words = self.step.name.split(ARROW)
        both = ((words[:at], words[at:]) for at in range(1, len(words)))
        return tuple((ARROW.join(group), ARROW.join(member)) for group, member in both)

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
    def replaced(self) -> bool:
        """The numbers say that another object has this name now."""
        changed = self.step.change is DriftChange.CHANGED
        return changed and same_object(*self.step.details) is False

    @cached_property
    def only_new_parts(self) -> bool:
        """A rename did nothing of it: what it gave another name was not there before."""
        new = {key for key, _ in self.new_parts}
        return bool(new) and new.issuperset(self.changed)

    @cached_property
    def retyped(self) -> bool:
        """A column or constraint has another name, and is otherwise than before besides."""
        return bool(retyped_in(self.step))

    @cached_property
    def keys(self) -> frozenset[str]:
        """What a statement that did it may have said; see ``keys_of``."""
        found = {*self.parts, ANYWHERE}
        if self.scope.database:
            found.add(self.scope.database)
        if self.scope.kind in (CatalogKind.PRIVILEGE, CatalogKind.MEMBERSHIP):
            found |= {_role(p) for p in self.parts}
            found |= {_role(each) for pair in self.roles for each in pair}
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
        if self.scope.kind is CatalogKind.CAST:
            found.add(cast_key(self.step.name))
            found |= {part for each in self.step.name.split(" AS ") for part in wording.parts(each)}
        if self.object.startswith("wrapper "):
            found |= {*wording.parts(self.object.partition(" ")[2])}
        if self.removed and ranges.is_constructor(self.step.name, self.known):
            found |= {DROPPED_TYPE, *wording.tokens(self.step.name)}
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
        return replace(self, step=self.step._replace(observed=observed))

    def _keys_of_lines(self) -> set[str]:
        found: set[str] = set()
        for line in (self.before, self.after):
            if owner := line.get("owner"):
                found.add(_role(owner))
            for key in _LEADING:
                if key in line:
                    found |= {*wording.tokens(line[key])}
        if "owner" in self.changed:
            found.add(REASSIGNING)
        for key in self.changed:
            owners = (owner_in(side.get(key, "")) for side in (self.before, self.after))
            found |= {_role(owner) for owner in owners if owner}
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
    found = {end for name in names for end in _ends_of(name)}
    found |= {cast_key(name) for kind, name in change.objects if kind == "cast"}
    for rename in change.renames:
        found |= {*_ends_of(rename.old), rename.new, rename.schema} - {""}
    about = change.types - {"role", "schema"}
    if not about or change.renames or "multi" in change.flags or change.contained:
        found |= {_role(name) for name in change.roles}
        found |= {_role("PUBLIC")} if "public" in change.flags else set()
    reaching = change.functions & (SLOT_FUNCTIONS | UNLINKING)
    wide = change.flags & {"cascade"} or reaching or "slot" in change.types
    wide = wide or (change.types == {"tablespace"} and change.heading != "alter tablespace")
    if wide or "import" in change.verbs or "extension" in change.types:
        found.add(ANYWHERE)
    if "reassign" in change.verbs:
        found.add(REASSIGNING)
    if "type" in change.types and change.verbs & {"create", "drop"}:
        found |= {*_of_types(change)} | ({DROPPED_TYPE} if "drop" in change.verbs else set())
    return found | _systems(change, names)


def _of_types(change: Change) -> Iterator[str]:
    """Functions that a range type brings."""
    words = wording.tokens(change.text)
    for kind, name in change.objects:
        for made in ranges.names_of_constructors(name, words) if kind == "type" else ():
            yield from _ends_of(made)


def _ends_of(name: str) -> Iterator[str]:
    """A name with a dot in it is told without its quotes: ``hr.odd.name``."""
    yield name
    while name := name.partition(".")[2]:
        yield name


def _systems(change: Change, names: Iterable[str]) -> set[str]:
    """Schemas of the system that it may have written to: pg_catalog need not be said."""
    routines = {name for kind, name in change.objects if kind in ROUTINES}
    bare = any("." not in name or name.startswith("pg_catalog.") for name in routines)
    found = {"pg_catalog"} if bare or "pg_catalog" in change.said.lower() else set()
    found |= {name.partition(".")[0] for name in names} & {"information_schema"}
    return {_in_system(schema) for schema in found}


def _in_system(schema: str) -> str:
    return f"in:{schema}"


def cast_key(name: str) -> str:
    """Of its types without their schemas.

    >>> cast_key('hr."Money" AS pg_catalog.text'), cast_key("Money AS text")
    ('cast:Money AS text', 'cast:Money AS text')
    """
    ends = (wording.parts(each.removesuffix("[]"))[-1:] for each in name.split(" AS "))
    return "cast:" + " AS ".join(each[0] for each in ends if each)


def owner_in(line: str) -> str:
    """Of an object that is a line of another one: ``libc C, owner etl``."""
    return line.rpartition(", owner ")[2] if ", owner " in line else ""


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


def renames_part(change: Change) -> bool:
    """``ALTER TABLE hr.t RENAME a TO b``, and nothing else."""
    alone = "multi" not in change.flags and not change.contained and not change.renames
    return alone and "rename" in wording.tokens(change.said)[2:]


def renamed(change: Change, target: Target, parts: tuple[str, ...]) -> int:
    """It took this name away, or gave it."""
    return max((_renamed(rename, target, parts) for rename in change.renames), default=0)


def _renamed(rename: Rename, target: Target, parts: tuple[str, ...]) -> int:
    if not parts:
        return 0
    came = target.added or target.replaced
    if rename.schema:
        arrived = parts[0] == rename.schema and f".{rename.old}".endswith(f".{parts[-1]}")
        return fits(rename.old, parts) if target.removed else EXACT if came and arrived else 0
    if not came:
        return fits(rename.old, parts) if target.removed else 0
    # Redaction hides new names that do not look like names.
    if rename.new not in (parts[-1], "?"):
        return 0
    place = ".".join(parts[:-1])
    said = rename.old.startswith(f"{place}.")
    if not said and "." in rename.old:
        return 0
    return (EXACT if said else NAMED) if rename.new == parts[-1] else POSSIBLE
