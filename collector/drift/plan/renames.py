"""What is gone, and what is new and alike: perhaps one thing under another name, perhaps two.

Where no numbers prove it (``names_back``), a plan never renames what holds data: whatever rows were
put into the new one would come back under the name of the old. Mostly the new one is dropped, as a
loss, and the old one made anew. But where constraints, indexes or a partition's bounds speak of the
new name in the place of the old, the server most likely renamed them: that is a person's to decide,
and all that would follow is left until then.

Roles are not renamed back without such a proof: one that somebody made in the place of another has
a password of theirs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from collector.drift.baseline import Fact, Facts
from collector.drift.declaration.implicit import same
from collector.drift.lines import lines_of, text_of
from collector.drift.observed import Whole
from collector.drift.plan.past import NO_PAST, Past
from collector.drift.plan.quoting import NotSqlError, name, schema_of, split_last
from collector.drift.plan.steps import Phase, Step
from model.catalog import CatalogKind

Wholes = dict[tuple[CatalogKind, str], Facts]
Swap = Callable[[str], str]

COLUMN, PARTITION = "column ", "partition of"
BY_NAME = ("constraint ", "index ", "rule ", PARTITION)
HOLDS_ROWS = frozenset(["table", "partitioned table"])
FOLLOW = (
    CatalogKind.TABLE, CatalogKind.POLICY, CatalogKind.TRIGGER, CatalogKind.PRIVILEGE,
    CatalogKind.SEQUENCE, CatalogKind.PUBLICATION,
)  # fmt: skip
SAID = 3
DECIDE = "if this was renamed from the one that is gone, name it back; if not, drop it; plan again"


class Alike(NamedTuple):
    """``new`` may be ``old`` renamed: columns of ``table``, or tables where that is empty."""

    table: str
    old: str
    new: str

    def turned(self) -> Alike:
        return Alike(self.table, self.new, self.old)

    def statement(self) -> str:
        """That names it back. Raises NotSqlError."""
        if self.table:
            names = f"RENAME COLUMN {name(self.new)} TO {name(self.old)}"
            return f"ALTER TABLE {name(self.table)} {names}"
        return f"ALTER TABLE {name(self.new)} RENAME TO {split_last(self.old)[1]}"


class Undecided(NamedTuple):
    steps: list[Step]
    """For a person, before all others."""
    observed: Wholes
    """As it would be after them."""
    pairs: list[tuple[str, Alike]]
    """With the database of each."""

    def waits(self, kind: CatalogKind, database: str, item: str) -> bool:
        """Whether ``item`` is of what is not there by this name until somebody has decided."""
        return any(
            database == of and kind in FOLLOW and renamed(kind, item, pair.turned()) != item
            for of, pair in self.pairs
        )


def left_to_decide(desired: Whole, observed: Whole, past: Past = NO_PAST) -> Undecided:
    """Renames that a person has to look at; not what ``past`` knows to be another object."""
    steps: list[Step] = []
    pairs: list[tuple[str, Alike]] = []
    seen: Wholes = dict(observed)
    for kind, database in desired:
        if kind is not CatalogKind.TABLE or (kind, database) not in seen:
            continue
        for pair in _likely(desired[kind, database], seen[kind, database]):
            text = _sayable(pair)
            if not text or rules_out(past, database, pair, seen[kind, database]):
                continue
            steps.append(Step(Phase.DECIDE, text, by_hand=True, note=DECIDE, database=database))
            pairs.append((database, pair))
            seen = _as_renamed(seen, desired, database, pair)
    return Undecided(steps, seen, pairs)


def alike_tables(desired: Facts, observed: Facts) -> list[Alike]:
    """Of those that are alike only some: there may be thousands."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], list[str]] = {}
    for own, fact in observed.items():
        if own not in desired:
            alike = found.setdefault(_nameless(fact, own), [])
            alike += [own] if len(alike) < SAID else []
    return [
        Alike("", old, new)
        for old, fact in desired.items()
        if found and old not in observed and _holds_rows(fact)
        for new in found.get(_nameless(fact, old), ())
    ]


def alike_columns(table: str, before: dict[str, str], after: dict[str, str]) -> list[Alike]:
    gone = [key for key in before if key.startswith(COLUMN) and key not in after]
    new = [key for key in after if key.startswith(COLUMN) and key not in before]
    return [
        Alike(table, old.removeprefix(COLUMN), now.removeprefix(COLUMN))
        for old in gone
        for now in new
        if before[old] == after[now]
    ]


def perhaps(pairs: Iterable[Alike]) -> str:
    """What only a person can know, beside the step that would lose it."""
    said = [
        f"if it is {pair.old} renamed, then instead: {text}"
        for pair in pairs
        if (text := _sayable(pair))
    ]
    return f"{'; '.join(said)}; and plan again" if said else ""


def rules_out(past: Past, database: str, pair: Alike, seen: Facts) -> bool:
    """The numbers say that it was not renamed."""
    fact = seen.get(pair.table or pair.new)
    if fact is None:
        return False
    if pair.table:
        return past.is_another_column(database, pair.table, pair.old, pair.new, fact)
    return past.is_another((CatalogKind.TABLE, database), pair.old, fact)


def _sayable(pair: Alike) -> str:
    try:
        return pair.statement()
    except NotSqlError:
        return ""


