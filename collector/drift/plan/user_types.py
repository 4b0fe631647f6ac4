"""Types that somebody made: enums, domains, composites."""

from __future__ import annotations

import re
from collections.abc import Iterator

from collector.drift.baseline import Difference
from collector.drift.lines import Part, lines_of, parts
from collector.drift.plan.objects import owner_or_by_hand
from collector.drift.plan.quoting import name, role
from collector.drift.plan.steps import Phase, Step, World, by_hand
from model.catalog import CatalogKind, DriftChange

_CONSTRAINT, _COLUMN = "constraint ", "column "
_LABELS = re.compile(r"E?'(?:[^']|'')*'")
_READS = "reads all columns of the domain; refused where a value does not fit"


def type_(difference: Difference, _world: World, _database: str) -> Iterator[Step]:
    who, wanted = name(difference.name), lines_of(difference.desired)
    if difference.change is DriftChange.ADDED:
        domain = lines_of(difference.observed).get("kind") == "domain"
        yield Step(Phase.DROP_TYPE, f"DROP {'DOMAIN' if domain else 'TYPE'} {who}")
        return
    if difference.change is DriftChange.REMOVED:
        if wanted.get("kind") == "enum":
            labels = ", ".join(_LABELS.findall(wanted.get("labels", "")))
            yield Step(Phase.TYPE, f"CREATE TYPE {who} AS ENUM ({labels})")
        elif wanted.get("kind") == "composite":
            columns = [
                f"{name(key.removeprefix('column '))} {text}"
                for key, text in wanted.items()
                if key.startswith("column ")
            ]
            yield Step(Phase.TYPE, f"CREATE TYPE {who} AS ({', '.join(columns)})")
        elif wanted.get("kind") == "domain" and wanted.get("base"):
            yield Step(Phase.TYPE, _create_domain(who, wanted))
        else:
            yield by_hand(Phase.TYPE, f"create type {difference.name} again")
            return
        if wanted.get("owner"):
            yield Step(Phase.OWNER, f"ALTER TYPE {who} OWNER TO {role(wanted['owner'])}")
        return
    write = _WRITERS.get(wanted.get("kind", ""))
    if write is None or wanted.get("kind") != lines_of(difference.observed).get("kind"):
        yield from owner_or_by_hand("TYPE", CatalogKind.TYPE, difference)
        return
    done = set()
    for part in parts(CatalogKind.TYPE, difference):
        steps = [*write(who, part)]
        done |= {part.key} if steps else set()
        yield from steps
    yield from owner_or_by_hand("TYPE", CatalogKind.TYPE, difference, frozenset(done))


def _domain_part(who: str, part: Part) -> Iterator[Step]:
    if part.key.startswith(_CONSTRAINT):
        yield from _domain_constraint(who, part)
    elif part.key == "default":
        words = "DROP DEFAULT" if part.before is None else f"SET DEFAULT {part.before}"
        yield Step(Phase.PART, f"ALTER DOMAIN {who} {words}")
    elif part.key == "not null":
        words = "DROP" if part.before is None else "SET"
        note = "" if part.before is None else _READS
        yield Step(Phase.PART, f"ALTER DOMAIN {who} {words} NOT NULL", note=note)


def _composite_part(who: str, part: Part) -> Iterator[Step]:
    """The server refuses another type of an attribute while a column holds such values."""
    if not part.key.startswith(_COLUMN):
        return
    own = name(part.key.removeprefix(_COLUMN))
    if part.before is None:
        yield Step(Phase.DROP_COLUMN, f"ALTER TYPE {who} DROP ATTRIBUTE {own}", loses=True)
    elif part.after is None:
        note = "empty in values that are there"
        yield Step(Phase.COLUMN, f"ALTER TYPE {who} ADD ATTRIBUTE {own} {part.before}", note=note)
    else:
        text = f"ALTER TYPE {who} ALTER ATTRIBUTE {own} TYPE {part.before}"
        yield Step(Phase.COLUMN, text, note="refused while a column is of this type")


def _enum_part(who: str, part: Part) -> Iterator[Step]:
    """Labels that are missing; none can be taken away. Before all else: what a transaction adds it
    cannot use."""
    wanted, now = (_LABELS.findall(text or "") for text in (part.before, part.after))
    renamed = [pair for pair in zip(now, wanted, strict=False) if pair[0] != pair[1]]
    if len(wanted) == len(now) and not any(old in wanted or new in now for old, new in renamed):
        for old, new in renamed:
            yield Step(Phase.TYPE, f"ALTER TYPE {who} RENAME VALUE {old} TO {new}")
        return
    if part.key != "labels" or [each for each in wanted if each in now] != now:
        return
    for at, label in enumerate(wanted):
        if label not in now:
            place = f"AFTER {wanted[at - 1]}" if at else f"BEFORE {now[0]}" if now else ""
            text = f"ALTER TYPE {who} ADD VALUE {label} {place}".rstrip()
            yield Step(Phase.TYPE, text, alone=True)


_WRITERS = {"domain": _domain_part, "composite": _composite_part, "enum": _enum_part}


def _domain_constraint(who: str, part: Part) -> Iterator[Step]:
    own = name(part.key.removeprefix(_CONSTRAINT))
    if part.after is not None:
        yield Step(Phase.DROP_PART, f"ALTER DOMAIN {who} DROP CONSTRAINT {own}")
    if part.before is not None:
        text = f"ALTER DOMAIN {who} ADD CONSTRAINT {own} {part.before}"
        yield Step(Phase.CONSTRAINT, text, note=_READS)


def _create_domain(who: str, lines: dict[str, str]) -> str:
    text = f"CREATE DOMAIN {who} AS {lines['base']}"
    if "default" in lines:
        text += f" DEFAULT {lines['default']}"
    if "not null" in lines:
        text += " NOT NULL"
    for key, check in lines.items():
        if key.startswith(_CONSTRAINT):
            text += f" CONSTRAINT {name(key.removeprefix(_CONSTRAINT))} {check}"
    return text
