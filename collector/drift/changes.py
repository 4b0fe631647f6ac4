"""Captured statements that may have changed the catalog, and when what they did became visible."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import polars as pl

from collector.drift import wording
from collector.drift.wording import Rename

CHANGING = frozenset(
    ("grant", "revoke", "alter", "create", "drop", "reassign", "import", "refresh", "truncate")
)
WRITING = frozenset(("insert", "update", "delete", "merge", "copy", "truncate"))
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
_TIMES = ("started_at", "backend_started_at")
_ROUTINES = frozenset(("function", "procedure"))


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
    effect: Effect = field(default_factory=Effect, compare=False)

    @property
    def types(self) -> frozenset[str]:
        return frozenset(kind for kind, _ in self.objects)


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
        found = found | operation.is_in(["execute", "prepare"])
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
    """Of a row ``in_microseconds``. None for an EXPLAIN: it runs nothing of what it says."""
    operation, flags = row["operation"] or "", frozenset(row["flags"] or [])
    if operation == "explain" and "explain_analyze" not in flags:
        return None
    text = row["text"] or ""
    words = wording.tokens(text)
    verbs = frozenset((*(row["verbs"] or []), *([operation] if operation else [])))
    objects = frozenset(_object(entry) for entry in row["objects"] or [])
    roles = frozenset(row["roles"] or [])
    writes = frozenset(row["writes"] or [])
    if "code" in flags and operation == "create" and "multi" not in flags:
        # What a function's body says happens when somebody calls it.
        objects = frozenset(o for o in objects if o[0] in _ROUTINES)
        verbs, roles, writes = frozenset(("create",)), frozenset(), frozenset()
    if not operation and (words := _slot_command(text, words)):
        verbs, objects = frozenset((words[0],)), frozenset((("slot", words[1]),))
    if "create" in verbs and "cascade" in words:
        flags |= {"cascade"}  # CREATE EXTENSION ... CASCADE; a DROP says so by itself
    heading = wording.heading(words)
    if heading.startswith("create schema"):
        objects = frozenset(_in_the_schema(objects))
    user = row["user_name"] or ""
    return Change(
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
        renames=tuple(wording.renames(words)) if "alter" in verbs else (),
        privileges=wording.privileges(words) if verbs & {"grant", "revoke"} else frozenset(),
        on_all=wording.on_all_in_schema(words) if words else None,
        conditional=wording.is_conditional(words),
        contained="code" in flags and operation == "do",
    )


def backend_of(row: Mapping[str, Any]) -> Backend:
    return Backend(row["agent"], row.get("pid") or 0, row.get("backend_started_at") or 0)


def _slot_command(text: str, words: list[str]) -> list[str]:
    """Verb and slot of a replication command."""
    if len(words) > 1 and words[0].endswith("_replication_slot"):
        return [words[0].partition("_")[0], words[1]]
    return []


def _object(entry: str) -> tuple[str, str]:
    kind, _, name = entry.partition(":")
    return kind, name


def _in_the_schema(objects: frozenset[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """``CREATE SCHEMA hr CREATE TABLE t`` is about ``hr.t``."""
    schema = next((name for kind, name in objects if kind == "schema"), "")
    for kind, name in objects:
        bare = schema and kind != "schema" and "." not in name
        yield kind, f"{schema}.{name}" if bare else name


def _said(text: str, summary: str) -> str:
    line = " ".join(text.split()).rstrip("; ")
    return line if 0 < len(line) <= SAID_CHARACTERS else summary.strip()
