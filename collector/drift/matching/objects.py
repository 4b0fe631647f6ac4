"""Schemas, tables, functions, policies and whatever else lives in one database."""

from __future__ import annotations

import re
from functools import lru_cache

from collector.drift import ranges, wording
from collector.drift.changes import Change
from collector.drift.matching import in_schemas, tables
from collector.drift.matching.cluster import owner_changed
from collector.drift.matching.reserved import left_out
from collector.drift.matching.target import (
    CAUSED,
    EXACT,
    NAMED,
    POSSIBLE,
    RELATIONS,
    ROUTINES,
    Target,
    about,
    fits,
    renamed,
    renames_part,
)
from collector.drift.mentions import HASH
from collector.drift.numbers import is_built_in
from model.catalog import CatalogKind

_SCHEMA = frozenset(("schema",))
TYPES: dict[CatalogKind, frozenset[str]] = {
    CatalogKind.SCHEMA: _SCHEMA,
    CatalogKind.TABLE: RELATIONS,
    CatalogKind.SEQUENCE: RELATIONS,
    CatalogKind.FUNCTION: ROUTINES,
    CatalogKind.TYPE: frozenset(("type", "domain")),
    CatalogKind.CAST: frozenset(("cast",)),
    CatalogKind.OPERATOR: frozenset(("operator",)),
    CatalogKind.POLICY: frozenset(("policy",)),
    CatalogKind.TRIGGER: frozenset(("trigger",)),
    CatalogKind.EVENT_TRIGGER: frozenset(("event trigger",)),
    CatalogKind.EXTENSION: frozenset(("extension",)),
    CatalogKind.LANGUAGE: frozenset(("language",)),
    CatalogKind.FOREIGN_SERVER: frozenset(("foreign server",)),
    CatalogKind.USER_MAPPING: frozenset(("user mapping",)),
    CatalogKind.PUBLICATION: frozenset(("publication",)),
    CatalogKind.SUBSCRIPTION: frozenset(("subscription",)),
}
"""What statements call the kinds."""
WITH_IT = CAUSED + 7
"""What it goes with is said by its name."""
OF_TABLE = frozenset((CatalogKind.POLICY, CatalogKind.TRIGGER))
"""Their names begin with their table's."""
_BUILT_IN = {
    "built-in functions": ROUTINES,
    "built-in relations": RELATIONS | {"rule"},
    "built-in operators": frozenset(("operator",)),
}
"""Lines of a schema of the system, and what statements call what they hold."""
_SYSTEM = "pg_catalog"
_OTHERWISE = (CatalogKind.FUNCTION, CatalogKind.LANGUAGE)
"""Those that PostgreSQL comes with are items as long as they are otherwise than they came."""
_WRAPPER = "wrapper "
"""Foreign data wrappers are items beside their servers."""
_WRAPPERS = frozenset(("foreign data wrapper", "fdw"))


def object_of_database(change: Change, target: Target) -> int:
    if change.database != target.scope.database or not change.verbs & _VERBS:
        return 0
    if change.verbs == {"reindex"}:
        return tables.of_lines(change, target)
    if change.heading == "alter default privileges" and "multi" not in change.flags:
        return 0
    return max(
        _direct(change, target),
        _with_its_table(change, target),
        _with_its_schema(change, target),
        _with_its_range(change, target),
        _with_its_owner(change, target),
        _by_cascade(change, target),
        _with_an_extension(change, target),
        _of_changed_lines(change, target),
        _of_built_in(change, target),
        in_schemas.line_of_schema(change, target),
    )


_CHANGING = frozenset(("create", "alter", "import", "refresh"))
_PARTS = frozenset(("index", "trigger", "policy", "rule", "statistics", "publication"))
"""Types whose statements name a table besides."""
_PARTS_APART = frozenset(("trigger", "policy", "statistics", "publication"))
"""Those of them that leave the table's own lines as they are."""
_COUNTS = re.compile(r"\b(?:as identity|(?:small|big)?serial[248]?)\b")
"""A column for which a sequence is made."""
_COMMON = frozenset(
    ("alter", "table", "to", "on", "set", "(", ")", ",", ".", "?", ":", "not", "null", "default")
)
_VERBS = frozenset(("create", "alter", "drop", "import", "reassign", "refresh", "reindex"))


