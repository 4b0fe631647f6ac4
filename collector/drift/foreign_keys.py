"""Foreign keys to partitions: the server makes one of its own for each, beside the one to their
whole table. Agents before format 3 told them; on record, and in files, they stand still."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from collector.drift.baseline import Fact, Facts
from collector.drift.lines import lines_of, outside_quotes, text_of
from collector.drift.partitions import parent_of

REFERENCES = " REFERENCES "
_FOREIGN_KEY = "FOREIGN KEY"


def copies(lines: Mapping[str, str], parents_of: Callable[[str], Iterable[str]]) -> frozenset[str]:
    """Keys of the lines that the server made."""
    keys = {key: text for key, text in lines.items() if text.startswith(_FOREIGN_KEY)}
    found = set()
    for key, text in keys.items():
        referenced = table_referenced(text)
        for parent in parents_of(referenced):
            whole = text.replace(f"{REFERENCES}{referenced}(", f"{REFERENCES}{parent}(", 1)
            if whole in keys.values():
                found.add(key)
    return frozenset(found)


def table_referenced(foreign_key: str) -> str:
    """
    >>> table_referenced("FOREIGN KEY (a) REFERENCES hr.b(id) ON DELETE CASCADE")
    'hr.b'
    """
    at = outside_quotes(foreign_key, REFERENCES)
    rest = foreign_key[at + len(REFERENCES) :] if at >= 0 else ""
    return rest[: max(outside_quotes(rest, "("), 0)]


def without_copies(tables: Facts, observed: Facts) -> Facts:
    """``tables`` without those lines; one that is seen is somebody's own."""
    after = dict(tables)
    for name, fact in tables.items():
        made, seen = _copies_of(fact, tables, observed), observed.get(name)
        gone = made - lines_of(seen.value).keys() if made and seen else made
        if gone:
            kept = {key: text for key, text in lines_of(fact.value).items() if key not in gone}
            after[name] = _seen_or(seen, kept)
    return after


def with_copies(tables: Facts, observed: Facts) -> Facts:
    """As an agent before format 3 tells them."""
    after = dict(tables)
    for name in tables.keys() & observed.keys():
        seen = observed[name]
        if made := _copies_of(seen, observed, {}):
            theirs, mine = lines_of(seen.value), lines_of(tables[name].value)
            more = {key: text for key, text in theirs.items() if key in made or key in mine}
            after[name] = _seen_or(seen, {**more, **mine})
    return after


def _copies_of(table: Fact, tables: Facts, more: Facts) -> frozenset[str]:
    """A file need not name partitions: ``more`` has them."""
    if table.value.count(_FOREIGN_KEY) < 2:
        return frozenset()

    def parents(name: str) -> list[str]:
        return [parent_of(side[name]) for side in (tables, more) if name in side]

    return copies(lines_of(table.value), parents)


def _seen_or(seen: Fact | None, lines: Mapping[str, str]) -> Fact:
    """Numbers of constraints are counted along the lines: what is not seen so has none."""
    same = seen is not None and lines_of(seen.value) == lines
    return seen if seen is not None and same else Fact(text_of(lines), "")
