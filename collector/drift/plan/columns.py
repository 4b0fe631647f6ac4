"""A column that is gone, new, or other than it should be."""

from __future__ import annotations

import re
from collections.abc import Iterator

from collector.drift.lines import Part
from collector.drift.plan.inherited import COLUMN
from collector.drift.plan.quoting import NotSqlError, name
from collector.drift.plan.steps import Phase, Step, World, by_hand
from collector.drift.plan.types import keeps_values
from model.catalog import CatalogKind

_COLUMN = re.compile(
    r"(?P<type>.+?)(?P<collate> collate \S+)?(?P<null> not null)?"
    r"(?: generated (?P<generated>.+)| default (?P<default>.+))?",
    re.DOTALL,
)
REFUSES = "refused where a value does not fit"
ROUNDS = "values may be rounded, cut or read otherwise: look at them first"
EXPRESSION, IDENTITY = "always as (", " as identity"
EXPRESSION_SINCE = 17
"""Before, the column has to be dropped and made anew."""


def column(who: str, part: Part, world: World) -> Iterator[Step]:
    own = name(part.key.removeprefix(COLUMN))
    if part.before is None:
        yield Step(Phase.DROP_COLUMN, f"ALTER TABLE {who} DROP COLUMN {own}", loses=True)
    elif part.after is None:
        yield Step(
            Phase.COLUMN,
            f"ALTER TABLE {who} ADD COLUMN {own} {column_text(part.before)}",
            note=f"empty: what it held is gone; restore it from a backup{_refused(part.before)}",
        )
    else:
        yield from _changed(who, own, part.before, part.after, world)


def _refused(column: str) -> str:
    read = _COLUMN.fullmatch(column)
    fills = read is None or read["null"] is None or read["default"] or read["generated"]
    return "" if fills else "; where there are rows it is refused: add it without NOT NULL, fill it"


def column_text(text: str) -> str:
    """A virtual column (from 18 on) needs its word; the others stand as they are."""
    read = _COLUMN.fullmatch(text)
    if (
        read
        and (read["generated"] or "").startswith("always as (")
        and read["generated"][-1] == ")"
    ):
        return f"{text} virtual"
    return text


def default_of(text: str) -> str:
    """
    >>> default_of("text default 'd'::text"), default_of("integer not null")
    ("'d'::text", '')
    """
    read = _COLUMN.fullmatch(text)
    return (read["default"] or "") if read else ""


def with_schema(text: str, world: World, database: str) -> str:
    """A column in which a collation that somebody made is named with its schema: it is told
    without it."""
    read = _COLUMN.fullmatch(text)
    if read is None or not read["collate"]:
        return text
    own = read["collate"].removeprefix(" collate ")
    schemas = {
        schema
        for side in (world.desired, world.observed)
        for schema, fact in side.get((CatalogKind.SCHEMA, database), {}).items()
        if f"\ncollation {own}: " in f"\n{fact.value}"
    }
    if len(schemas) > 1:
        raise NotSqlError(f"collation {own} is in {' and '.join(sorted(schemas))}")
    at = read.end("collate") - len(own)
    return text[:at] + "".join(f"{schema}." for schema in schemas) + text[at:]


def _changed(who: str, own: str, before: str, after: str, world: World) -> Iterator[Step]:
    wanted, is_now = _COLUMN.fullmatch(before), _COLUMN.fullmatch(after)
    alter = f"ALTER TABLE {who} ALTER COLUMN {own}"
    otherwise = by_hand(Phase.COLUMN, f"column {own} of {who} is {after}, should be {before}")
    if wanted is None or is_now is None:
        yield otherwise
        return
    if wanted["generated"] != is_now["generated"]:
        rest = [each["type"] + (each["collate"] or "") for each in (wanted, is_now)]
        same = rest[0] == rest[1] and wanted["null"] == is_now["null"]
        step = _generated(alter, wanted, is_now, world) if same else None
        yield step or otherwise
        return
    other_type = (wanted["type"], wanted["collate"]) != (is_now["type"], is_now["collate"])
    loses = other_type and not (
        (wanted["generated"] or "").startswith("always as (")
        or keeps_values(is_now["type"], wanted["type"])
    )
    if other_type:
        if is_now["default"] is not None:
            yield Step(Phase.COLUMN, f"{alter} DROP DEFAULT", loses=loses)
        # Without USING it is an assignment, which refuses what an explicit cast cuts.
        using = f" USING {own}::{wanted['type']}" if loses else ""
        yield Step(
            Phase.COLUMN,
            f"{alter} TYPE {wanted['type']}{wanted['collate'] or ''}{using}",
            loses=loses,
            note=f"rewrites the table; {ROUNDS if loses else REFUSES}",
        )
    if wanted["default"] != is_now["default"] or (other_type and wanted["default"] is not None):
        set_ = f"SET DEFAULT {wanted['default']}" if wanted["default"] else "DROP DEFAULT"
        yield Step(Phase.COLUMN, f"{alter} {set_}", loses=loses)
    if wanted["null"] != is_now["null"]:
        yield Step(Phase.COLUMN, f"{alter} {'SET' if wanted['null'] else 'DROP'} NOT NULL")


def _generated(
    alter: str, wanted: re.Match[str], is_now: re.Match[str], world: World
) -> Step | None:
    """What makes its values; None where no statement changes just that."""
    before, after = wanted["generated"] or "", is_now["generated"] or ""
    if before.startswith(EXPRESSION) and after.startswith(EXPRESSION):
        # A stored column does not become a virtual one.
        stored = [each.endswith(" stored") for each in (before, after)]
        if stored[0] != stored[1] or not _server_is(world, EXPRESSION_SINCE):
            return None
        expression = before.removeprefix("always as ").removesuffix(" stored")
        note = "the column is computed anew"
        return Step(Phase.COLUMN, f"{alter} SET EXPRESSION AS {expression}", note=note)
    if not before and after.endswith(" stored") and wanted["default"] is None:
        return Step(Phase.COLUMN, f"{alter} DROP EXPRESSION") if _server_is(world, 13) else None
    if not before and after.endswith(IDENTITY) and wanted["default"] is None:
        return Step(Phase.COLUMN, f"{alter} DROP IDENTITY")
    if not before.endswith(IDENTITY):
        return None
    if after.endswith(IDENTITY):
        how = before.removesuffix(IDENTITY).upper()
        return Step(Phase.COLUMN, f"{alter} SET GENERATED {how}")
    if after or is_now["default"] is not None or not is_now["null"]:
        return None
    note = "its sequence begins at 1: set it beyond the values that are there"
    return Step(Phase.COLUMN, f"{alter} ADD GENERATED {before.upper()}", note=note)


def _server_is(world: World, major: int) -> bool:
    fact = world.facts(CatalogKind.SETTING).get("server_version_num")
    return fact is not None and fact.value.isdigit() and int(fact.value) >= major * 10_000
