"""What was done to an object stays with who did it when somebody gives it another name.

Under the new name an object that was accepted is as it was, and came by the rename. All that
differs beside the name are later parts of that difference; see ``divided``. One that was not
accepted yet goes on as the difference that it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from collector.drift import divided, numbers
from collector.drift.baseline import Difference, Fact, Facts
from collector.drift.lines import LINE_KINDS, lines_of, parts, text_of
from collector.drift.renamed import former_name, spelled, swapped, swaps
from collector.drift.state import Key, OpenDrift
from model.catalog import OBJECT_KINDS, CatalogKind, DriftChange

NUMBERED = OBJECT_KINDS | {CatalogKind.ROLE, CatalogKind.DATABASE, CatalogKind.TABLESPACE}


@dataclass(frozen=True)
class Look:
    """What one look found in a scope."""

    kind: CatalogKind
    found: Mapping[str, Difference]
    accepted: Facts
    observed: Facts
    formers: Mapping[str, str]
    """Accepted names by new ones, of objects that are under none that is accepted."""


@dataclass(frozen=True)
class Moving:
    """What is open of objects that have other names since the last look."""

    moved: Sequence[tuple[OpenDrift, OpenDrift]] = ()
    """Before and now, each with its own actor, moment and finding."""
    over: Sequence[OpenDrift] = ()
    """Of which nothing can go on: the lines are other ones now, or somebody took the name away."""
    back: Sequence[OpenDrift] = ()
    """What was gone, and is there again under its accepted name."""


@dataclass(frozen=True)
class Carried:
    first: OpenDrift
    """The rename, and nothing else."""
    rest: OpenDrift | None
    """What else differs, and came at this look."""
    step: Difference | None
    """How it became that."""

    @property
    def is_rest_alone(self) -> bool:
        """But for that the thing is as what is accepted by its new name."""
        return self.first.difference.desired == self.first.difference.observed


def formers(
    found: Mapping[str, Difference], open_names: Collection[str], names: numbers.Names
) -> dict[str, str]:
    """Accepted names by new ones, of what is under another name now. ``open_names``: of what is
    open and was there before."""
    said = {
        name: former_name(names.said(difference))
        for name, difference in found.items()
        if difference.change is DriftChange.ADDED and name not in open_names
    }
    return {name: former for name, former in said.items() if former}


def takers(
    found: Mapping[str, Difference], mine: Mapping[str, Sequence[OpenDrift]], names: numbers.Names
) -> dict[str, str]:
    """Accepted names by those, accepted of others, that they were given since the last look.
    ``mine``: what is open of these names by now."""
    said = {
        name: former_name(names.said(difference))
        for name, difference in found.items()
        if difference.change is DriftChange.CHANGED and numbers.is_replaced(difference)
    }
    return {
        name: former
        for name, former in said.items()
        if former and all(each.part and not each.renamed for each in mine.get(name, ()))
    }


def moving(look: Look, names: Mapping[str, str], mine: Mapping[str, Sequence[OpenDrift]]) -> Moving:
    """``names``: now, by those before. All at once, so that neither their order nor a name that
    goes from one to another matters."""
    moved: list[tuple[OpenDrift, OpenDrift]] = []
    over: list[OpenDrift] = []
    back: list[OpenDrift] = []
    for old, new in names.items():
        going = [each for each in mine.get(old, ()) if _goes(each)]
        if not going:
            continue
        if new not in look.found:
            # As accepted. What is open of the old name ends as everything that is.
            over += going if old in look.found else []
            continue
        pairs = _arrived(look, old, new, going)
        arrived = [before for before, _ in pairs]
        moved += pairs
        over += [each for each in going if each not in arrived and not _ends(look, each, new)]
        if new not in names:  # else it goes itself
            was_here = mine.get(new, ())
            back += [each for each in was_here if _is_back(look, each)]
            over += [each for each in was_here if not _is_back(look, each)]
    return Moving(_with_own_keys(moved), over, back)


def _goes(drift: OpenDrift) -> bool:
    return drift.difference.change is not DriftChange.REMOVED


def _ends(look: Look, drift: OpenDrift, new: str) -> bool:
    """It is the name alone, and the accepted one is back: reverted."""
    name = drift.difference.name
    return former_name(drift.renamed) == new and name not in look.found


def _is_back(look: Look, drift: OpenDrift) -> bool:
    before, now = (facts.get(drift.difference.name) for facts in (look.accepted, look.observed))
    if _goes(drift) or before is None or now is None:
        return False
    return numbers.same_object(before.detail, now.detail) is not False


def _arrived(
    look: Look, old: str, new: str, going: Sequence[OpenDrift]
) -> list[tuple[OpenDrift, OpenDrift]]:
    """Those that go on under the new name, each in what of it still differs."""
    total, kind = look.found[new], look.kind
    is_object = kind in NUMBERED
    is_new = total.change is DriftChange.ADDED and new not in look.formers
    if is_object and not is_new:
        # It is accepted, by this name or another one: that is no part of what was done to it.
        going = [each for each in going if each.difference.change is DriftChange.CHANGED]
    made = _anew if is_object and is_new else lambda each: each
    here = {
        each: _under(kind, made(each), new, total, keeps=is_new or not is_object) for each in going
    }
    former = look.formers.get(new)
    base = look.accepted[former] if former is not None else None
    here = {each: as_parts_are_called(now, total, base) for each, now in here.items()}
    named = [_as_named(kind, base, former, total)] if former is not None and base else []
    first = [replace(going[0], difference=each, part=0) for each in named if going]
    apart = divided.divided(kind, total, [*first, *here.values()]) if here else None
    if apart is None:
        same = len(here) == 1 and going[0].difference.observed == total.observed
        return [(going[0], replace(here[going[0]], difference=total))] if same else []
    left = {each.part: each for each in apart.kept if each not in first}
    return [(before, left[now.part]) for before, now in here.items() if now.part in left]


def _under(
    kind: CatalogKind, drift: OpenDrift, name: str, total: Difference, *, keeps: bool
) -> OpenDrift:
    difference = drift.difference

    def now(value: str) -> str:
        return as_called_now(kind, value, difference.name, name, total.observed)

    return replace(
        drift,
        difference=difference._replace(
            name=name, desired=now(difference.desired), observed=now(difference.observed)
        ),
        part=drift.part if keeps else drift.part or drift.detected_at_us,
    )


def _anew(drift: OpenDrift) -> OpenDrift:
    """One that was made by a name that is accepted of another one: nobody accepted it."""
    if not numbers.is_replaced(drift.difference):
        return drift
    made = drift.difference._replace(change=DriftChange.ADDED, desired="")
    return replace(drift, difference=made._replace(details=("", made.details[1])))


def _with_own_keys(
    moved: Iterable[tuple[OpenDrift, OpenDrift]],
) -> list[tuple[OpenDrift, OpenDrift]]:
    taken: set[Key] = set()
    found = []
    for before, after in moved:
        while after.key in taken:
            after = replace(after, part=after.part + 1)
        taken.add(after.key)
        found.append((before, after))
    return found


def carried(drift: OpenDrift, accepted: Fact, mine: Sequence[OpenDrift]) -> Carried | None:
    """``drift``: the new name. ``accepted``: what was under the former one. ``mine``: what is known
    to have been done to it. None where the name is all, or where the lines cannot stand alone."""
    kind, total, at_us = drift.scope.kind, drift.difference, drift.detected_at_us
    came = _as_named(kind, accepted, former_name(drift.renamed), total)
    if total.change is DriftChange.CHANGED:  # another thing is accepted by this name
        came = total._replace(observed=came.observed, details=(total.details[0], accepted.detail))
    first = replace(drift, difference=came, other_value=accepted.value)
    apart = divided.divided(kind, total, [first, *mine])
    if apart is None or (apart.new is None and not mine):
        return None
    new = step = apart.new
    if new is not None and total.change is DriftChange.CHANGED:
        new = _of_one_thing(new)
        changed = {part.key for part in parts(kind, new)}
        details = (accepted.detail, total.details[1])
        step = divided.only(kind, total._replace(desired=came.observed, details=details), changed)
    rest = new and replace(
        drift,
        difference=new,
        detected_at_us=at_us + 1,  # rows of view drift are told apart by name and moment
        part=at_us + 1,
        renamed=numbers.said_of_parts(new),
        other_value="",
    )
    return Carried(first, rest, step)


def since_it_is_there(drift: OpenDrift) -> OpenDrift:
    """A later part of a difference of which the first one says that it is another thing."""
    return replace(drift, difference=_of_one_thing(drift.difference), renamed="")


def _of_one_thing(difference: Difference) -> Difference:
    """Without the former numbers of columns: lines of the thing that was accepted have others."""
    now = difference.details[1]
    return difference._replace(details=(now.partition(";")[0], now))


def as_parts_are_called(
    drift: OpenDrift, total: Difference, accepted: Fact | None = None
) -> OpenDrift:
    """``drift``, some of ``total``, with new columns and constraints by the names that they have by
    now: they were never accepted by another one. ``accepted``: where that has another name."""
    difference = drift.difference
    names = numbers.new_names_of_parts(difference, total, accepted)
    if not names:
        return drift
    lines = {names.get(key, key): text for key, text in lines_of(difference.observed).items()}
    return replace(drift, difference=difference._replace(observed=text_of(lines)))


def _as_named(kind: CatalogKind, accepted: Fact, former: str, total: Difference) -> Difference:
    """As it was accepted, by its new name."""
    base = as_called_now(kind, accepted.value, former, total.name, total.observed)
    return Difference(total.name, DriftChange.ADDED, "", base, ("", accepted.detail))


def as_called_now(kind: CatalogKind, value: str, former: str, name: str, seen: str) -> str:
    """``value`` of an object as it says it under its new name: each line as it is ``seen`` where
    names alone make it so."""
    if kind not in LINE_KINDS:
        return value
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
