"""Captured statements that may have changed the catalog, and when what they did became visible."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import polars as pl

from collector.drift import granting, wording
from collector.drift.wording import Rename
from model.names import unescaped

CHANGING = frozenset(
    (
        "grant", "revoke", "alter", "create", "drop", "reassign", "import", "refresh", "truncate",
        "reindex",
    )
)  # fmt: skip
WRITING = frozenset(("insert", "update", "delete", "merge", "copy", "truncate"))
PREPARED = frozenset(("prepare", "execute"))
SLOT_FUNCTIONS = frozenset(
    (
        "pg_create_physical_replication_slot", "pg_create_logical_replication_slot",
        "pg_copy_physical_replication_slot", "pg_copy_logical_replication_slot",
        "pg_drop_replication_slot", "pg_sync_replication_slots",
    )
)  # fmt: skip
UNLINKING = frozenset(("lo_unlink",))
"""A large object's grants go with it."""
SLOT_COMMANDS = r"(?i)^\s*(create|drop|alter)_replication_slot\b"
CATALOG_TABLE = r"^(pg_catalog\.)?pg_\w+$"
"""Of the system: who may write there needs no command."""
SUCCEEDED = ("", "00000")
SAID_CHARACTERS = 160
SHORT_CHARACTERS = 400
_TIMES = ("started_at", "backend_started_at")
GRANTING = frozenset(("grant", "revoke"))
UNREAD = frozenset(("cut", "too_long", "nul"))
"""Readings of a text that end before it does."""
_ELEMENTS = frozenset(("table", "view", "index", "sequence", "trigger"))
"""Of a CREATE SCHEMA."""
_TEMPORARY = re.compile(r"\b(pg_)?temp(orary)?\b", re.IGNORECASE)
_SELF = frozenset(("current_user", "session_user", "current_role"))
_OF_TABLE = frozenset(("policy", "trigger", "rule"))
"""Their renames are told by the name of the table."""
_ROUTINES = frozenset(("function", "procedure"))


Moment = tuple[int, int, int]
"""For sorting: by commit, and within a transaction as they were sent."""


class Backend(NamedTuple):
    """One session."""

    agent: str
    pid: int
    started_us: int


@dataclass(slots=True)
class Effect:
    """What became of the transaction that a statement ran in; filled in as its end is seen."""

    committed_us: int = 0
    """0: not known to be over."""
    undone: bool = False
    transaction: int = 0
    """Id of the first changing statement of the same explicit transaction; 0: it was its own."""
    root: int = 0
    """Id of the client's statement that it ran inside; 0: not known, or it is that itself."""


@dataclass(frozen=True, slots=True)
class Change:
    """A statement that may have changed the catalog, or rows of a watched table."""

    agent: str
    cluster: str
    database: str
    id: int
    at_us: int
    verbs: frozenset[str]
    objects: frozenset[tuple[str, str]]
    """(type, name): ``("table", "hr.salaries")``; names as PostgreSQL folds them, unquoted."""
    settings: frozenset[str]
    roles: frozenset[str]
    flags: frozenset[str]
    functions: frozenset[str]
    writes: frozenset[str]
    summary: str
    said: str
    """The redacted text on one line, or the summary where it is long."""
    actor: str
    user: str
    application: str
    backend: Backend
    parent_id: int = 0
    heading: str = ""
    renames: tuple[Rename, ...] = ()
    privileges: frozenset[str] = frozenset()
    on_all: bool | None = None
    """``ON ALL TABLES IN SCHEMA``; None where the text is not known."""
    conditional: bool = False
    """IF EXISTS or IF NOT EXISTS: where there was nothing to do it did nothing, and succeeded."""
    contained: bool = False
    """Known only from the body of a DO block: it may not have run."""
    drops_owned: bool = False
    """DROP OWNED, wherever it stands in the text."""
    several: tuple[Change, ...] = ()
    """Of a text of several statements that grants or revokes: each GRANT and REVOKE as if it had
    come alone, and one for what else the text did. Empty of others."""
    text: str = ""
    """All of it, redacted; empty where that is not known, and of a long CREATE."""
    part: int = 0
    """Of a string that several transactions share: which of them, counted from 0."""
    effect: Effect = field(default_factory=Effect, compare=False)

    @property
    def types(self) -> frozenset[str]:
        return frozenset(kind for kind, _ in self.objects)


