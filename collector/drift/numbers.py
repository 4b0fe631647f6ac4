"""What the server's own numbers of objects say: the same one by another name, or another one by the
same name.

An agent tells them in the detail of an item (``oid 16384; column 1-3,5; constraint 16390``, as
agent/catalog/items/numbers.py writes it). They are of one database of one server, so nothing is
compared by them: a restored dump, another server and a declared file differ in nothing else. What
an older agent sent has none, and then nothing is said.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from collector.drift import baseline
from collector.drift.baseline import Difference, Fact, Facts
from collector.drift.lines import lines_of
from model.catalog import DriftChange

_DETAIL = re.compile(r"oid (?P<oid>\d+)(?: of cluster \d+)?(?P<parts>(?:; [a-z]+ [\d,-]+)*)")
FIRST_NORMAL_OID = 16384
"""initdb gives lower ones, no statement does."""
RENAMED_FROM, RENAMED_TO = "renamed from ", "renamed to "
MADE_ANEW = "dropped and made anew"
TAKEN = "another one, the former one is now "
_PARTS = ("column", "constraint")


class Part(NamedTuple):
    """A column or constraint of one object by another name; both as in the keys of lines."""

    word: str
    old: str
    new: str


def oid_of(detail: str) -> str:
    """Empty where the agent did not tell it.

    >>> oid_of("oid 16384; column 1-3"), oid_of("configuration file a.conf:3")
    ('16384', '')
    """
    found = _DETAIL.fullmatch(detail)
    return found["oid"] if found else ""


def is_built_in(difference: Difference) -> bool:
    """Whether something came with PostgreSQL that became an item, or no longer is one."""
    oids = [int(oid) for oid in map(oid_of, difference.details) if oid]
    came_or_went = difference.change is not DriftChange.CHANGED
    return came_or_went and bool(oids) and oids[-1] < FIRST_NORMAL_OID


def same_object(one: str, other: str) -> bool | None:
    """Whether two details are of one object; None where one of them does not say it."""
    first, second = oid_of(one), oid_of(other)
    return first == second if first and second else None


def is_replaced(difference: Difference) -> bool:
    """By the same name."""
    return same_object(*difference.details) is False


def taking(accepted: Facts, observed: Facts, names: Iterable[str]) -> Facts:
    """``accepted`` with the numbers of ``observed`` where nothing else differs. What somebody
    accepted is what it is like, and not which one it is: unless that one is there by a name that
    nobody accepted, for then it was renamed."""
    news = {
        name: fact
        for name in names
        if (fact := observed.get(name)) is not None
        and (old := accepted.get(name)) is not None
        and old.value == fact.value
        and old.detail != fact.detail
        and oid_of(fact.detail)
    }
    if any(oid_of(accepted[name].detail) for name in news):
        new = observed.keys() - accepted.keys()
        elsewhere = {oid_of(observed[name].detail) for name in new} - {""}
        news = {n: f for n, f in news.items() if oid_of(accepted[n].detail) not in elsewhere}
    return {**accepted, **news} if news else accepted


def replaced(before: Facts, after: Facts, names: Iterable[str]) -> Iterator[str]:
    """Those of ``names`` that say the same as before, and are another object, or have a number for
    the first time."""
    for name in names:
        old, new = before.get(name), after.get(name)
        if (
            old is not None
            and new is not None
            and old.value == new.value
            and oid_of(new.detail) not in ("", oid_of(old.detail))
        ):
            yield name


def other_names(before: Facts, message: baseline.Part) -> dict[str, str]:
    """Names by which ``message`` calls objects that had others ``before``, by these. One that is
    told without its number, or whose name was in another message, is not among them."""
    items = message.items
    free = message.removed | items.keys() if message.base_at_us else before.keys()
    was = {
        oid: name
        for name in free
        if (fact := before.get(name)) is not None
        and message.names.has(name)
        and ((now := items.get(name)) is None or now.detail != fact.detail)
        and (oid := oid_of(fact.detail))
    }
    if not was:
        return {}
    return {
        was[oid]: name
        for name, fact in items.items()
        if was.get(oid := oid_of(fact.detail), name) != name
    }


class Names:
    """Of all objects of a scope by their numbers: as they are accepted, and as they are."""

    def __init__(self, accepted: Facts, observed: Facts) -> None:
        self._accepted, self._observed = accepted, observed
        self._before, self._after = _by_oid(accepted), _by_oid(observed)

    def other_value(self, said: str) -> str:
        """What the object that is renamed so is, or was, under its other name."""
        if said.startswith(RENAMED_FROM):
            return self._accepted[said.removeprefix(RENAMED_FROM)].value
        name = said.removeprefix(RENAMED_TO)
        return self._observed[name].value if said.startswith(RENAMED_TO) else ""

    def said(self, difference: Difference) -> str:
        """``renamed from hr.wages``, ``renamed to hr.salary``, ``dropped and made anew``, ``another
        one, the former one is now hr.old``, or which columns have other names; empty where the
        numbers say nothing special."""
        old, new = map(oid_of, difference.details)
        if new and new != old and (former := self._before.get(new)) is not None:
            return f"{RENAMED_FROM}{former}"
        if difference.change is DriftChange.REMOVED and (now := self._after.get(old)) is not None:
            return f"{RENAMED_TO}{now}"
        if difference.change is not DriftChange.CHANGED or not (old and new):
            return ""
        if old == new:
            return said_of_parts(difference)
        return f"{TAKEN}{now}" if (now := self._after.get(old)) is not None else MADE_ANEW


def said_of_parts(difference: Difference) -> str:
    """Which columns and constraints have other names; empty: none."""
    parts = renamed_in(difference)
    return ", ".join(f"{part.word} {part.old} {RENAMED_TO}{part.new}" for part in parts)


def renamed_in(difference: Difference) -> list[Part]:
    return renamed_parts(*_facts(difference))


def retyped_in(difference: Difference) -> list[Part]:
    """Those with another name whose lines say something else besides."""
    before, after = lines_of(difference.desired), lines_of(difference.observed)
    return [
        part
        for part in renamed_in(difference)
        if before.get(f"{part.word} {part.old}") != after.get(f"{part.word} {part.new}")
    ]


def renamed_parts(before: Fact, after: Fact) -> list[Part]:
    """Columns and constraints of one object that have other names now."""
    if not same_object(before.detail, after.detail):
        return []
    found = []
    for word in _PARTS:
        old, new = numbers_of(word, before), numbers_of(word, after)
        found += [
            Part(word, old[number], name)
            for number, name in new.items()
            if old.get(number, name) != name
        ]
    return found


def other_parts(before: Fact, after: Fact) -> set[str]:
    """Keys of lines that both have and that are of two columns or constraints all the same: one was
    dropped and another one made in its place."""
    found = set()
    for word in _PARTS:
        old, new = numbers_of(word, before), numbers_of(word, after)
        numbers = {name: number for number, name in old.items()}
        found |= {
            f"{word} {name}" for number, name in new.items() if numbers.get(name, number) != number
        }
    return found


def gone_parts(difference: Difference) -> set[str]:
    """Those of ``other_parts`` whose former ones have no other name now."""
    before, after = _facts(difference)
    if not same_object(before.detail, after.detail):
        return set()
    renamed = {f"{part.word} {part.old}" for part in renamed_parts(before, after)}
    return other_parts(before, after) - renamed


def new_parts(difference: Difference) -> set[str]:
    """Keys of the lines of columns and constraints that were not there before, by any name."""
    before, after = _facts(difference)
    found: set[str] = set()
    if same_object(before.detail, after.detail):
        for word in _PARTS:
            old, new = numbers_of(word, before), numbers_of(word, after)
            found |= {f"{word} {name}" for number, name in new.items() if old and number not in old}
    return found


def new_names_of_parts(
    then: Difference, total: Difference, accepted: Fact | None = None
) -> dict[str, str]:
    """Of columns and constraints that are not accepted: the lines' keys now, by those ``then``.
    ``accepted``: else what ``total`` differs from."""
    base, now = _facts(total)
    accepted, was = accepted or base, _facts(then)[1]
    found: dict[str, str] = {}
    if same_object(was.detail, now.detail):
        for word in _PARTS:
            old, new, known = (numbers_of(word, fact) for fact in (was, now, accepted))
            found |= {
                f"{word} {old[number]}": f"{word} {new[number]}"
                for number in (old.keys() & new.keys()) - known.keys()
                if old[number] != new[number]
            }
    return found


def _facts(difference: Difference) -> tuple[Fact, Fact]:
    before, after = difference.details
    return Fact(difference.desired, before), Fact(difference.observed, after)


@lru_cache(maxsize=64)
def numbers_of(word: str, fact: Fact) -> Mapping[str, str]:
    """Names of columns or constraints by number. Empty where the numbers are not those of the
    lines: a value or a detail was cut."""
    found = _DETAIL.fullmatch(fact.detail)
    told = re.search(rf"; {word} ([\d,-]+)", found["parts"]) if found else None
    start = f"{word} "
    keys = [key.removeprefix(start) for key in lines_of(fact.value) if key.startswith(start)]
    numbers = [*_numbers(told[1])] if told else []
    return dict(zip(numbers, keys, strict=True)) if len(numbers) == len(keys) else {}


def merged(before: Fact, after: Fact, value: str, keys: Collection[str]) -> str:
    """The detail of ``value``, which is ``before`` with its lines ``keys`` as in ``after``."""
    said = [after.detail.partition(";")[0]]
    for word in _PARTS:
        old, new = (
            {name: number for number, name in numbers_of(word, fact).items()}
            for fact in (before, after)
        )
        lines = [key for key in lines_of(value) if key.startswith(f"{word} ")]
        found = [
            (new if key in keys else old).get(key.removeprefix(f"{word} "), "") for key in lines
        ]
        if found and all(found):
            said.append(f"{word} {','.join(found)}")
    return "; ".join(said)


def _numbers(ranges: str) -> Iterator[str]:
    """
    >>> [*_numbers("1-3,5")]
    ['1', '2', '3', '5']
    """
    for each in ranges.split(","):
        first, _, last = each.partition("-")
        yield from map(str, range(int(first), int(last or first) + 1))


def _by_oid(facts: Facts) -> dict[str, str]:
    return {oid: name for name, fact in facts.items() if (oid := oid_of(fact.detail))}
