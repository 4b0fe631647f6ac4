"""What a rename brought along, and what somebody did beside it under the other name.

Who renames a schema moves what is granted in it and grants nothing. What came under a new name and
did not go under the former one in the same look is of somebody else, who may have said either.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from collector.drift import wording
from collector.drift.changes import Change, moment_of
from collector.drift.lines import ARROW, granted_to
from collector.drift.matching import renaming
from collector.drift.matching.target import (
    CAUSED,
    EXACT,
    RELATIONS,
    Called,
    Match,
    Target,
    about,
    renames_part,
)
from collector.drift.numbers import RENAMED_FROM, RENAMED_TO, TAKEN
from collector.drift.wording import Rename
from model.catalog import OBJECT_KINDS, CatalogKind, DriftChange

BROUGHT = CAUSED + 5
"""It went under the former name when it came under the new one, and a statement renames so."""
MOST_STEPS = 3
"""A schema, its table and their role may all be renamed between two looks."""
MOST_NAMES = 20
UNNUMBERED = frozenset((CatalogKind.PRIVILEGE, CatalogKind.MEMBERSHIP, CatalogKind.SETTING))
"""They are followed by the names in their own."""
NUMBERED = OBJECT_KINDS | {CatalogKind.ROLE, CatalogKind.DATABASE, CatalogKind.TABLESPACE}
GAVE_THE_NAME = EXACT + 20
OTHER_NAME = (RENAMED_FROM, RENAMED_TO, TAKEN)
_OUT_OF_TIME = 12
INDEX = "index "
Place = tuple[str, tuple[str, ...], str]


def beside_renames(
    target: Target, renames: Iterable[Change], other_way: Mapping[str, str], former: str = ""
) -> Target:
    """``other_way``: what else went in the look in which this came, or came when this went, with
    its value. ``former``: its name before, as numbers tell."""
    known, found = [*renames], {target.step.name, *filter(None, [former])}
    new = {*found}
    for _ in range(MOST_STEPS):
        new = {other for name in new for each in known for other in _others(target, name, each)}
        new -= found
        found |= new
    names = tuple(sorted(found - {target.step.name}))[:MOST_NAMES]
    if not names:
        return target
    theirs = {_place(name) for name in names}
    values = [value for name, value in other_way.items() if _place(name) in theirs]
    moved = frozenset(word for value in values for word in _words(target, value))
    came, went = _periods(target, known)
    return replace(target, others=names, moved=moved, came_as=came, went_as=went)


def _periods(
    target: Target, renames: Sequence[Change]
) -> tuple[tuple[Called, ...], tuple[Called, ...]]:
    """What the object of a privilege was called when: the one that it is on now, and the one of
    before."""
    if target.scope.kind is not CatalogKind.PRIVILEGE:
        return (), ()
    kind = _split(target.step.name)[0].removesuffix(":")
    came = renaming.names_of_new(kind, target.object, renames) if not target.removed else ()
    went = renaming.names_since(kind, target.object, renames) if not target.added else ()
    return came, went


def also_called(target: Target, former: str) -> Target:
    """Statements may say either name, and no rename did it."""
    others = tuple(dict.fromkeys((*target.others, former)))
    return replace(target, others=others, moved=target.moved or frozenset())


def names_in(said: str, former: str) -> list[str]:
    """Other names of an object, of which ``said`` is what numbers say."""
    found = (said.removeprefix(each) for each in OTHER_NAME if said.startswith(each))
    return [*found, *filter(None, [former])]


def may_be_called_otherwise(
    target: Target, said: str, other_way: Mapping[str, str] | None, former: str
) -> bool:
    """Whether captured renames are to be looked for. ``other_way``: None where it is not known."""
    came_or_went = other_way is not None and target.step.change is not DriftChange.CHANGED
    if target.scope.kind in UNNUMBERED:
        return other_way is not None or bool(former)
    is_there = target.step.change is DriftChange.CHANGED
    return target.scope.kind in NUMBERED and (
        came_or_went or is_there or bool(names_in(said, former))
    )


def with_other_names(
    target: Target,
    renames: Sequence[Change],
    said: str,
    other_way: Mapping[str, str] | None,
    former: str,
) -> Target:
    """``renames``: in their order. ``former``: its name before, where the new one is no part of the
    difference."""
    if target.scope.kind not in UNNUMBERED:
        return _object(target, renames, said, former)
    if other_way is not None:
        return beside_renames(target, renames, other_way, former)
    return also_called(target, former)


def _object(target: Target, renames: Sequence[Change], said: str, former: str) -> Target:
    kind, name = target.scope.kind, target.step.name
    for begin in (RENAMED_FROM, RENAMED_TO):
        if said.startswith(begin):
            ends = (said.removeprefix(begin), name)
            first, last = ends if begin == RENAMED_FROM else ends[::-1]
            steps = renaming.steps(kind, first, renames)
            if not steps or steps[-1].parts != renaming.parts_of(kind, last):
                return target
            return replace(target, renamer=steps[-1 if begin == RENAMED_FROM else 0].change)
    if former:
        names = renaming.names_since(kind, former, renames)
        arrived = names[-1].name == name
        return replace(target, names=names) if arrived else also_called(target, former)
    if target.replaced:
        return replace(target, is_elsewhere=said.startswith(TAKEN))
    names_of = renaming.names_of_new if target.added else renaming.names_since
    names = names_of(kind, name, renames)
    if target.step.change is DriftChange.CHANGED and names[-1].name != name:
        return target  # where it is now, numbers would say
    return _with_names(target, names)


def _with_names(target: Target, names: tuple[Called, ...]) -> Target:
    return replace(target, names=names) if len(names) > 1 else target


def with_new_parts(target: Target, keys: set[str], changes: Iterable[Change]) -> Target:
    """``keys``: lines of columns, constraints and indexes that are new. ``changes``: of that
    time."""
    tables = {target.parts, *(wording.parts(each.name) for each in target.names)}
    known = [
        pair
        for change in sorted(changes, key=moment_of, reverse=True)
        for pair in _part_renames(change, target, tables)
    ]
    found = []
    for key in sorted(keys):
        at = wording.unquoted(key.partition(" ")[2])
        for word, old, new in known:
            if new == at and key.startswith(word):
                found.append((key, old))
                at = old
    return replace(target, new_parts=tuple(found))


def new_indexes(target: Target) -> set[str]:
    """Their lines; they have no numbers, so one that has another name is among them."""
    return {key for key in target.after.keys() - target.before.keys() if key.startswith(INDEX)}


def _part_renames(
    change: Change, target: Target, tables: Collection[tuple[str, ...]]
) -> Iterator[tuple[str, str, str]]:
    """What its line begins with, the name before, and the new one. One that was there is no new
    one: indexes have no numbers that would say so."""
    if renames_part(change) and any(about(change, RELATIONS, table) for table in tables):
        yield from (("", *pair) for pair in renaming.part_renames(change))
    if "index" in change.types:
        for rename in change.renames:
            old = rename.old.rpartition(".")[2]
            if not {old, f'"{old}"'} & {*_indexes(target)}:
                yield INDEX, old, rename.new


def _indexes(target: Target) -> Iterator[str]:
    yield from (key.removeprefix(INDEX) for key in target.before if key.startswith(INDEX))


def halves(target: Target, renames: Sequence[Change]) -> tuple[Target, Target, tuple[Change, ...]]:
    """Of a name that another object has now: as if that came, as if the former one went, and who
    gave the name if it was made by another one."""
    kind, step = target.scope.kind, target.step
    old, new = step.details
    came = step._replace(change=DriftChange.ADDED, desired="", details=("", new))
    went = step._replace(change=DriftChange.REMOVED, observed="", details=(old, ""))
    given = renaming.steps(kind, step.name, renames, forwards=False)[:1]
    return (
        _with_names(replace(target, step=came), renaming.names_of_new(kind, step.name, renames)),
        _with_names(replace(target, step=went), renaming.names_since(kind, step.name, renames)),
        tuple(each.change for each in given),
    )


def unless_moved(match: Match) -> Match:
    def matches(change: Change, target: Target) -> int:
        if target.renamer is not None and change is target.renamer:
            return GAVE_THE_NAME
        if target.names:
            return _by_any_name(match, change, target)
        if target.moved is None:
            return match(change, target)
        rights = _rights(target)
        only_renames = bool(change.renames) and "multi" not in change.flags and not change.contained
        if only_renames:
            fits = match(change, _as_a_whole(target)) if rights & target.moved else 0
            return max(fits, BROUGHT) if fits else 0
        if rights and rights <= target.moved and not change.renames:
            return 0
        return max(
            _in_its_time(match(change, each), change, each, target)
            for each in (target, *under_other_names(target))
        )

    return matches


def _as_a_whole(target: Target) -> Target:
    """Rights that came, or went, and no others: as if there were none but these."""
    old, new = ({*_words(target, side)} for side in (target.step.desired, target.step.observed))
    step = target.step
    if step.change is not DriftChange.CHANGED or (old - new and new - old):
        return target
    change = DriftChange.ADDED if new - old else DriftChange.REMOVED
    return replace(target, step=step._replace(change=change))


def _in_its_time(fits: int, change: Change, named: Target, target: Target) -> int:
    """A name that is another object's by now, or was before, meant that one then."""
    old, new = ({*_words(target, side)} for side in (target.step.desired, target.step.observed))
    periods = [*(target.came_as if new - old else ()), *(target.went_as if old - new else ())]
    mine = [each for each in periods if each.name == named.object]
    moment = moment_of(change)
    if not fits or not mine or any(each.since <= moment <= each.until for each in mine):
        return fits
    return max(0, fits - _OUT_OF_TIME)


