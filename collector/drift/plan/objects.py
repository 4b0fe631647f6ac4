"""Schemas, sequences, extensions, databases, and what only has an owner."""

from __future__ import annotations

import re
from collections.abc import Iterator

from collector.drift.baseline import Difference
from collector.drift.lines import Part, lines_of, parts
from collector.drift.plan import in_schemas
from collector.drift.plan.quoting import NotSqlError, literal, name, role, split_last
from collector.drift.plan.steps import Phase, Step, World, Writer, by_hand
from model.catalog import CatalogKind, DriftChange

_INTEGER = re.compile(r"-?\d+")


def schema(difference: Difference, world: World, database: str) -> Iterator[Step]:
    who = name(difference.name)
    if difference.change is DriftChange.ADDED:
        # It can only go after what is in it.
        loses = _holds_what_would_be_lost(who, world, database)
        yield from in_schemas.dropped(who, [*lines_of(difference.observed)])
        yield Step(Phase.DROP_SCHEMA, f"DROP SCHEMA {who}", loses=loses)
    elif difference.change is DriftChange.REMOVED:
        lines = lines_of(difference.desired)
        by = f" AUTHORIZATION {role(lines['owner'])}" if lines.get("owner") else ""
        yield Step(Phase.SCHEMA, f"CREATE SCHEMA {who}{by}")
        yield from in_schemas.missing(who, lines)
    else:
        done = set()
        for part in parts(CatalogKind.SCHEMA, difference):
            steps = [*in_schemas.changed(who, part)]
            done |= {part.key} if steps else set()
            yield from steps
        yield from owner_or_by_hand("SCHEMA", CatalogKind.SCHEMA, difference, frozenset(done))


def _holds_what_would_be_lost(schema: str, world: World, database: str) -> bool:
    kinds = (CatalogKind.TABLE, CatalogKind.SEQUENCE, CatalogKind.FUNCTION)
    if any(each.startswith(f"{schema}.") for kind in kinds for each in world.facts(kind, database)):
        return True
    extensions = world.facts(CatalogKind.EXTENSION, database).values()
    return any(lines_of(fact.value).get("schema") == schema for fact in extensions)


def owner_or_by_hand(
    word: str, kind: CatalogKind, difference: Difference, done: frozenset[str] = frozenset()
) -> Iterator[Step]:
    """What every kind of object has; other lines that are not ``done`` are for a person."""
    for part in parts(kind, difference):
        if part.key in done:
            continue
        if part.key == "owner" and part.before:
            text = f"ALTER {word} {name(difference.name)} OWNER TO {role(part.before)}"
            yield Step(Phase.OWNER, text)
        else:
            yield by_hand(Phase.PART, should(word.lower(), difference.name, part))


def should(word: str, about: str, part: Part) -> str:
    is_now, wanted = part.after or "not set", part.before or "not set"
    return f"{word} {about}: {part.key} is {is_now}, should be {wanted}"


def extension(difference: Difference, _world: World, _database: str) -> Iterator[Step]:
    who, wanted = name(difference.name), lines_of(difference.desired)
    if difference.change is DriftChange.ADDED:
        yield Step(
            Phase.DROP_EXTENSION,
            f"DROP EXTENSION {who}",
            loses=True,
            note="its tables and all that they hold go with it",
        )
        return
    if difference.change is DriftChange.REMOVED:
        schema = f" SCHEMA {name(wanted['schema'])}" if wanted.get("schema") else ""
        version = f" VERSION {literal(wanted['version'])}" if wanted.get("version") else ""
        yield Step(Phase.EXTENSION, f"CREATE EXTENSION {who}{schema}{version}")
        return
    for part in parts(CatalogKind.EXTENSION, difference):
        if part.key == "version" and part.before:
            yield Step(
                Phase.EXTENSION,
                f"ALTER EXTENSION {who} UPDATE TO {literal(part.before)}",
                note="not every extension can go back to an older version",
            )
        elif part.key == "schema" and part.before:
            yield Step(Phase.EXTENSION, f"ALTER EXTENSION {who} SET SCHEMA {name(part.before)}")
        elif part.key != "trusted":
            yield by_hand(Phase.PART, should("extension", difference.name, part))


SEQUENCE_WORDS = {
    "type": "AS", "start": "START WITH", "increment": "INCREMENT BY", "minimum": "MINVALUE",
    "maximum": "MAXVALUE", "cache": "CACHE",
}  # fmt: skip


