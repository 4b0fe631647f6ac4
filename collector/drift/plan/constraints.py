"""Constraints and indexes of tables, and the foreign keys that stand on them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from collector.drift.foreign_keys import REFERENCES, table_referenced
from collector.drift.lines import Part, lines_of, outside_quotes
from collector.drift.plan.inherited import (
    CONSTRAINT,
    INDEX,
    PARTITION,
    USING,
    copied_keys,
    parents,
    shape,
)
from collector.drift.plan.quoting import listed, name, schema_of
from collector.drift.plan.steps import Phase, Step, World
from model.catalog import CatalogKind

FOREIGN = "FOREIGN KEY"
_UNIQUE = re.compile(r"(?:PRIMARY KEY|UNIQUE(?: NULLS NOT DISTINCT)?) \(")


def constraint(who: str, part: Part, world: World, database: str) -> Iterator[Step]:
    own = name(part.key.removeprefix(CONSTRAINT))
    if part.after is not None:
        yield from _around(who, _unique_columns(part.after), world, database)
        phase = Phase.DROP_FOREIGN_KEY if part.after.startswith(FOREIGN) else Phase.DROP_PART
        yield Step(phase, f"ALTER TABLE {who} DROP CONSTRAINT {own}")
    if part.before is not None:
        phase = Phase.FOREIGN_KEY if part.before.startswith(FOREIGN) else Phase.CONSTRAINT
        yield Step(phase, f"ALTER TABLE {who} ADD CONSTRAINT {own} {part.before}")


def index(who: str, part: Part, world: World, database: str) -> Iterator[Step]:
    if part.after is not None:
        yield from _around(who, _unique_columns(part.after), world, database)
        yield Step(Phase.DROP_PART, f"DROP INDEX {_index(who, part)}")
    if part.before is not None:
        # Of a partitioned table it is shown with ONLY; made so, it would be of no partition.
        yield Step(Phase.CONSTRAINT, part.before.replace(f" ON ONLY {who} ", f" ON {who} ", 1))


def renamed_indexes(who: str, changed: list[Part]) -> tuple[list[Step], list[Part]]:
    """An index holds nothing of its own: one that is alike is the same. The parts that remain."""
    steps: list[Step] = []
    rest = list(changed)
    for gone in [each for each in changed if each.key.startswith(INDEX) and each.after is None]:
        alike = (
            each
            for each in rest
            if each.key.startswith(INDEX)
            and each.before is None
            and shape(each.after) == shape(gone.before)
        )
        if new := next(alike, None):
            rest = [each for each in rest if each not in (gone, new)]
            wanted = name(gone.key.removeprefix(INDEX))
            steps.append(Step(Phase.PART, f"ALTER INDEX {_index(who, new)} RENAME TO {wanted}"))
    return steps, rest


def _index(who: str, part: Part) -> str:
    own, schema = name(part.key.removeprefix(INDEX)), schema_of(who)
    return f"{schema}.{own}" if schema else own


def _around(who: str, columns: frozenset[str], world: World, database: str) -> Iterator[Step]:
    """Foreign keys that need what is dropped: dropped before it, and made again. Those that differ
    themselves have steps of their own."""
    wanted = world.desired.get((CatalogKind.TABLE, database), {})
    for table, fact in world.facts(CatalogKind.TABLE, database).items() if columns else ():
        if f"{REFERENCES}{who}(" not in fact.value:
            continue
        lines, should = lines_of(fact.value), wanted.get(table)
        kept = lines_of(should.value) if should else {}
        made_by_server = copied_keys(lines, world, database)
        for key, text in lines.items():
            if (
                text.startswith(FOREIGN)
                and kept.get(key) == text
                and key not in made_by_server
                and table_referenced(text) == who
                and _columns_of(text[outside_quotes(text, REFERENCES) :]) == columns
                and not _is_parents(lines, text, world, database)
            ):
                alter, own = f"ALTER TABLE {name(table)}", name(key.removeprefix(CONSTRAINT))
                yield Step(Phase.DROP_FOREIGN_KEY, f"{alter} DROP CONSTRAINT {own}")
                yield Step(Phase.FOREIGN_KEY, f"{alter} ADD CONSTRAINT {own} {text}")


def _is_parents(lines: dict[str, str], text: str, world: World, database: str) -> bool:
    tables = world.facts(CatalogKind.TABLE, database)
    above = [tables[each] for each in parents(lines) if PARTITION in lines and each in tables]
    return any(text in lines_of(each.value).values() for each in above)


def _unique_columns(definition: str) -> frozenset[str]:
    """Of a constraint or index that a foreign key may stand on; else none."""
    if _UNIQUE.match(definition):
        return _columns_of(definition)
    if definition.startswith("CREATE UNIQUE INDEX "):
        return _columns_of(definition[max(outside_quotes(definition, USING), 0) :])
    return frozenset()


def _columns_of(text: str) -> frozenset[str]:
    """
    >>> sorted(_columns_of('PRIMARY KEY (id, "at (x)")'))
    ['"at (x)"', 'id']
    """
    start = outside_quotes(text, "(")
    rest = text[start + 1 :]
    end = outside_quotes(rest, ")")
    return frozenset(listed(rest[:end])) if start >= 0 and end >= 0 else frozenset()
