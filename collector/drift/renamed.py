"""What numbers say of open differences: two names of one object are one change, by one actor."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from collector.drift.baseline import Difference, Fact, Scope
from collector.drift.changes import Change
from collector.drift.clauses import describe, word_of
from collector.drift.lines import LINE_KINDS, lines_of, text_of
from collector.drift.numbers import MADE_ANEW, RENAMED_FROM, RENAMED_TO, TAKEN, renamed_parts
from collector.drift.state import OpenDrift
from model.catalog import CatalogKind, DriftChange

Find = Callable[[str, int], Change | None]
GO_ALONG = frozenset((CatalogKind.PRIVILEGE, CatalogKind.MEMBERSHIP, CatalogKind.SETTING))
SPEAK_OF_IT = (
    "index ", "constraint ", "rule ", "definition", "text", "using", "check", "owned by",
    "inherits", "partition of",
)  # fmt: skip
"""Lines in which an object's own name, or its table's, is spelled. In others (``roles``, ``owner``)
the same word is somebody else."""


def former_name(renamed: str) -> str:
    return renamed.removeprefix(RENAMED_FROM) if renamed.startswith(RENAMED_FROM) else ""


def later_name(renamed: str) -> str:
    return renamed.removeprefix(RENAMED_TO) if renamed.startswith(RENAMED_TO) else ""


def other_half(drift: OpenDrift) -> tuple[Scope, str] | None:
    """Where the other name of a renamed object is told."""
    name = former_name(drift.renamed) or later_name(drift.renamed)
    return (drift.scope, name) if name else None


def as_one(drift: OpenDrift) -> Difference:
    """What differs beside the name: of a renamed object from what it was under the other one, of
    one with renamed columns from what it was with these names."""
    difference, kind = drift.difference, drift.scope.kind
    if former := former_name(drift.renamed):
        old = spelled(kind, drift.other_value, former, difference.name)
        return difference._replace(change=DriftChange.CHANGED, desired=old)
    if later := later_name(drift.renamed):
        old = spelled(kind, difference.desired, difference.name, later)
        change = DriftChange.CHANGED
        return Difference(later, change, old, drift.other_value, difference.details)
    before = Fact(difference.desired, difference.details[0])
    parts = renamed_parts(before, Fact(difference.observed, difference.details[1]))
    if not parts or difference.change is not DriftChange.CHANGED:
        return difference
    names = {f"{part.word} {part.old}": f"{part.word} {part.new}" for part in parts}
    lines = {names.get(key, key): text for key, text in lines_of(difference.desired).items()}
    return difference._replace(desired=text_of(lines))


def has_another_name_alone(drift: OpenDrift) -> bool:
    """It lets nobody do anything that they could not do before."""
    one = as_one(drift)
    return bool(drift.renamed) and one.desired == one.observed


def clauses(drift: OpenDrift) -> list[str]:
    """As a person would say it, what else differs after the name."""
    kind, one = drift.scope.kind, as_one(drift)
    what = word_of(kind, one.observed or one.desired)
    rest = [describe(kind, one)] if one.desired != one.observed else []
    return [clause(kind, drift.difference, drift.renamed, what), *rest]


def clause(kind: CatalogKind, difference: Difference, renamed: str, what: str = "") -> str:
    """Of a difference of which the record alone is known."""
    what = what or word_of(kind, difference.observed or difference.desired)
    if former := former_name(renamed):
        return _said(kind, what, former, difference.name)
    if later := later_name(renamed):
        return _said(kind, what, difference.name, later)
    if renamed.startswith(TAKEN):
        return f"{what} {difference.name} is {renamed}"
    if renamed == MADE_ANEW:
        return f"{what} {difference.name} was {MADE_ANEW}"
    return f"of {what} {difference.name}, {renamed}"


def _said(kind: CatalogKind, what: str, old: str, new: str) -> str:
    if kind in GO_ALONG:  # with what they are of
        return f"{what} {old} became {new}"
    return f"{what} {new} was renamed from {old}"


def tied(told: Sequence[OpenDrift], find: Find, known: Iterable[OpenDrift] = ()) -> list[OpenDrift]:
    """``told``, both names of one object with the same cause: the statement that renames. One of
    them may have been told before, of the same look: ``known``."""
    looks = {drift.detected_at_us for drift in told}
    before = [each for each in known if each.detected_at_us in looks]
    both = [each for each in (*before, *told) if other_half(each) is not None]
    halves = {(drift.scope, drift.difference.name): drift for drift in both}
    found = []
    for drift in told:
        other = halves.get(key) if (key := other_half(drift)) is not None else None
        apart = other is not None and other.detected_at_us != drift.detected_at_us
        if other is None or apart or other.statement_id == drift.statement_id or drift.approval:
            found.append(drift)
            continue
        found.append(
            _with_the_cause_of(drift, other) if _knows_better(other, drift, find) else drift
        )
    return found


def _knows_better(other: OpenDrift, drift: OpenDrift, find: Find) -> bool:
    """Its statement renames, or the one half has none: a DROP and a CREATE keep no number."""
    return _renames(other, find) > _renames(drift, find)


def _renames(drift: OpenDrift, find: Find) -> int:
    change = find(drift.scope.agent, drift.statement_id) if drift.statement_id else None
    if change is None:
        return 0
    return 2 if change.renames else 1


def _with_the_cause_of(drift: OpenDrift, other: OpenDrift) -> OpenDrift:
    return replace(
        drift, attribution=other.attribution, statement_id=other.statement_id, actor=other.actor,
        user=other.user, summary=other.summary, did_at_us=other.did_at_us,
        application=other.application, group=other.group, approval=other.approval, note=other.note,
    )  # fmt: skip


def spelled(kind: CatalogKind, value: str, old: str, new: str) -> str:
    """``value`` as it is spelled under the new name."""
    if kind not in LINE_KINDS:
        return value
    words = [*swaps(old, new)]
    lines = lines_of(value)
    return text_of(
        {
            key: swapped(text, words) if key.startswith(SPEAK_OF_IT) else text
            for key, text in lines.items()
        }
    )


def swaps(old: str, new: str) -> Iterable[tuple[str, str]]:
    """``hr.wages`` and ``wages``; of what belongs to a table the table's names, too."""
    before, after = old.split("."), new.split(".")
    yield old, new
    if len(before) == len(after) == 3:
        yield ".".join(before[:2]), ".".join(after[:2])
    yield from ((a, b) for a, b in zip(before, after, strict=False) if a != b)


def swapped(text: str, words: Iterable[tuple[str, str]]) -> str:
    for old, new in words:
        end = "" if old.endswith(".") else r'(?![\w$"])'
        word = rf'(?<![\w$"]){re.escape(old)}{end}'
        text = re.sub(word, new.replace("\\", r"\\"), text)
    return text
