"""What the numbers prove to be renamed gets its name back; nothing of it is lost.

All that speaks of it (keys, policies, views, rights) does so by its old name then, and is compared
as it will be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

from collector.drift.baseline import Fact, Facts
from collector.drift.lines import lines_of, text_of
from collector.drift.numbers import numbers_of
from collector.drift.observed import Whole
from collector.drift.plan.inherited import parents
from collector.drift.plan.others_back import Other, after, by_now, statements
from collector.drift.plan.past import Named, Past
from collector.drift.plan.quoting import NotSqlError, name, split_last
from collector.drift.plan.renames import FOLLOW, Alike, Wholes, followed, renamed
from collector.drift.plan.steps import Phase, Step
from model.catalog import CatalogKind

TABLES = frozenset(["table", "partitioned table", "foreign table"])
NOTE = "it was renamed: its number in the catalog is the same"
OF_ROLE = f"{NOTE}. An MD5 password goes with the name that it was set under"
Before = Mapping[str, tuple[Named, ...]]


class NamedBack(NamedTuple):
    steps: list[Step]
    """Before all others."""
    observed: Wholes
    """As it is after them."""


def names_back(desired: Whole, observed: Whole, past: Past) -> NamedBack:
    done = NamedBack([], dict(observed))
    done, past = _others(CatalogKind.ROLE, desired, done, past, "")
    for database in dict.fromkeys(where for _, where in desired if where):
        done, past = _others(CatalogKind.SCHEMA, desired, done, past, database)
        if (CatalogKind.TABLE, database) in desired.keys() & observed.keys():
            done = _of_database(desired, done, past, database)
        for kind in (CatalogKind.SEQUENCE, CatalogKind.TYPE, CatalogKind.FUNCTION):
            done, past = _others(kind, desired, done, past, database)
    return done


def _others(
    kind: CatalogKind, desired: Whole, done: NamedBack, past: Past, database: str
) -> tuple[NamedBack, Past]:
    """What is no table; and ``past`` by the names that things have then."""
    place = (kind, database)
    if place not in desired or place not in done.observed:
        return done, past
    for alike in _pairs(desired[place], done.observed[place], past.of(*place)):
        pair = Other(kind, alike.old, alike.new)
        fact = done.observed[place][pair.new]
        tables = done.observed.get((CatalogKind.TABLE, database), {})
        try:
            texts = list(statements(pair, fact, tables))
        except NotSqlError:
            continue
        note = OF_ROLE if kind is CatalogKind.ROLE else NOTE
        done = _with(done, texts, database, after(pair, database, done.observed, desired), note)
        past = past.named(database, partial(by_now, pair))
    return done, past


def _of_database(desired: Whole, done: NamedBack, past: Past, database: str) -> NamedBack:
    place = (CatalogKind.TABLE, database)
    before = dict(past.of(*place))
    tables = _pairs(desired[place], done.observed[place], before)
    for pair in tables:
        if texts := _statements(_of_table, pair):
            done = _with(done, texts, database, _renamed(done, desired, database, pair))
            before[pair.old] = before[pair.new]
    for pair in _all_parts("column", desired[place], done.observed[place], before):
        # What inherits a column has its name from its parent.
        of_parent = _inherits(done, place, pair)
        texts = [] if of_parent else _statements(_of_column, pair)
        if of_parent or texts:
            done = _with(done, texts, database, _renamed(done, desired, database, pair))
    for pair in _all_parts("constraint", desired[place], done.observed[place], before):
        if not _inherits(done, place, pair) and (texts := _statements(_of_constraint, pair)):
            done = _with(done, texts, database, _with_constraint(done, database, pair))
    for kind in _WRITERS:
        if (kind, database) in desired and (kind, database) in done.observed:
            done = _beside_tables(kind, desired, done, past, tables, database)
    return done


def _with(
    done: NamedBack, texts: Iterable[str], database: str, seen: Wholes, note: str = NOTE
) -> NamedBack:
    steps = [Step(Phase.NAME_BACK, text, note=note, database=database) for text in texts]
    return NamedBack([*done.steps, *steps], seen)


def _pairs(wanted: Facts, seen: Facts, before: Before) -> list[Alike]:
    return _clear(
        Alike("", old, new)
        for new, known in before.items()
        if new in seen and new not in wanted
        for old in sorted({each.name for each in known})
        if old in wanted and old not in seen
    )


def _clear(pairs: Iterable[Alike]) -> list[Alike]:
    """Only what one alone can be: two may have had a name one after the other."""
    found = list(pairs)
    olds, news = Counter(p.old for p in found), Counter(p.new for p in found)
    return [pair for pair in found if olds[pair.old] == news[pair.new] == 1]


def _all_parts(word: str, wanted: Facts, seen: Facts, before: Before) -> Iterator[Alike]:
    for table, should in wanted.items():
        if table in seen and table in before:
            yield from _clear(_parts(word, table, should, seen[table], before[table]))


def _parts(
    word: str, table: str, wanted: Fact, seen: Fact, known: Iterable[Named]
) -> Iterator[Alike]:
    lines, should = lines_of(seen.value), lines_of(wanted.value)
    if lines.get("kind") not in TABLES:
        return
    former: dict[str, set[str]] = {}
    for each in known:
        for number, own in numbers_of(word, each.fact).items():
            former.setdefault(number, set()).add(own)
    for number, new in numbers_of(word, seen).items():
        for old in sorted(former.get(number, ())):
            is_gone = f"{word} {old}" in should and f"{word} {old}" not in lines
            if is_gone and f"{word} {new}" not in should:
                yield Alike(table, old, new)


def _inherits(done: NamedBack, place: tuple[CatalogKind, str], pair: Alike) -> bool:
    return bool(parents(lines_of(done.observed[place][pair.table].value)))


def _statements(writer: Callable[[Alike], Iterator[str]], pair: Alike) -> list[str]:
    """None where a name cannot be said in SQL."""
    try:
        return list(writer(pair))
    except NotSqlError:
        return []


def _of_table(pair: Alike) -> Iterator[str]:
    """ALTER TABLE names views and foreign tables back as well."""
    (old_schema, old), (new_schema, new) = split_last(pair.old), split_last(pair.new)
    if old_schema != new_schema:
        yield f"ALTER TABLE {name(pair.new)} SET SCHEMA {old_schema}"
    if old != new:
        yield f"ALTER TABLE {old_schema}.{new} RENAME TO {old}"


def _of_column(pair: Alike) -> Iterator[str]:
    yield f"ALTER TABLE {name(pair.table)} RENAME COLUMN {name(pair.new)} TO {name(pair.old)}"


def _of_constraint(pair: Alike) -> Iterator[str]:
    yield f"ALTER TABLE {name(pair.table)} RENAME CONSTRAINT {name(pair.new)} TO {name(pair.old)}"


def _beside_table(word: str, pair: Alike) -> Iterator[str]:
    """Nothing where it is of another table by now."""
    (table, old), (here, new) = split_last(pair.old), split_last(pair.new)
    if table == here:
        yield f"ALTER {word} {new} ON {table} RENAME TO {old}"


_WRITERS: dict[CatalogKind, Callable[[Alike], Iterator[str]]] = {
    CatalogKind.POLICY: partial(_beside_table, "POLICY"),
    CatalogKind.TRIGGER: partial(_beside_table, "TRIGGER"),
}


def _beside_tables(
    kind: CatalogKind,
    desired: Whole,
    done: NamedBack,
    past: Past,
    tables: Iterable[Alike],
    database: str,
) -> NamedBack:
    """Policies and triggers, whose table has its name back by now."""

    def by_now(own: str) -> str:
        for pair in tables:
            own = renamed(kind, own, pair)
        return own

    before = {by_now(own): known for own, known in past.of(kind, database).items()}
    for pair in _pairs(desired[kind, database], done.observed[kind, database], before):
        if texts := _statements(_WRITERS[kind], pair):
            facts = dict(done.observed[kind, database])
            fact = facts.pop(pair.new)
            old, new = split_last(pair.old)[1], split_last(pair.new)[1]
            spelled = fact.value.replace(f" TRIGGER {new} ", f" TRIGGER {old} ", 1)
            facts[pair.old] = fact._replace(value=spelled)
            done = _with(done, texts, database, {**done.observed, (kind, database): facts})
    return done


def _renamed(done: NamedBack, desired: Whole, database: str, pair: Alike) -> Wholes:
    """All that speaks of it does so by its old name then."""
    seen, after = done.observed, dict(done.observed)
    for kind in FOLLOW:
        if (kind, database) in seen:
            wanted = desired.get((kind, database), {})
            facts: dict[str, Fact] = {}
            for own, fact in seen[kind, database].items():
                now = renamed(kind, own, pair)
                facts[now] = followed(own, fact, wanted[now], pair) if now in wanted else fact
            after[kind, database] = facts
    if pair.table:
        _rename_key(after, database, pair, "column")
    return after


def _with_constraint(done: NamedBack, database: str, pair: Alike) -> Wholes:
    after = dict(done.observed)
    _rename_key(after, database, pair, "constraint")
    return after


def _rename_key(seen: Wholes, database: str, pair: Alike, word: str) -> None:
    """Also where the line differs in something else."""
    tables = dict(seen[CatalogKind.TABLE, database])
    fact = tables[pair.table]
    keys = {f"{word} {pair.new}": f"{word} {pair.old}"}
    lines = {keys.get(key, key): text for key, text in lines_of(fact.value).items()}
    tables[pair.table] = fact._replace(value=text_of(lines))
    seen[CatalogKind.TABLE, database] = tables