def moment_of(change: Change) -> Moment:
    return change.effect.committed_us or change.at_us, change.at_us, change.id


def changes_of(statements: pl.DataFrame, watched: frozenset[str] = frozenset()) -> list[Change]:
    """Those of them that succeeded and may have changed something, in the order of the frame.

    ``watched``: bare names of watched tables. Every statement counts as its own transaction here.
    """
    rows = in_microseconds(statements.filter(may_change(statements, watched)))
    found = []
    for row in rows.iter_rows(named=True):
        change = change_of(row)
        if change is not None:
            change.effect.committed_us = ended_us(row)
            found.append(change)
    return found


def in_microseconds(statements: pl.DataFrame) -> pl.DataFrame:
    """Times as Unix microseconds."""
    times = [name for name in _TIMES if name in statements.columns]
    return statements.with_columns(pl.col(times).dt.epoch("us"))


def ended_us(row: Mapping[str, Any]) -> int:
    """Of a row ``in_microseconds``: when it ended, or began where that is not known."""
    return int(row["started_at"] or 0) + max(0, row.get("duration_us") or 0)


def may_change(statements: pl.DataFrame, watched: frozenset[str]) -> pl.Expr:
    """Cheap and wide: what ``change_of`` is asked about."""
    operation = pl.col("operation").fill_null("")
    found = operation.is_in(list(CHANGING)) | _any_of("verbs", CHANGING)
    if "functions" in statements.columns:
        found = found | _any_of("functions", SLOT_FUNCTIONS | UNLINKING)
    if watched:
        last = pl.col("writes").list.eval(pl.element().str.split(".").list.last())
        found = found | (last.list.set_intersection(list(watched)).list.len() > 0).fill_null(False)
        found = found | operation.is_in([*PREPARED]) | _any_of("verbs", PREPARED)
    by_hand = pl.element().str.contains(CATALOG_TABLE)
    found = found | pl.col("writes").list.eval(by_hand).list.any().fill_null(False)
    of_slots = pl.col("text").fill_null("").str.contains(SLOT_COMMANDS)
    if "protocol" in statements.columns:
        of_slots = of_slots & (pl.col("protocol") == "replication").fill_null(False)
    return (found | of_slots) & pl.col("sqlstate").fill_null("").is_in(SUCCEEDED)


def _any_of(column: str, wanted: frozenset[str]) -> pl.Expr:
    found = pl.col(column).list.set_intersection(list(wanted)).list.len() > 0
    return found.fill_null(False)


