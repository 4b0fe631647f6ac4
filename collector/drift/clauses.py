"""A difference as a person would say it: ``column tax_id of table hr.salary was dropped``."""

from __future__ import annotations

from collections.abc import Callable

from collector.drift.baseline import HBA_ORDER, Difference
from collector.drift.lines import REVOKED, Part, attributes, lines_of, parts, usual
from collector.drift.numbers import is_built_in
from model.catalog import CatalogKind, DriftChange

RECOVERY = "(recovery)"
"""The setting's item by which agents say that a server replays what another one did."""
SAID_LINES = 3
SAID_CHARACTERS = 120
WORDS = {
    CatalogKind.EVENT_TRIGGER: "event trigger",
    CatalogKind.FOREIGN_SERVER: "foreign server",
    CatalogKind.USER_MAPPING: "user mapping",
    CatalogKind.SLOT: "replication slot",
    CatalogKind.WATCHED: "row",
}
_TO_COME = "default:"
DROPPABLE = (
    "column", "constraint", "index", "collation", "conversion", "operator", "text search",
)  # fmt: skip


def describe(kind: CatalogKind, difference: Difference) -> str:
    """One clause for each difference: ``analyst may SELECT on table hr.salaries``."""
    return _CLAUSES.get(kind, _object)(kind, difference)


def word_of(kind: CatalogKind, value: str) -> str:
    """``view`` for a table whose ``kind`` line says so."""
    said = (
        lines_of(value).get("kind", "") if kind in (CatalogKind.TABLE, CatalogKind.FUNCTION) else ""
    )
    return said or WORDS.get(kind, kind.value)


def _setting(_: CatalogKind, d: Difference) -> str:
    if d.name == RECOVERY:
        was_promoted = d.change is DriftChange.REMOVED
        return "the server was promoted" if was_promoted else "the server became a standby"
    if d.change is DriftChange.CHANGED:
        return f"setting {d.name} is {d.observed or 'empty'}, was {d.desired or 'empty'}"
    if d.change is DriftChange.ADDED:
        return f"setting {d.name} is {d.observed or 'empty'}, was not set"
    return f"setting {d.name} is no longer set, was {d.desired or 'empty'}"


def _rule(kind: CatalogKind, d: Difference) -> str:
    if d.name == HBA_ORDER:
        return f"the order of the {kind} rules changed"
    if d.change is DriftChange.CHANGED:
        return f"{kind} rule '{d.name}' is {d.observed}, was {d.desired}"
    word = "was added" if d.change is DriftChange.ADDED else "was removed"
    value = d.observed or d.desired
    return f"{kind} rule '{d.name}' ({value}) {word}" if value else f"{kind} rule '{d.name}' {word}"


def _role(kind: CatalogKind, d: Difference) -> str:
    if d.change is DriftChange.REMOVED:
        return f"role {d.name} was dropped"
    if d.change is DriftChange.CHANGED:
        news = [f"{p.key}={p.after}" for p in parts(kind, d) if p.after is not None]
        lost = [f"without {p.key}" for p in parts(kind, d) if p.after is None]
        return f"role {d.name} became {' '.join([*news, *lost])}"
    given = [name for name, text in attributes(d.observed).items() if text == "true"]
    return f"role {d.name} was created ({' '.join(given)})"


def _membership(_kind: CatalogKind, d: Difference) -> str:
    group, _, member = d.name.partition("<-")
    if d.change is DriftChange.REMOVED:
        return f"{member} is no longer a member of {group}"
    options = " ".join(word for word in d.observed.split() if word not in ("admin", "member"))
    more = f" ({options})" if options else ""
    return f"{member} is now {'an admin' if 'admin' in d.observed else 'a member'} of {group}{more}"


def _privilege(_kind: CatalogKind, d: Difference) -> str:
    target, _, grantee = d.name.rpartition("<-")
    what = target.replace(":", " ", 1)
    if target.startswith(_TO_COME):
        what = f"new {target.removeprefix(_TO_COME)}"
    if REVOKED in (d.desired, d.observed):
        word = "no longer" if d.observed == REVOKED else "again"
        return f"{grantee} may {word} {usual(target)} on {what}"
    if d.change is DriftChange.REMOVED:
        return f"{grantee} may no longer {d.desired} on {what}"
    if d.change is DriftChange.ADDED:
        return f"{grantee} may {d.observed} on {what}"
    # Others may have given or taken other rights since: only what differs is said.
    now, was = ({*value.split(", ")} for value in (d.observed, d.desired))
    said = [("also", _beyond(now, was)), ("no longer", _beyond(was, now))]
    what_is_so = " and ".join(f"{word} {rights}" for word, rights in said if rights)
    return f"{grantee} may {what_is_so} on {what}"


def _beyond(rights: set[str], others: set[str]) -> str:
    """Who may pass a right on (``SELECT*``) has it."""
    return ", ".join(sorted(each for each in rights if not {each, f"{each}*"} & others))


