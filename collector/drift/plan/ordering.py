"""Steps in an order in which each finds what it needs, and nothing that is dropped is still used.

Phases say what is safe (rights are taken first and given last); where one step needs another it
waits for it. What needs something that only a person can make is left to that person as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from heapq import heapify, heappop, heappush

from collector.drift.lines import lines_of
from collector.drift.plan.standing import Planned, names_about, names_of, needed_by, stood_on_by
from collector.drift.plan.steps import CLUSTER_LAST, Phase, Step
from model.catalog import CatalogKind, DriftChange

STAYS = "what stays as it is may stand on it"
_MADE_ANEW = (Phase.TABLE, Phase.VIEW, Phase.TYPE)


def ordered(planned: Sequence[Planned]) -> list[Step]:
    """In the order in which they are run. Of several databases, each by itself."""
    found: list[Step] = []
    for database in dict.fromkeys(each.step.database for each in planned):
        found += _of_one_database([each for each in planned if each.step.database == database])
    return sorted(found, key=lambda step: step.phase in CLUSTER_LAST)


def _of_one_database(planned: Sequence[Planned]) -> list[Step]:
    after = _edges(planned)
    steps = [each.step for each in planned]
    waiting = [0] * len(steps)
    for followers in after:
        for follower in followers:
            waiting[follower] += 1
    ready = [(steps[at].phase, at) for at in range(len(steps)) if not waiting[at]]
    heapify(ready)
    left = set(range(len(steps)))
    found = []
    while left:
        # In a circle nobody knows better than the phases.
        at = heappop(ready)[1] if ready else min(left, key=lambda each: (steps[each].phase, each))
        if at not in left:
            continue
        left.remove(at)
        found.append(steps[at])
        for follower in after[at]:
            steps[follower] = _following(steps[follower], planned[follower], steps[at], planned[at])
            waiting[follower] -= 1
            if not waiting[follower] and follower in left:
                heappush(ready, (steps[follower].phase, follower))
    return found


def _edges(planned: Sequence[Planned]) -> list[set[int]]:
    """For each step those that have to come after it."""
    makers, droppers = _by_name(planned)
    after: list[set[int]] = [set() for _ in planned]
    for at, each in enumerate(planned):
        for name in needed_by(each):
            for maker in makers.get(name, ()):
                if planned[maker].difference is not each.difference or (
                    planned[maker].first and not each.first
                ):
                    after[maker].add(at)
        for name in stood_on_by(each):
            for dropper in droppers.get(name, ()):
                if planned[dropper].difference is not each.difference or (
                    planned[dropper].last and not each.last
                ):
                    after[at].add(dropper)
    return after


def _by_name(planned: Sequence[Planned]) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    makers: dict[str, list[int]] = {}
    droppers: dict[str, list[int]] = {}
    for at, each in enumerate(planned):
        if each.step.about:
            dropped = each.step.text.startswith("DROP ")
            for name in names_about(each.step):
                (droppers if dropped else makers).setdefault(name, []).append(at)
        names = names_of(each.kind, each.difference.name)
        if _makes(each):
            for name in names:
                makers.setdefault(name, []).append(at)
        elif each.difference.change is DriftChange.ADDED and each.last:
            for name in names:
                droppers.setdefault(name, []).append(at)
    return makers, droppers


def _makes(planned: Planned) -> bool:
    difference, step = planned.difference, planned.step
    if difference.change is DriftChange.REMOVED:
        return planned.first
    # Another sort of thing under its name, or a view with other columns: a person makes it anew.
    return (
        difference.change is DriftChange.CHANGED
        and step.by_hand
        and step.phase in _MADE_ANEW
        and planned.kind in (CatalogKind.TABLE, CatalogKind.TYPE)
        and (step.phase is Phase.VIEW or _other_kind(planned))
    )


def _other_kind(planned: Planned) -> bool:
    wanted, now = (lines_of(each) for each in planned.difference[2:4])
    return wanted.get("kind") != now.get("kind")


def _following(step: Step, planned: Planned, before: Step, what: Planned) -> Step:
    """``step``, which comes after ``before``: it cannot be done where that one is not."""
    if before.by_hand and not step.by_hand:
        note = _joined(f"waits for {what.kind} {what.difference.name}", step.note)
        return replace(step, by_hand=True, note=note)
    dropped = planned.difference.change is DriftChange.ADDED
    if before.loses and dropped and not step.loses and not step.by_hand:
        return replace(step, loses=True, note=_joined(STAYS, step.note))
    return step


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


def without_repeats(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Two differences may ask for the same; a sequence of steps that repeats does no harm once."""
    return tuple(dict.fromkeys(steps))