def perhaps_renamed(
    desired: Whole, observed: Whole, past: Past = NO_PAST
) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], list[Alike]] = {}
    for kind, database in desired:
        if kind is CatalogKind.TABLE:
            seen = observed.get((kind, database), {})
            for pair in alike_tables(desired[kind, database], seen):
                if rules_out(past, database, pair, seen):
                    continue
                if len(found.setdefault((database, pair.new), [])) < SAID:
                    found[database, pair.new].append(pair)
    return {key: perhaps(pairs) for key, pairs in found.items()}


def _likely(desired: Facts, observed: Facts) -> Iterator[Alike]:
    tables = [
        pair
        for pair in alike_tables(desired, observed)
        if any(key.startswith(BY_NAME) for key in lines_of(desired[pair.old].value))
    ]
    yield from _clear(tables)
    for table in desired:
        seen = observed.get(table)
        if seen is None or desired[table].value == seen.value or not _holds_rows(seen):
            continue
        before, after = lines_of(desired[table].value), lines_of(observed[table].value)
        pairs = alike_columns(table, before, after)
        yield from _clear(pair for pair in pairs if _is_followed(pair, before, after))


def _clear(pairs: Iterable[Alike]) -> list[Alike]:
    """Those of which no other has the same end."""
    every = list(pairs)
    ends = Counter(("old", pair.old) for pair in every)
    ends += Counter(("new", pair.new) for pair in every)
    return [p for p in every if ends["old", p.old] == ends["new", p.new] == 1]


def _is_followed(pair: Alike, before: dict[str, str], after: dict[str, str]) -> bool:
    [swap] = _swaps(pair)
    return any(
        key.startswith(BY_NAME) and before.get(key, text) != text and before[key] == swap(text)
        for key, text in after.items()
    )


def _holds_rows(fact: Fact) -> bool:
    return lines_of(fact.value).get("kind") in HOLDS_ROWS


def _nameless(fact: Fact, own: str) -> tuple[str, frozenset[tuple[str, str]]]:
    """Its schema and lines; indexes among them name the table itself. Two partitions never have one
    place, and of what else they have most comes from their table."""
    text = fact.value.replace(f" ON {own} ", " ON @ ").replace(f" ON ONLY {own} ", " ON ONLY @ ")
    lines = lines_of(text)
    alike = {PARTITION: lines[PARTITION]} if PARTITION in lines else lines
    return _schema(own), frozenset(alike.items())


def _schema(own: str) -> str:
    try:
        return schema_of(own)
    except NotSqlError:
        return own  # Like no other.


def _as_renamed(seen: Wholes, desired: Whole, database: str, pair: Alike) -> Wholes:
    renamed = dict(seen)
    for kind in FOLLOW:
        if (kind, database) in seen:
            wanted = desired.get((kind, database), {})
            renamed[kind, database] = dict(
                _follower(kind, own, fact, wanted, pair)
                for own, fact in seen[kind, database].items()
            )
    return renamed


def _follower(
    kind: CatalogKind, own: str, fact: Fact, wanted: Facts, pair: Alike
) -> tuple[str, Fact]:
    """A right, policy or trigger that is too much or another can go now, by the name it has."""
    now = renamed(kind, own, pair)
    if now not in wanted:
        return (now if kind is CatalogKind.TABLE else own), fact
    after = followed(own, fact, wanted[now], pair)
    if now == own or kind is CatalogKind.TABLE or same(kind, after.value, wanted[now].value):
        return now, after
    return own, fact


def renamed(kind: CatalogKind, text: str, pair: Alike) -> str:
    """The name of an item: of the table or column, of a part of it, or of a right on either."""
    old, new, heads = pair.old, pair.new, ["", "table:", "column:"]
    if pair.table:
        if kind is not CatalogKind.PRIVILEGE:
            return text
        old, new, heads = f"{pair.table}.{old}", f"{pair.table}.{new}", ["column:"]
    for head in heads:
        if text == head + new or text.startswith((f"{head}{new}.", f"{head}{new}<-")):
            return head + old + text[len(head + new) :]
    return text


def followed(own: str, fact: Fact, wanted: Fact, pair: Alike) -> Fact:
    """The fact with each line as it is desired that would be so by the new name alone."""
    about = pair.table or pair.new
    if fact.value == wanted.value:
        return fact
    lines, should = lines_of(fact.value), lines_of(wanted.value)
    said: dict[str, str] = {}
    for key, text in lines.items():
        itself = own == about or own.startswith(f"{about}.") or about in f"{key} {text}"
        swaps = _swaps(pair) if itself and should.get(key) != text else []
        tried = (
            (each, said_so)
            for swap in swaps
            for each in (key, swap(key))
            for said_so in (swap(text), text)
        )
        now = next(((k, t) for k, t in tried if should.get(k) == t), (key, text))
        said[now[0]] = now[1]
    if "definition" in said and said.get("text") == should.get("text") != lines.get("text"):
        said["definition"] = should.get("definition", "")  # A hash of that text.
    return fact._replace(value=text_of(said)) if said != lines else fact


def _swaps(pair: Alike) -> list[Swap]:
    """Ways in which a text may speak of it: a view names its own column still as it was."""
    if pair.table:
        word, old = _word(pair.new), pair.old

        def swap(text: str) -> str:
            text = re.sub(rf"{word} AS {_word(old)}", lambda _: old, text)
            return re.sub(word, lambda _: old, text)

        return [swap]
    bare_old, bare_new = split_last(pair.old)[1], split_last(pair.new)[1]
    return [
        lambda text: re.sub(_word(pair.new), lambda _: pair.old, text),
        lambda text: re.sub(_word(bare_new), lambda _: bare_old, text),
    ]


def _word(text: str) -> str:
    return rf'(?<![\w$"]){re.escape(text)}(?![\w$"])'