def _by_any_name(match: Match, change: Change, target: Target) -> int:
    """It made, changed or dropped the object while that had the name; no rename did."""
    moment, kind = moment_of(change), target.scope.kind
    came_or_went = target.added or target.removed
    did = replace(change, renames=()) if came_or_went else change
    alone = change.renames and "multi" not in change.flags and not change.contained
    mine = (renaming.steps(kind, each.name, [change]) for each in target.names)
    if alone and (came_or_went or any(mine)):
        return 0
    strengths = [
        (match(did, each), called.since <= moment <= called.until)
        for each, called in zip(under_other_names(target), target.names, strict=True)
    ]
    # Statements that come from two places are told apart by two clocks.
    return max(fits if in_time else max(0, fits - _OUT_OF_TIME) for fits, in_time in strengths)


def under_other_names(target: Target) -> list[Target]:
    plain = replace(target, others=(), moved=None, names=(), came_as=(), went_as=())
    names = [each.name for each in target.names] or target.others
    return [replace(plain, step=target.step._replace(name=name)) for name in names]


def _rights(target: Target) -> set[str]:
    """Those that came or went; none of an object."""
    if target.scope.kind not in UNNUMBERED:
        return set()
    step = target.step
    return {*_words(target, step.desired)} ^ {*_words(target, step.observed)}