def _direct(change: Change, target: Target) -> int:
    kind, parts = target.scope.kind, target.parts
    if kind in OF_TABLE:
        return _direct_of_table(change, target)
    if kind is CatalogKind.USER_MAPPING:
        return _user_mapping(change, target)
    if kind is CatalogKind.CAST:
        return in_schemas.cast(change, target)
    types = TYPES[kind]
    if kind is CatalogKind.FOREIGN_SERVER and target.object.startswith(_WRAPPER):
        types, parts = _WRAPPERS, wording.parts(target.object.removeprefix(_WRAPPER))
    named = about(change, types, parts)
    given = renamed(change, target, parts) if change.types & types else 0
    if target.added:
        makes = makes_itself(change, "create", types) or _alters_built_in(change, target)
        return max(named if makes else 0, given)
    if target.removed:
        takes = makes_itself(change, "drop", types) or _alters_built_in(change, target)
        return max(named if takes else 0, given)
    if target.replaced and given:
        return given
    if change.types & _PARTS_APART - types and "multi" not in change.flags:
        return 0
    if named and left_out(change, target):
        return 0
    if target.only_new_parts and renames_part(change):
        return 0
    if target.retyped and renames_part(change):
        return min(named, CAUSED)  # the name is the least of it
    can = change.verbs & _CHANGING or change.types & {"rule"}
    return _by_its_words(change, target, named) if can and not change.renames else 0


def _alters_built_in(change: Change, target: Target) -> bool:
    can = target.scope.kind in _OTHERWISE and change.verbs & _CHANGING
    return bool(can) and is_built_in(target.step)


def makes_itself(change: Change, verb: str, types: frozenset[str] = RELATIONS) -> bool:
    """A CREATE INDEX names its table, and a DROP TRIGGER does: they make and take none."""
    if verb not in change.verbs:
        return False
    if "multi" in change.flags or change.contained:
        return True
    return not change.types & _PARTS - types and "index" not in change.heading.split()


def _by_its_words(change: Change, target: Target, named: int) -> int:
    """An ALTER that says nothing of what differs did something else, if another one fits better."""
    if not named or "refresh" in change.verbs or "multi" in change.flags:
        return named
    if "create" in change.verbs:
        return named if _replaces(change) else max(POSSIBLE, named - 12)
    said = {*wording.tokens(change.said)} - _COMMON
    lines = " ".join(
        f"{key} {target.before.get(key, '')} {target.after.get(key, '')}" for key in target.changed
    )
    lines += " ".join(f" {name}" for key, name in target.new_parts if key in target.changed)
    common = said & ({*wording.tokens(lines)} - _COMMON - {*target.parts})
    if common or not change.heading:
        return named + min(len(common), 3)
    return max(POSSIBLE, named - 12)


def _replaces(change: Change) -> bool:
    """A CREATE without OR REPLACE changes something only if that was dropped just before."""
    # DROP POLICY and CREATE POLICY in one string replace it.
    unknown = not change.heading or "multi" in change.flags
    replaces = unknown or change.heading == "create or replace"
    return replaces or bool(change.types & {"index", "rule"}) or "index" in change.heading.split()


def _direct_of_table(change: Change, target: Target) -> int:
    """``hr.salary.only_own``: it says both names, the table's with its schema or without."""
    table, name = target.parts[:-1], target.parts[-1:]
    kind = TYPES[target.scope.kind]
    # ALTER POLICY ... RENAME is told as a policy by the table's name.
    on = about(change, RELATIONS | kind if change.renames else RELATIONS, table)
    if not on:
        return 0
    given = any(name[0] in (r.new, r.old.rpartition(".")[2]) for r in change.renames)
    if not change.types & kind:
        return 0
    if given:
        return on if target.added or target.removed or target.replaced else 0
    if not about(change, kind, name):
        return 0
    verb = "create" if target.added else "drop" if target.removed else ""
    if verb:
        return on if verb in change.verbs else 0
    if "create" in change.verbs and not _replaces(change):
        return max(POSSIBLE, on - 12)
    return on if change.verbs & _CHANGING and not left_out(change, target) else 0


def _user_mapping(change: Change, target: Target) -> int:
    if "user mapping" not in change.types:
        return 0
    words = target.keys
    servers = {name for kind, name in change.objects if kind == "user mapping"}
    if not servers & words:
        return 0
    verb = "create" if target.added else "drop" if target.removed else "alter"
    if verb not in change.verbs:
        return 0
    return EXACT if change.roles & words or "public" in words or "PUBLIC" in words else CAUSED


