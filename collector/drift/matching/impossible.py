"""What a statement's text shows that it cannot have done: it gives another value than is there.

What is not shown may be anything: a literal, the code of a function or DO block, a long text's end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from collector.drift import wording
from collector.drift.changes import Change
from collector.drift.lines import Part, parts
from collector.drift.matching import plain
from collector.drift.matching.signatures import is_another
from collector.drift.matching.target import CAUSED, Match, Target
from collector.drift.numbers import same_object
from collector.drift.wording import Words
from model.catalog import OBJECT_KINDS, CatalogKind

REDACTED = "?"
_HIDDEN = frozenset((REDACTED, "&"))
"""A name may be one of them: ``U&"..."`` has another spelling."""
_CODE = frozenset(("do", "call", "execute", "with", "copy"))
"""What they do is not in their text."""
_ELSEWHERE = frozenset(
    (
        "grant", "revoke", "comment", "set", "reset", "begin", "start", "commit", "end",
        "savepoint", "release", "rollback", "abort", "lock", "analyze", "vacuum", "show",
        "insert", "update", "delete", "truncate", "discard", "security", "refresh", "notify",
    )
)  # fmt: skip
"""They set no line of an object, and make and drop none. What they fire has rows of its own."""
_QUIET_FUNCTIONS = frozenset(("set_config",))
_ROLE_WORDS = frozenset(("role", "user", "group"))
_TYPES: dict[CatalogKind, frozenset[str]] = {
    CatalogKind.ROLE: _ROLE_WORDS,
    CatalogKind.TABLE: frozenset(("table", "view", "materialized", "foreign")),
    CatalogKind.FUNCTION: frozenset(("function", "procedure", "routine", "aggregate")),
    CatalogKind.TRIGGER: frozenset(("table", "trigger", "foreign")),
    CatalogKind.EVENT_TRIGGER: frozenset(("event",)),
}
"""What the second word of an ALTER is that sets a line in question."""
_ATTRIBUTES = frozenset(
    ("superuser", "createdb", "createrole", "inherit", "login", "replication", "bypassrls")
)
"""As ALTER ROLE says them, with NO before them to take them."""
_OPTIONS = {"connection": "connection_limit", "valid": "valid_until"}
_SILENT = "password"
"""An option that is no attribute in the catalog."""
_COMING = OBJECT_KINDS | {CatalogKind.ROLE, CatalogKind.DATABASE}
_SELF = frozenset(("current_user", "session_user", "current_role"))
_FIRED = {"origin": "enable", "disabled": "disable", "always": "always", "replica": "replica"}
"""How a trigger is, and the word before TRIGGER that makes it so."""


class _Line(NamedTuple):
    """A line that differs, and what it is of."""

    part: Part
    target: Target


Says = Callable[[Words, _Line], bool]


def unless_impossible(match: Match) -> Match:
    def matches(change: Change, target: Target) -> int:
        strength = match(change, target)
        return 0 if strength and is_impossible(change, target) else strength

    return matches


def is_impossible(change: Change, target: Target) -> bool:
    """Its whole text is known, and no statement in it can have made any line what it is now."""
    came_or_went, rules = target.added or target.removed, _RULES.get(target.scope.kind, {})
    if not change.text or change.contained or not (came_or_went or rules):
        return False
    said = wording.parted(change.text)
    calls = change.functions - _QUIET_FUNCTIONS
    if any(words[0] in _CODE or (words[0] == "select" and calls) for words in said):
        return False
    if target.scope.kind is CatalogKind.FUNCTION and is_another(said, target):
        return True
    if came_or_went:
        return len(said) > 1 and _is_about_others(change, said, target)
    if same_object(*target.step.details) is False:
        return False  # another object by that name came with all its lines
    lines = [_Line(part, target) for part in parts(target.scope.kind, target.step)]
    return bool(lines) and not any(_may_set(words, line, rules) for line in lines for words in said)


def sets_otherwise(change: Change, target: Target) -> int:
    """It sets a line that differs, to what it is not now: what was set before that is over."""
    if "reassign" in change.verbs and "owner" in target.changed:
        target = target.of_line("owner")  # it sets no other one
    if target.added or target.removed or not is_impossible(change, target):
        return 0
    words = [each for each in wording.parted(change.text) if _touches(each, target)]
    return CAUSED if words else 0


def _touches(words: Words, target: Target) -> bool:
    said = {*words}
    if words[0] == "reassign":
        return "owner" in target.changed and bool(target.owners & {*words[:-1]})
    if words[0] != "alter" or not _names(words, target):
        return False
    rules = _RULES.get(target.scope.kind, {})
    keys = {part.key for part in parts(target.scope.kind, target.step)} & rules.keys()
    if target.scope.kind is CatalogKind.TRIGGER:
        return "trigger" in said and bool({target.parts[-1], "all", "user"} & said)
    return any({key, f"no{key}", *_SAID_BY.get(key, ())} & said for key in keys)


_SAID_BY = {"row security": ("row",), "enabled": ("enable", "disable")}
"""Words that say a line, where that is not its key."""


def _is_about_others(change: Change, said: Sequence[Words], target: Target) -> bool:
    """All that says the name of what came, or went, makes and takes nothing."""
    hung_on = change.drops_owned or "cascade" in change.flags
    if target.scope.kind not in _COMING or not target.parts or (target.removed and hung_on):
        return False
    naming = [words[0] for words in said if {target.parts[-1], REDACTED} & {*words}]
    other = {"drop"} if target.added else {"create"}
    return bool(naming) and {*naming} <= _ELSEWHERE | other


def _may_set(words: Words, line: _Line, rules: Mapping[str, Says]) -> bool:
    says = rules.get(line.part.key)
    if says is None and line.target.scope.kind not in plain.KINDS:
        return True
    verb = words[0]
    if verb in _ELSEWHERE:
        return False
    if says is None:
        return plain.may_set(words, line.part, line.target)
    if verb == "drop":
        return False
    if verb == "reassign":
        return says is _owner and _is_one(words[-1], line.part.after)
    if verb not in ("alter", "create") or words[1:2] == ("extension",):
        return True
    if not _names(words, line.target):
        return False
    if says is _owner and verb == "alter":
        return _owner(words, line)
    types = _TYPES.get(line.target.scope.kind)
    of_kind = types is None or bool(types & {*words[1:5]})
    return of_kind and (verb == "create" or says(words, line))


def _names(words: Words, target: Target) -> bool:
    """Of a sequence its table may stand there alone, and what has a parent may follow that."""
    said = {*words}
    if said & _HIDDEN or target.parent or "from" in target.known:
        return True
    if target.scope.kind is CatalogKind.ROLE:
        return target.step.name in said or bool(said & _SELF)
    if target.scope.kind is CatalogKind.OPERATOR:
        return target.parts[-1] in "".join(words)  # signs are words each
    of_table = target.scope.kind is CatalogKind.TRIGGER
    name = target.parts[-2] if of_table and len(target.parts) > 1 else target.parts[-1]
    # A role that is called otherwise owns what it owned.
    former = target.before.get("owner")
    return target.scope.kind is CatalogKind.SEQUENCE or name in said or former in said


def _owner(words: Words, line: _Line) -> bool:
    owner = line.part.after
    pairs = enumerate(pairwise(words[:-1]))
    given = (words[at + 2] for at, pair in pairs if pair in (("owner", "to"), ("rename", "to")))
    return any(_is_one(each, owner) for each in given)


def _is_one(said: str, role: str | None) -> bool:
    return said in (role, REDACTED) or said in _SELF


def _row_security(words: Words, line: _Line) -> bool:
    pairs = [*pairwise(words)]
    enables, disables = ("enable", "row") in pairs, ("disable", "row") in pairs
    forces, leaves = ("force", "row") in pairs, ("no", "force") in pairs
    if line.part.after is None:
        return disables
    return enables or (forces and not leaves if line.part.after == "forced" else leaves)


def _security(words: Words, line: _Line) -> bool:
    return ("security", line.part.after or "invoker") in pairwise(words)


def _of_trigger(words: Words, line: _Line) -> bool:
    """ENABLE [ALWAYS | REPLICA] TRIGGER name, ALL or USER; each may stand with others."""
    wanted, name = _FIRED.get(line.part.after or ""), line.target.parts[-1]
    named = {name, "all", "user", REDACTED}
    return any(
        word == "trigger" and words[at - 1] == wanted and {*words[at + 1 : at + 2]} & named
        for at, word in enumerate(words)
    )


def _of_event_trigger(words: Words, line: _Line) -> bool:
    wanted = _FIRED.get(line.part.after or "")
    if wanted == "enable":
        return wanted in words and not {"always", "replica"} & {*words}
    return wanted in words


def _attribute(words: Words, line: _Line) -> bool:
    said = {*words[3:]}
    if words[:3] == ("alter", "user", "mapping") or {"set", "rename", "reset"} & said:
        return False
    sets = {(name, "true") for name in _ATTRIBUTES & said}
    sets |= {(name, "false") for name in _ATTRIBUTES if f"no{name}" in said}
    options = {_OPTIONS[word] for word in _OPTIONS.keys() & said}
    known = len(options) + (_SILENT in said)
    if words[3:].count(REDACTED) > known:
        return True  # beside a password more is hidden than the password
    if not (sets or known):
        return words[1] != "group"
    return (line.part.key, line.part.after) in sets or line.part.key in options


_RULES: dict[CatalogKind, Mapping[str, Says]] = {
    **{kind: {"owner": _owner} for kind in (*OBJECT_KINDS, CatalogKind.DATABASE)},
    CatalogKind.TABLE: {"owner": _owner, "row security": _row_security},
    CatalogKind.FUNCTION: {"owner": _owner, "security": _security},
    CatalogKind.TRIGGER: {"enabled": _of_trigger},
    CatalogKind.EVENT_TRIGGER: {"owner": _owner, "enabled": _of_event_trigger},
    CatalogKind.ROLE: dict.fromkeys((*_ATTRIBUTES, *_OPTIONS.values()), _attribute),
}
"""By line, whether an ALTER of the object says it as it is now."""