def _words(target: Target, value: str) -> list[str]:
    """Of a privilege each right; of what else has no number all of it."""
    apart = target.scope.kind is CatalogKind.PRIVILEGE
    return [each for each in (value.split(", ") if apart else [value]) if each]


def _place(name: str) -> Place:
    """Without the arguments of a function: they may speak of what was renamed, too."""
    kind, what, who = _split(name)
    return kind, wording.parts(what), who


def _split(name: str) -> tuple[str, str, str]:
    """``("table:", "hr.salary", "<-analyst")``; of an object the middle alone."""
    what, who = granted_to(name)
    if not who:
        return "", name, ""
    kind, colon, what = what.partition(":")
    return kind + colon, what, ARROW + who


def _others(target: Target, name: str, change: Change) -> Iterator[str]:
    """Before what came, beyond what went, and either of what became another."""
    for rename in change.renames:
        for forwards in (True, False):
            if not (target.added if forwards else target.removed):
                yield from _other(target.scope.kind, name, change, rename, forwards=forwards)


def _other(
    kind: CatalogKind, name: str, change: Change, rename: Rename, *, forwards: bool
) -> Iterator[str]:
    here, there = (rename.old, rename.new) if forwards else (rename.new, rename.old)
    if kind is CatalogKind.SETTING:
        yield from _setting(name, change, here, there)
    else:
        word, what, who = _split(name) if kind is not CatalogKind.MEMBERSHIP else ("", "", name)
        if "role" in change.types and who:
            yield from _of_role(word + what, who, here, there)
        parts, about = wording.parts(what), word.removesuffix(":")
        if what and (other := renaming.renamed(about, parts, change, rename, forwards=forwards)):
            yield word + renaming.name_of(about, other, what) + who


def _of_role(what: str, who: str, here: str, there: str) -> Iterator[str]:
    """``<-analyst``, or of a membership both: ``staff<-analyst``."""
    group, arrow, member = who.rpartition(ARROW)
    if member == here:
        yield f"{what}{group}{arrow}{there}"
    if group == here:
        yield f"{what}{there}{arrow}{member}"


def _setting(name: str, change: Change, here: str, there: str) -> Iterator[str]:
    """``work_mem@alice/shop``"""
    setting, at, whose = name.partition("@")
    role, slash, database = whose.partition("/")
    if at and role == here and change.types & {"role", "database"}:
        yield f"{setting}{at}{there}{slash}{database}"
    if slash and database == here and "database" in change.types:
        yield f"{setting}{at}{role}{slash}{there}"
