"""What was done to an object stays with who did it when somebody gives it another name.

Under the new name the object is as it was accepted, and came by the rename. All that differs beside
the name are later parts of that difference; see ``divided``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from collector.drift import divided, numbers
from collector.drift.baseline import Difference, Fact
from collector.drift.lines import lines_of, text_of
from collector.drift.renamed import former_name, spelled, swapped, swaps
from collector.drift.state import OpenDrift
from model.catalog import OBJECT_KINDS, CatalogKind, DriftChange


@dataclass(frozen=True)
class Carried:
    first: OpenDrift
    """The rename, and nothing else."""
    moved: Mapping[OpenDrift, OpenDrift]
    """Parts that go on under the new name, by what they were."""
    over: Sequence[OpenDrift]
    """Parts of which nothing is left."""
    rest: OpenDrift | None
    """What else differs, and came at this look."""


def formers(
    kind: CatalogKind,
    found: Mapping[str, Difference],
    mine: Mapping[str, Sequence[OpenDrift]],
    names: numbers.Names,
) -> dict[str, str]:
    """Former names by new ones, of what was renamed since the last look."""
    if kind not in OBJECT_KINDS:
        return {}
    said = {
        name: former_name(names.said(difference))
        for name, difference in found.items()
        if difference.change is DriftChange.ADDED and name not in mine
    }
    return {
        name: former
        for name, former in said.items()
        if former and former in found and found[former].change is DriftChange.REMOVED
    }


def carried(drift: OpenDrift, accepted: Fact, mine: Sequence[OpenDrift]) -> Carried | None:
    """``drift``: the new name. ``accepted``: what was under the former one, of which ``mine`` are
    the parts that are known. None where the name is all, or where the parts cannot stand alone."""
    kind, total, at_us = drift.scope.kind, drift.difference, drift.detected_at_us
    if any(each.difference.change is not DriftChange.CHANGED for each in mine):
        return None
    former = former_name(drift.renamed)

    def now(value: str) -> str:
        return as_called_now(kind, value, former, total.name, total.observed)

    base = now(accepted.value)
    came = Difference(total.name, DriftChange.ADDED, "", base, ("", accepted.detail))
    first = replace(drift, difference=came, other_value=accepted.value)
    moved = {each: _moved(each, total.name, now) for each in mine}
    apart = divided.divided(kind, total, [first, *moved.values()])
    if apart is None or (apart.new is None and not mine):
        return None
    kept = {each.key: each for each in apart.kept}
    rest = apart.new and replace(
        drift,
        difference=apart.new,
        part=at_us,
        renamed=numbers.said_of_parts(apart.new),
        other_value="",
    )
    return Carried(
        first,
        {each: kept[new.key] for each, new in moved.items() if new.key in kept},
        [each for each, new in moved.items() if new.key not in kept],
        rest,
    )


def _moved(drift: OpenDrift, name: str, now: Callable[[str], str]) -> OpenDrift:
    difference = drift.difference
    return replace(
        drift,
        difference=difference._replace(
            name=name, desired=now(difference.desired), observed=now(difference.observed)
        ),
        part=drift.part or drift.detected_at_us,
    )


def as_called_now(kind: CatalogKind, value: str, former: str, name: str, seen: str) -> str:
    """``value`` of an object as it says it under its new name: each line as it is ``seen`` where
    names alone make it so."""
    there, words = lines_of(seen), [*swaps(former, name), *_schemas(former, name)]
    plain = lines_of(spelled(kind, value, former, name))
    said: dict[str, str] = {}
    for (key, text), fallback in zip(lines_of(value).items(), plain.values(), strict=True):
        ways = [(key, text), (key, swapped(text, words)), (swapped(key, words), text)]
        ways.append((swapped(key, words), swapped(text, words)))
        as_seen = next((way for way in ways if there.get(way[0]) == way[1]), (key, fallback))
        said[as_seen[0]] = as_seen[1]
    if "definition" in said and said.get("text") == there.get("text"):
        said["definition"] = there.get("definition", said["definition"])  # a hash of that text
    return text_of(said)


def _schemas(former: str, name: str) -> Iterator[tuple[str, str]]:
    old, new = former.partition(".")[0], name.partition(".")[0]
    if old != new:
        yield f"{old}.", f"{new}."
