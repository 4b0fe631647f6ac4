"""What a table only has because another one has it: there it is made, changed and dropped."""

from __future__ import annotations

from collections.abc import Iterator

from collector.drift.baseline import Difference, Facts
from collector.drift.foreign_keys import copies
from collector.drift.lines import Part, lines_of, outside_quotes, parts
from collector.drift.plan.quoting import listed, name
from collector.drift.plan.steps import Phase, Step, World
from model.catalog import CatalogKind, DriftChange

COLUMN, CONSTRAINT, INDEX = "column ", "constraint ", "index "
PARTITION, INHERITS = "partition of", "inherits"
USING = " USING "
Lines = dict[str, str]


def own_parts(changed: list[Part], before: Lines, after: Lines, world: World, database: str
              ) -> list[Part]:  # fmt: skip
    """Those parts of a table's difference that do not follow from another table's."""
    copied = copied_keys(before, world, database) | copied_keys(after, world, database)
    partition = PARTITION in before and PARTITION in after
    kept = [each for each in parents(after) if each in parents(before)]  # else it is let go first
    above = [part for each in kept for part in _differences(each, world, database)]
    return [
        part
        for part in changed
        if part.key not in copied and not any(_follows(part, each, partition) for each in above)
    ]


def inherited(alter: str, part: Part) -> Iterator[Step]:
    """After its own columns and checks: it must have those of its parents."""
    wanted, now = ({*listed(text)} if text else set() for text in (part.before, part.after))
    for parent in sorted(now - wanted):
        yield Step(Phase.DROP_PART, f"{alter} NO INHERIT {name(parent)}")
    for parent in sorted(wanted - now):
        yield Step(Phase.FOREIGN_KEY, f"{alter} INHERIT {name(parent)}")


def copied_keys(lines: Lines, world: World, database: str) -> frozenset[str]:
    """Foreign keys to partitions, which an older agent tells."""
    return copies(lines, lambda table: _all_parents(table, world, database))


def parents(lines: Lines) -> list[str]:
    """
    >>> parents({"partition of": "hr.events FOR VALUES IN (1)"}), parents({"inherits": "a.b, a.c"})
    (['hr.events'], ['a.b', 'a.c'])
    """
    if PARTITION in lines:
        text = lines[PARTITION]
        at = outside_quotes(text, " ")
        return [text if at < 0 else text[:at]]
    return listed(lines[INHERITS]) if INHERITS in lines else []


def ancestors(lines: Lines, tables: Facts) -> Iterator[str]:
    """Tables that it is a partition or child of, the nearest first."""
    for parent in parents(lines):
        yield parent
        if parent in tables:
            yield from ancestors(lines_of(tables[parent].value), tables)


def _all_parents(table: str, world: World, database: str) -> Iterator[str]:
    for side in (world.observed, world.desired):
        fact = side.get((CatalogKind.TABLE, database), {}).get(table)
        for parent in parents(lines_of(fact.value)) if fact else ():
            if parent != table:
                yield parent


def _differences(table: str, world: World, database: str) -> list[Part]:
    wanted = world.desired.get((CatalogKind.TABLE, database), {}).get(table)
    seen = world.facts(CatalogKind.TABLE, database).get(table)
    if wanted is None or seen is None:
        return []
    whole = Difference(table, DriftChange.CHANGED, wanted.value, seen.value, ("", ""))
    return list(parts(CatalogKind.TABLE, whole))


def _follows(part: Part, above: Part, partition: bool) -> bool:
    """``above`` is a part of the parent's difference. A partition names its own otherwise."""
    one, other = (part.before, part.after), (above.before, above.after)
    if part.key.startswith(COLUMN):
        return part == above
    if part.key.startswith(CONSTRAINT) and above.key.startswith(CONSTRAINT):
        checks = all((text or "CHECK").startswith("CHECK") for text in one)
        inherited = not any((text or "").endswith(" NO INHERIT") for text in one)
        return one == other and (partition or (checks and part.key == above.key and inherited))
    if part.key.startswith(INDEX) and above.key.startswith(INDEX) and partition:
        return [shape(text) for text in one] == [shape(text) for text in other]
    return False


def shape(index: str | None) -> str:
    """What an index's definition says without its names."""
    text = index or ""
    head = "UNIQUE" if text.startswith("CREATE UNIQUE ") else ""
    return head + text[max(outside_quotes(text, USING), 0) :]