def _with_its_table(change: Change, target: Target) -> int:
    """A trigger with its table, a partition with its parent, a sequence with its serial column."""
    if target.scope.kind in OF_TABLE:
        table = target.parts[:-1]
    elif target.parent:
        table = target.parent
    else:
        return _serial(change, target)
    on = about(change, RELATIONS, table)
    moved = renamed(change, target, table)
    if moved and (target.added or target.removed):
        return CAUSED + 5
    if not on or change.renames:
        return 0
    if target.scope.kind is CatalogKind.POLICY and not target.removed:
        return 0  # no table brings or changes one
    if target.scope.kind is CatalogKind.TRIGGER and "from" in target.known:
        # Its parent's or a constraint's: ALTER TABLE switches it, and that is all it can do.
        return WITH_IT if "alter" in change.verbs or makes_itself(change, "drop") else 0
    if target.added:
        made = makes_itself(change, "create") or _adds(change, target)
        # A partition has its parent's triggers.
        weak = target.scope.kind is CatalogKind.TRIGGER
        return (POSSIBLE if weak else WITH_IT) if made else 0
    if target.removed:
        if makes_itself(change, "drop"):
            return WITH_IT
        return CAUSED if "alter" in change.verbs and target.scope.kind not in OF_TABLE else 0
    return WITH_IT if "alter" in change.verbs and not change.types & _PARTS else 0


def _adds(change: Change, target: Target) -> bool:
    """Of an ALTER of its table."""
    if target.scope.kind is not CatalogKind.SEQUENCE:
        return "alter" in change.verbs
    hidden = change.said == change.summary or change.contained or not change.heading
    says = hidden or _COUNTS.search(" ".join(wording.tokens(change.said))) is not None
    return "alter" in change.verbs and says


def _serial(change: Change, target: Target) -> int:
    """``CREATE TABLE hr.t (id serial)`` makes ``hr.t_id_seq``; where it is not said whose it is."""
    if target.scope.kind is not CatalogKind.SEQUENCE or not target.parts[-1].endswith("_seq"):
        return 0
    stem = target.parts[-1]
    for kind, name in change.objects:
        schema, _, table = name.rpartition(".")
        if kind == "table" and table and stem.startswith(f"{table}_"):
            if schema and schema != target.parts[0]:
                continue
            comes = target.added and "create" not in change.verbs
            can = _adds(change, target) if comes else change.verbs & {"create", "alter", "drop"}
            return WITH_IT if can else 0
    return 0


def _with_its_schema(change: Change, target: Target) -> int:
    schema = target.parts[:1]
    if target.scope.kind in (CatalogKind.PUBLICATION, CatalogKind.SUBSCRIPTION):
        return 0
    if _schema_renamed(change, target, schema):
        return CAUSED + 5
    if not about(change, _SCHEMA, schema):
        return 0
    if target.removed and {"drop"} <= change.verbs and "cascade" in change.flags:
        return CAUSED + 5
    if target.added and change.verbs & {"import"}:
        return CAUSED + 5
    return 0


def _with_its_range(change: Change, target: Target) -> int:
    """The functions that make values of a range type, and of its multirange type."""
    comes_or_goes = (target.added and "create" in change.verbs) or (
        target.removed and "drop" in change.verbs
    )
    if not comes_or_goes or target.scope.kind is not CatalogKind.FUNCTION:
        return 0
    types = [name for kind, name in change.objects if kind == "type"]
    if not types or (target.known and not ranges.is_constructor(target.object, target.known)):
        return 0
    words = wording.tokens(change.text)
    named = [each for name in types for each in ranges.names_of_constructors(name, words)]
    if said := max(fits(each, target.parts) for each in named):
        return WITH_IT + said - EXACT
    # A DROP does not say what its multirange type was called.
    told = target.removed and bool(target.known)
    here = any("." not in name or name.startswith(f"{target.parts[0]}.") for name in types)
    return (CAUSED if _mentions(change, target.step.name) else POSSIBLE + 8) if told and here else 0


def _schema_renamed(change: Change, target: Target, schema: tuple[str, ...]) -> bool:
    if "schema" not in change.types or not schema:
        return False
    old = target.removed and any(schema[0] == rename.old for rename in change.renames)
    return old or (target.added and any(schema[0] == rename.new for rename in change.renames))


def _with_its_owner(change: Change, target: Target) -> int:
    """DROP OWNED, REASSIGN OWNED, and a role that goes by another name."""
    if target.removed and change.drops_owned:
        return NAMED if target.before.get("owner") in change.roles else 0
    return owner_changed(change, target)