def change_of(row: Mapping[str, Any]) -> Change | None:
    """Of a row ``in_microseconds``. None for an EXPLAIN: it runs nothing of what it says. In a
    string of several every other statement counts."""
    operation, flags = row["operation"] or "", frozenset(row["flags"] or [])
    if operation == "explain" and not flags & {"explain_analyze", "multi"}:
        return None
    text = row["text"] or ""
    words = wording.tokens(text)
    if "multi" in flags and (ran := wording.that_run(words)) != words:
        words, row = ran, {**row, "text": _text_of(text, ran)}
    verbs = frozenset((*(row["verbs"] or []), *([operation] if operation else [])))
    objects = frozenset(_object(entry) for entry in row["objects"] or [])
    roles = frozenset(row["roles"] or [])
    writes = frozenset(map(unescaped, row["writes"] or []))
    if "code" in flags and operation == "create" and "multi" not in flags:
        # What a function's body says happens when somebody calls it.
        objects = frozenset(o for o in objects if o[0] in _ROUTINES)
        verbs, roles, writes = frozenset(("create",)), frozenset(), frozenset()
    if not operation and (words := _slot_command(text, words)):
        verbs, objects = frozenset((words[0],)), frozenset((("slot", words[1]),))
    if "create" in verbs and "cascade" in words:
        flags |= {"cascade"}  # CREATE EXTENSION ... CASCADE; a DROP says so by itself
    parted = [each for each in wording.statements(words) if each]
    heading = wording.heading(words)
    user = row["user_name"] or ""
    if heading.startswith("create schema"):
        objects = frozenset(_in_the_schema(objects, parted, user))
    change = Change(
        agent=row["agent"],
        cluster=row["cluster"],
        database=row["database"],
        id=row["id"],
        at_us=row["started_at"] or 0,
        verbs=verbs,
        objects=objects,
        settings=frozenset(s.lower() for s in row["settings"] or []),
        roles=roles,
        flags=flags,
        functions=frozenset(f.rpartition(".")[2] for f in row.get("functions") or []),
        writes=writes,
        summary=row["summary"] or operation,
        said=_said(text, row["summary"] or operation),
        actor=row["identity_name"] or user,
        user=user,
        application=row.get("application_name") or "",
        backend=backend_of(row),
        parent_id=row.get("parent_id") or 0,
        heading=heading,
        renames=tuple(_renames(words, objects)) if "alter" in verbs else (),
        privileges=wording.privileges(words) if verbs & {"grant", "revoke"} else frozenset(),
        on_all=wording.on_all_in_schema(words) if words else None,
        conditional=wording.is_conditional(words),
        contained="code" in flags and operation == "do",
        drops_owned=any(wording.heading(each, 2) == "drop owned" for each in parted),
        text=_text(row, verbs, flags),
    )
    if len(parted) < 2 and not heading.startswith("create schema"):
        return change
    unread = len(text) > wording.READ_CHARACTERS or row.get("parse_status") in UNREAD
    several = tuple(one_by_one(change, words, unread)) if change.verbs & GRANTING else ()
    return replace(change, several=several, privileges=all_privileges(several))


def one_by_one(change: Change, words: list[str], unread: bool) -> Iterator[Change]:
    """``unread``: the end of the text is not known."""
    found = granting.grantings(words)
    for each in found[: granting.MOST]:
        yield _alone(change, each)
    if unread or len(found) > granting.MOST:
        yield _unseen(change, change.objects)
    others = [*granting.others(words)]
    runs_code = any(each[0] == "do" for each in others)
    if runs_code:
        named = {each for each in change.objects if any(g.names(each[1]) for g in found)}
        yield _unseen(change, change.objects - named)
    yield _rest(change, others, knows_all=not unread and not runs_code)


def _rest(change: Change, others: list[Sequence[str]], *, knows_all: bool) -> Change:
    """What it did but for its GRANTs; ``knows_all``: ``others`` are all of it."""
    verbs, objects = change.verbs - GRANTING, change.objects
    if knows_all and not any(each[0] == "alter" for each in others):
        verbs -= {"alter"}  # of default privileges
    if knows_all and "code" in change.flags:
        # What a function's body says has not happened.
        said = (each for each in objects if any(granting.says(w, each[1]) for w in others))
        objects = frozenset(said)
    heading = wording.heading(others[0]) if others else ""
    return replace(
        change,
        verbs=verbs,
        objects=objects,
        said="; ".join(" ".join(each) for each in others),
        summary=heading,
        heading=heading,
        privileges=frozenset(),
        on_all=False,
    )


def _unseen(change: Change, objects: frozenset[tuple[str, str]]) -> Change:
    """What grants in a text that is not shown: any privilege may be meant."""
    return replace(
        change, objects=objects, privileges=frozenset(), on_all=None, heading="", summary=""
    )