def _object(kind: CatalogKind, d: Difference) -> str:
    what = f"{word_of(kind, d.observed or d.desired)} {d.name}"
    if kind is CatalogKind.TRIGGER and d.change is not DriftChange.CHANGED:
        lines = lines_of(d.observed or d.desired)
        if "from" in lines:  # such a one is an item as long as it is not as where it comes from
            state = lines.get("enabled", "") if d.observed else "as there again"
            return f"{what}, which comes from its {lines['from']}, is {state}"
    if kind is CatalogKind.FUNCTION and is_built_in(d):
        return f"{what}, which PostgreSQL comes with, {_built_in(d)}"
    if d.change is DriftChange.REMOVED:
        return f"{what} was dropped"
    if d.change is DriftChange.ADDED:
        return f"{what} was created{_owned(d.observed)}"
    said = [_line(what, part) for part in parts(kind, d)]
    more = len(said) - SAID_LINES
    return ", ".join(said[:SAID_LINES]) + (f", and {more} more lines" if more > 0 else "")


def _built_in(d: Difference) -> str:
    """Such a function is an item as long as it is otherwise than initdb made it."""
    if d.change is DriftChange.REMOVED:
        return "is as it came again"
    lines = lines_of(d.observed)
    said = [f"belongs to {lines.get('owner')}"]
    said += ["runs with its owner's rights"] if lines.get("security") == "definer" else []
    said += [f"has {key.removeprefix('set ')} set" for key in lines if key.startswith("set ")]
    return f"is no longer as it came: it {', '.join(said)}"


def _row(kind: CatalogKind, d: Difference) -> str:
    if d.change is not DriftChange.CHANGED:
        word = "was added" if d.change is DriftChange.ADDED else "was deleted"
        return f"row {d.name} {word}"
    said = ", ".join(
        f"{p.key} is {_short(p.after or 'NULL')}, was {_short(p.before or 'NULL')}"
        for p in parts(kind, d)
    )
    return f"in row {d.name}, {said}"


def _line(what: str, part: Part) -> str:
    """What one line's difference means for the object ``what``."""
    for pattern, clause in _LINES.items():
        if part.key == pattern:
            return clause(what, part)
    word = "text search" if part.key.startswith("text search ") else part.key.partition(" ")[0]
    if word == "member" and None in (part.before, part.after):
        return _member(what, part)
    subject = f"{part.key} of {what}"
    if part.after is None:
        return f"{subject} was dropped" if word in DROPPABLE else f"{subject} is no longer set"
    if part.before is None:
        return (
            f"{subject} was created ({_short(part.after)})"
            if word in DROPPABLE
            else f"{subject} is {_short(part.after or 'set')}"
        )
    if part.after.startswith(("sha256:", "hidden ")):
        return f"{subject} changed"
    return f"{subject} is {_short(part.after)}, was {_short(part.before)}"


def _member(extension: str, part: Part) -> str:
    name = part.key.removeprefix("member ")
    if part.after is None:
        return f"{name} is no member of {extension} any more"
    words = ", ".join(word for word in part.after.split(", ") if not word.startswith("sha256:"))
    return f"{name} became a member of {extension}{f' ({words})' if words else ''}"


def _owner(what: str, part: Part) -> str:
    return f"{what} belongs to {part.after}, was {part.before}'s"


def _partition(what: str, part: Part) -> str:
    if part.after is None:
        parent = (part.before or "").partition(" FOR VALUES ")[0].removesuffix(" DEFAULT")
        return f"{what} is no longer a partition of {parent}"
    was = f", was one of {_short(part.before)}" if part.before is not None else ""
    return f"{what} is a partition of {_short(part.after)}{was}"


def _row_security(what: str, part: Part) -> str:
    state = {"on": "is on", "forced": "is forced"}.get(part.after or "", "is off")
    return f"row level security of {what} {state}, was {part.before or 'off'}"


def _security(what: str, part: Part) -> str:
    whose = "its owner's" if part.after == "definer" else "its caller's"
    return f"{what} runs with {whose} rights"


def _body(what: str, _: Part) -> str:
    return f"the code of {what} changed"


def _enabled(what: str, part: Part) -> str:
    return f"{what} is {_ENABLED.get(part.after or '', part.after)}, was {_before(part)}"


def _before(part: Part) -> str:
    return _ENABLED.get(part.before or "", part.before or "not")


def _owned(value: str) -> str:
    owner = lines_of(value).get("owner")
    return f" and belongs to {owner}" if owner else ""


def _short(text: str) -> str:
    return text if len(text) <= SAID_CHARACTERS else text[: SAID_CHARACTERS - 1] + "…"


_ENABLED = {
    "origin": "enabled",
    "always": "always enabled",
    "replica": "enabled on replicas only",
    "disabled": "disabled",
}
_LINES: dict[str, Callable[[str, Part], str]] = {
    "owner": _owner,
    "partition of": _partition,
    "row security": _row_security,
    "security": _security,
    "body": _body,
    "enabled": _enabled,
}
_CLAUSES: dict[CatalogKind, Callable[[CatalogKind, Difference], str]] = {
    CatalogKind.SETTING: _setting,
    CatalogKind.HBA: _rule,
    CatalogKind.IDENT: _rule,
    CatalogKind.ROLE: _role,
    CatalogKind.MEMBERSHIP: _membership,
    CatalogKind.PRIVILEGE: _privilege,
    CatalogKind.WATCHED: _row,
}