def _by_cascade(change: Change, target: Target) -> int:
    """What hung on something that went: more likely where its definition names that."""
    gone = change.verbs & {"drop"} or "drop_part" in change.flags
    if "cascade" not in change.flags or not gone or target.added:
        return 0
    if target.removed:
        # A cast is called by its types.
        name = target.step.name if target.scope.kind is CatalogKind.CAST else ""
        if _mentions(change, f"{name}\n{target.step.desired}"):
            return CAUSED - 2
        # Views hang on views that hang on it; what else hangs on something says so.
        return POSSIBLE if "view" in target.before.get("kind", "") else 0
    lost = "\n".join(f"{key} {target.before.get(key, '')}" for key in target.changed)
    return CAUSED - 2 if _mentions(change, lost) else 0


def _with_an_extension(change: Change, target: Target) -> int:
    """Its schema, its language, and with CASCADE the extensions that it needs."""
    if "extension" not in change.types:
        return 0
    if (target.added or target.removed) and "alter" in change.verbs:
        # ALTER EXTENSION ... ADD, DROP: its extension tells of it, or no longer does.
        return min(NAMED, about(change, TYPES[target.scope.kind], target.parts))
    if target.scope.kind is CatalogKind.EXTENSION and "cascade" in change.flags:
        making = "create" in change.verbs
        return CAUSED - 5 if (target.added and making) or (target.removed and not making) else 0
    if target.scope.kind in (CatalogKind.SCHEMA, CatalogKind.LANGUAGE):
        same = any(name == target.parts[-1] for kind, name in change.objects if kind == "extension")
        return CAUSED if same else POSSIBLE if target.added and "create" in change.verbs else 0
    return 0


def _of_built_in(change: Change, target: Target) -> int:
    """What initdb made has one digest a schema. Statements need not say pg_catalog."""
    if target.scope.kind is not CatalogKind.SCHEMA or target.added or target.removed:
        return 0
    kinds = {kind for key, kind in _BUILT_IN.items() if key in target.changed}
    [schema] = target.parts
    names = [name for kind, name in change.objects if any(kind in each for each in kinds)]
    here = any(name.startswith(f"{schema}.") for name in names)
    # A search_path that is known has pg_catalog before it, which the text need not say.
    says_so = change.said == change.summary or schema in change.said.lower()
    if here and says_so and change.verbs & _CHANGING:
        return NAMED
    if schema != _SYSTEM or not (here or any("." not in name for name in names)):
        return 0
    return NAMED if _SYSTEM in change.said.lower() else POSSIBLE


def _of_changed_lines(change: Change, target: Target) -> int:
    """An index of the table, a column's type that has another name, a table of a publication."""
    if target.added or target.removed:
        return 0
    if found := tables.of_lines(change, target):
        return found
    for rename in change.renames:
        old, new = rename.old.rpartition(".")[2], rename.new or rename.schema
        if _replaced(target, old, new):
            return CAUSED + 5
    lines = "\n".join(
        f"{key} {target.before.get(key, '')} {target.after.get(key, '')}" for key in target.changed
    )
    return POSSIBLE + 5 if _mentions(change, lines) else 0


def _replaced(target: Target, old: str, new: str) -> bool:
    """Each line that differs is what it was with the new name in place of the old one."""
    if not (old and new):
        return False
    word = re.compile(rf"(?<!\w){re.escape(old)}(?!\w)")
    # Of a view the hash of its text differs whenever the text does.
    keys = [
        key
        for key in target.changed
        if not target.before.get(key, target.after.get(key, "")).startswith(HASH)
    ]
    before = sorted(f"{key}: {target.before[key]}" for key in keys if key in target.before)
    after = sorted(f"{key}: {target.after[key]}" for key in keys if key in target.after)
    put = new.replace("\\", r"\\")
    return bool(before) and sorted(word.sub(put, line) for line in before) == after


def _mentions(change: Change, text: str) -> bool:
    """Definitions name objects with their schema: what a statement names so is meant so."""
    names = {name for kind, name in change.objects if kind not in ("role",)}
    return any(name and _spelled(name).search(text) for name in names)


@lru_cache(maxsize=10_000)
def _spelled(name: str) -> re.Pattern[str]:
    schema, _, bare = name.rpartition(".")
    quoted = r'"?\."?'.join(re.escape(each.replace('"', '""')) for each in (schema, bare) if each)
    return re.compile(rf"(?<!\w){quoted}(?!\w)")