def _alone(change: Change, granted: granting.Granting) -> Change:
    """What the text's lists say of all its statements, as far as this one names it."""
    objects, roles = change.objects, change.roles
    if not granted.is_redacted:
        objects = frozenset(each for each in objects if granted.names(each[1])) or objects
        roles = frozenset(filter(granted.names_role, roles)) or roles
    flags = {"public"} & {*granted.grantees} | {"cascade"} & {*granted.words}
    return replace(
        change,
        verbs=frozenset((granted.verb, *(("alter",) if granted.is_default else ()))),
        objects=objects,
        roles=roles,
        flags=change.flags - {"public", "cascade"} | flags,
        functions=frozenset(),
        writes=frozenset(),
        summary=wording.heading(granted.words),
        said=" ".join(granted.words),
        text=wording.text_of(granted.words),
        heading=wording.heading(granted.words),
        renames=(),
        privileges=wording.privileges(granted.words),
        on_all=wording.on_all_in_schema(granted.words),
        drops_owned=False,
    )


def all_privileges(several: tuple[Change, ...]) -> frozenset[str]:
    """Empty where one of them may be about any."""
    of_grants = [each.privileges for each in several if each.verbs & GRANTING]
    return frozenset().union(*of_grants) if all(of_grants) else frozenset()


def backend_of(row: Mapping[str, Any]) -> Backend:
    return Backend(row["agent"], row.get("pid") or 0, row.get("backend_started_at") or 0)


def _renames(words: list[str], objects: frozenset[tuple[str, str]]) -> Iterator[Rename]:
    """A name that the text hides is among the objects."""
    found = wording.renames(words)
    names = [name for kind, name in objects if kind not in _OF_TABLE]
    for rename in found:
        hidden = "?" in rename.old and len(found) == len(names) == 1
        yield rename._replace(old=names[0]) if hidden else rename


def _slot_command(text: str, words: list[str]) -> list[str]:
    """Verb and slot of a replication command."""
    if len(words) > 1 and words[0].endswith("_replication_slot"):
        return [words[0].partition("_")[0], words[1]]
    return []


def _object(entry: str) -> tuple[str, str]:
    kind, _, name = entry.partition(":")
    return kind, unescaped(name)


def _in_the_schema(
    objects: frozenset[tuple[str, str]], statements: Sequence[Sequence[str]], user: str
) -> Iterator[tuple[str, str]]:
    """``CREATE SCHEMA hr CREATE TABLE t`` is about ``hr.t``; what stands behind it in the string
    is no element of it."""
    first, *further = statements
    schema = _schema_of(first) or user
    yield "schema", schema
    for kind, name in objects:
        is_element = kind in _ELEMENTS and "." not in name and name in first
        if is_element:
            yield kind, f"{schema}.{name}"
        if not is_element or any(name in words for words in further):
            yield kind, name


def _schema_of(words: Sequence[str]) -> str:
    """Without a name it has that of its owner; empty: of who makes it."""
    named = [*words[2:]]
    if named[:3] == ["if", "not", "exists"]:
        named = named[3:]
    if named[:1] == ["authorization"]:
        named = ["" if named[1:2] and named[1] in _SELF else each for each in named[1:]]
    return named[0] if named else ""


def _text_of(text: str, ran: Sequence[str]) -> str:
    """Where not all of it was read it stays as it is."""
    return wording.text_of(ran) if len(text) <= wording.READ_CHARACTERS else text


def _text(row: Mapping[str, Any], verbs: frozenset[str], flags: frozenset[str]) -> str:
    text = row["text"] or ""
    is_whole = len(text) <= wording.READ_CHARACTERS and row.get("parse_status") not in UNREAD
    tells = "multi" in flags or "create" not in verbs or len(text) <= SHORT_CHARACTERS
    tells = tells or _TEMPORARY.search(text) is not None
    return text if is_whole and tells else ""


def _said(text: str, summary: str) -> str:
    line = " ".join(text.split()).rstrip("; ")
    return line if 0 < len(line) <= SAID_CHARACTERS else summary.strip()