def sequence(difference: Difference, world: World, database: str) -> Iterator[Step]:
    who = name(difference.name)
    if _of_identity(difference, world, database):
        return
    if difference.change is DriftChange.ADDED:
        owned = "owned by" in lines_of(difference.observed)
        # A sequence of a column goes with it.
        exists = "IF EXISTS " if owned else ""
        yield Step(Phase.DROP, f"DROP SEQUENCE {exists}{who}", loses=True)
        return
    changed = [p for p in parts(CatalogKind.SEQUENCE, difference) if p.key != "owner"]
    words = "".join(f" {word}" for part in changed if (word := _sequence_word(part)))
    created = difference.change is DriftChange.REMOVED
    if created:
        yield Step(Phase.SEQUENCE, f"CREATE SEQUENCE {who}{words}", note="it begins anew")
    elif words:
        yield Step(Phase.SEQUENCE, f"ALTER SEQUENCE {who}{words}")
    said = [part.key for part in changed if part.key in SEQUENCE_WORDS and part.before is not None]
    done = frozenset([*said, "cycle", "owned by"])
    if difference.change is DriftChange.CHANGED and "owned by" in lines_of(difference.observed):
        done |= {"owner"}  # It is its table's owner, and changes with it.
    yield from owner_or_by_hand("SEQUENCE", CatalogKind.SEQUENCE, difference, done)
    for part in changed:
        if part.key == "owned by":
            owner = name(part.before) if part.before else "NONE"
            yield Step(Phase.PART, f"ALTER SEQUENCE {who} OWNED BY {owner}")


def _of_identity(difference: Difference, world: World, database: str) -> bool:
    """Made and dropped with its column."""
    column = lines_of(difference.desired or difference.observed).get("owned by", "")
    if not column:
        return False
    table, own = split_last(column)
    wanted = world.desired.get((CatalogKind.TABLE, database), {}).get(table)
    seen = world.facts(CatalogKind.TABLE, database).get(table)
    return any(
        "as identity" in lines_of(fact.value).get(f"column {own}", "")
        for fact in (wanted, seen)
        if fact is not None
    )


def _sequence_word(part: Part) -> str:
    if part.key == "cycle":
        return "CYCLE" if part.before else "NO CYCLE"
    if part.key not in SEQUENCE_WORDS or part.before is None:
        return ""
    if part.key != "type" and not _INTEGER.fullmatch(part.before):
        raise NotSqlError(f"{part.before!r} is not a whole number")
    return f"{SEQUENCE_WORDS[part.key]} {part.before}"


NOT_KEPT = "what it connects with never left the host"


def database(difference: Difference, _world: World, _database: str) -> Iterator[Step]:
    if difference.change is DriftChange.ADDED:
        yield Step(Phase.SETTING, f"DROP DATABASE {name(difference.name)}", loses=True, alone=True)
    elif difference.change is DriftChange.REMOVED:
        yield by_hand(Phase.PART, f"database {difference.name} is gone: restore it from a backup")
    else:
        for part in parts(CatalogKind.DATABASE, difference):
            if words := _database_words(part):
                yield Step(Phase.OWNER, f"ALTER DATABASE {name(difference.name)} {words}")
            else:
                yield by_hand(Phase.PART, should("database", difference.name, part))


def _database_words(part: Part) -> str:
    match part.key:
        case "owner" if part.before:
            return f"OWNER TO {role(part.before)}"
        case "allow connections":
            return f"ALLOW_CONNECTIONS {'true' if part.before == 'yes' else 'false'}"
        case "template":
            return f"IS_TEMPLATE {'true' if part.before == 'yes' else 'false'}"
        case "connection limit" if _INTEGER.fullmatch(part.before or "-1"):
            return f"CONNECTION LIMIT {part.before or -1}"
    return ""


def plain(word: str, kind: CatalogKind) -> Writer:
    """Kinds of which only the owner is changed by statement."""

    def write(difference: Difference, _world: World, _database: str) -> Iterator[Step]:
        if difference.change is DriftChange.CHANGED:
            yield from owner_or_by_hand(word, kind, difference)
        else:
            done = "was created" if difference.change is DriftChange.ADDED else "is gone"
            yield by_hand(Phase.PART, f"{word.lower()} {difference.name} {done}")

    return write


def watched(difference: Difference, _world: World, _database: str) -> Iterator[Step]:
    yield by_hand(
        Phase.PART,
        f"row {difference.name} is {difference.observed or 'not there'}, should be "
        f"{difference.desired or 'not there'}",
    )
