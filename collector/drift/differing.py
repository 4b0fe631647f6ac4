"""Open differences of a scope brought up to date: against what is accepted, and with what was known
of them before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from collector.drift import carried, divided, numbers, watch_list
from collector.drift.baseline import (
    Difference,
    Fact,
    Facts,
    Known,
    Scope,
    changed_names,
    is_another,
)
from collector.drift.called import NewNames
from collector.drift.expectations import Expectations
from collector.drift.explanation import Explanations, step_of
from collector.drift.other_way import OtherWay
from collector.drift.reports import Reports
from collector.drift.severity import with_severity
from collector.drift.state import OpenDrift, State
from model.catalog import DriftChange


class Differing:
    """Changes ``state`` and tells ``reports``."""

    def __init__(
        self,
        state: State,
        reports: Reports,
        explanations: Explanations,
        expectations: Expectations,
        clock_us: Callable[[], int],
    ) -> None:
        self._state = state
        self._reports = reports
        self._explanations = explanations
        self._expectations = expectations
        self._clock_us = clock_us

    def compare(
        self,
        scope: Scope,
        known: Known,
        names: list[str] | None,
        since_us: int,
        now_us: int,
        called: NewNames | None = None,
    ) -> None:
        """``names``: which may differ otherwise than before; None: any. ``called``: what has other
        names since."""
        assert known.accepted is not None
        accepted, observed, at_us = known.accepted, known.observed, known.at_us
        mine = self._mine(scope)
        others = called.of(scope, mine, observed) if called else {}
        if names is not None:
            names = [*dict.fromkeys([*names, *others, *others.values()])]
            accepted = {name: accepted[name] for name in names if name in accepted}
            observed = {name: observed[name] for name in names if name in observed}
            wanted = frozenset(names)
            mine = {name: parts for name, parts in mine.items() if name in wanted}
        found = self._expectations.differences(scope, accepted, observed, names, self._clock_us())
        other = any(
            each.change is DriftChange.ADDED or numbers.is_replaced(each) for each in found.values()
        )
        by_number = numbers.Names(known.accepted, known.observed) if other else None
        former: Mapping[str, str] = {}
        if by_number is not None and scope.kind in carried.NUMBERED:
            former = carried.formers(found, mine.keys() - {*others.values()}, by_number)
            unseen = {old: new for new, old in former.items() if old not in known.observed}
            others = {**unseen, **others}  # what went from look to look counts more
        look = carried.Look(scope.kind, found, known.accepted, known.observed, former)
        moving = carried.moving(look, others, mine)
        gone = [divided.together(scope.kind, mine[name]) for name in mine if name not in found]
        seen = {
            now: divided.together(scope.kind, mine[was])
            for was, now in others.items()
            if was in mine
        }
        if moving.moved or moving.over or moving.back:
            self._move(moving, scope, at_us, now_us)
            mine = {n: parts for n, parts in self._mine(scope).items() if n in found or n in mine}
        arrived = {after.difference.name for _, after in moving.moved}
        for name in [name for name in mine if name not in found]:
            why = watch_list.why_gone(scope, name, known.observed)
            why = why or self._expectations.why_gone(scope, name)
            self._end(mine[name], at_us, why, now_us)
        taken = carried.takers(found, mine, by_number) if by_number else {}
        came_by = {**former, **taken} if scope.kind in carried.NUMBERED else former
        new: list[tuple[OpenDrift, Difference]] = []
        for name, difference in found.items():
            told = OpenDrift(scope, difference, at_us, since_us, noticed_us=now_us)
            if name in came_by:
                new.append((told, difference))
                continue
            parts = self._new_part(told, mine.get(name, []), now_us)
            # The step is from what was seen before by this name, which is another object.
            new += [(each, each.difference if name in arrived else step) for each, step in parts]
        new = [self._since_renamed(drift, step, seen) for drift, step in new]
        by_number = by_number or (numbers.Names(known.accepted, known.observed) if new else None)
        if by_number is not None:
            other_way = OtherWay(scope.kind, (step for _, step in new), gone)
            for drift, step in new:
                self._explanations.saw(drift.key, step, other_way.of(step))
                former_name = called.former(scope, step.name) if called else step.name
                if step.change is DriftChange.ADDED and former_name != step.name:
                    self._explanations.called(drift.key, former_name)
            if called and scope.kind not in carried.NUMBERED:
                new = [(_along(drift, called, known), step) for drift, step in new]
            was = {name: before.name for name, before in seen.items()}
            self._take(new, by_number, came_by, known.accepted, mine, was)

    def names(self, scope: Scope, known: Known) -> list[str]:
        """All that differ, or did when they were compared last."""
        changed = changed_names(known.accepted or {}, known.observed)
        return [*dict.fromkeys([*self._mine(scope), *changed])]

    def _mine(self, scope: Scope) -> dict[str, list[OpenDrift]]:
        """What is open there, by name, the oldest first."""
        here = [drift for (where, *_), drift in self._state.open.items() if where == scope]
        mine: dict[str, list[OpenDrift]] = {}
        for drift in sorted(here, key=lambda drift: (drift.part > 0, drift.detected_at_us)):
            mine.setdefault(drift.difference.name, []).append(drift)
        return mine

    def _move(self, moving: carried.Moving, scope: Scope, at_us: int, now_us: int) -> None:
        """What ends does so by the name that it had."""
        self._end(moving.over, at_us, "changed again", now_us)
        for drift in moving.back:
            why = self._expectations.why_gone(scope, drift.difference.name)
            self._end([drift], at_us, why, now_us)
        for before, _ in moving.moved:
            del self._state.open[before.key]
        self._state.open |= {after.key: after for _, after in moving.moved}
        self._explanations.moved({before.key: after.key for before, after in moving.moved})
        for before, after in moving.moved:
            self._reports.moved(before, after, at_us, now_us)
        told = [replace(after, known_us=now_us) for _, after in moving.moved if after.reported]
        self._reports.report([with_severity(drift) for drift in told])

    def _take(
        self,
        new: Iterable[tuple[OpenDrift, Difference]],
        by_number: numbers.Names,
        former: Mapping[str, str],
        accepted: Facts,
        mine: Mapping[str, Sequence[OpenDrift]],
        was: Mapping[str, str],
    ) -> None:
        """``former``: accepted names. ``was``: those at the last look, where they are not these."""
        values: dict[str, str] = {}
        """What was renamed, as the rename alone made it, by its former name."""
        for drift, _ in new:
            name = drift.difference.name
            said = by_number.said(drift.difference)
            if said and any(each.renamed == said for each in mine.get(name, ())):
                drift = carried.since_it_is_there(drift)
            elif said:
                other = by_number.other_value(said)
                drift = replace(drift, renamed=said, other_value=other)
            if (old := former.get(name)) is not None:
                parts = mine.get(name, [])
                carried_on = self._carry(drift, accepted[old], parts, was.get(name, old))
                if carried_on is None:
                    continue
                drift = carried_on
                values[old] = drift.difference.observed
            self._state.open[drift.key] = drift
        for drift, _ in new:
            value = values.get(drift.difference.name)
            if value is not None and drift.difference.change is DriftChange.REMOVED:
                half = self._state.open[drift.key]
                self._state.open[drift.key] = replace(half, other_value=value)

    def _since_renamed(
        self, drift: OpenDrift, step: Difference, seen: Mapping[str, Difference]
    ) -> tuple[OpenDrift, Difference]:
        """``seen``: what was there before of things with other names, by those that they have now.
        What gets its accepted name back did not come."""
        was, kind = seen.get(step.name), drift.scope.kind
        is_there = drift.difference.change is DriftChange.CHANGED
        if was is None or not is_there or kind not in carried.NUMBERED:
            return drift, step
        self._explanations.called(drift.key, was.name)
        before = carried.as_called_now(kind, was.observed, was.name, step.name, step.observed)
        details = (was.details[1], step.details[1])
        return drift, step._replace(change=DriftChange.CHANGED, desired=before, details=details)

    def _carry(
        self, drift: OpenDrift, accepted: Fact, mine: Sequence[OpenDrift], was: str
    ) -> OpenDrift | None:
        """The rename alone; what else differs is told of who did it. None where the rename made
        no difference: the thing is as what is accepted by its new name."""
        found = carried.carried(drift, accepted, mine)
        if found is None:
            return drift
        if found.is_rest_alone:
            if found.rest is None:
                return None
            self._explanations.saw(drift.key, found.step or found.rest.difference)
            self._explanations.called(drift.key, was)
            return replace(drift, difference=found.rest.difference, renamed=found.rest.renamed)
        self._explanations.saw(found.first.key, found.first.difference)
        if found.rest is not None:
            self._explanations.saw(found.rest.key, found.step or found.rest.difference)
            self._explanations.called(found.rest.key, was)
            self._state.open[found.rest.key] = found.rest
        return found.first

    def _new_part(
        self, drift: OpenDrift, mine: list[OpenDrift], now_us: int
    ) -> list[tuple[OpenDrift, Difference]]:
        """What of ``drift``, all that differs now, is not in ``mine`` yet, with the step from what
        was seen before; of ``mine`` ends what is no more."""
        total, kind, at_us = drift.difference, drift.scope.kind, drift.detected_at_us
        if not mine:
            return [(drift, total)]
        before = divided.together(kind, mine)
        if len(mine) == 1 and not is_another(before.observed, total.observed):
            return []
        mine = [carried.as_parts_are_called(each, total) for each in mine]
        apart = divided.divided(kind, total, mine)
        step = step_of(total, before)
        if apart is None or (apart.new and any(each.detected_at_us >= at_us for each in mine)):
            self._end(mine, at_us, "changed again", now_us)
            return [(drift, step)]
        self._end(apart.back, at_us, self._expectations.why_gone(drift.scope, total.name), now_us)
        self._end(apart.again, at_us, "changed again", now_us)
        self._keep(apart.kept, now_us)
        if apart.new is None:
            return []
        part = at_us if (drift.scope, total.name, 0) in self._state.open else 0
        return [(replace(drift, difference=apart.new, part=part), step)]

    def _keep(self, parts: Iterable[OpenDrift], now_us: int) -> None:
        """These go on, some with fewer lines than they had."""
        changed = [drift for drift in parts if drift != self._state.open[drift.key]]
        for drift in changed:
            self._state.open[drift.key] = drift
        told = [replace(drift, known_us=now_us) for drift in changed if drift.reported]
        self._reports.report([with_severity(drift) for drift in told])

    def _end(self, drifts: Iterable[OpenDrift], at_us: int, why: str, now_us: int) -> None:
        for drift in drifts:
            self._reports.resolve(drift.key, at_us, why, now_us)


def _along(drift: OpenDrift, called: NewNames, known: Known) -> OpenDrift:
    said, value = called.went_along(drift.scope, drift.difference, known)
    return replace(drift, renamed=said, other_value=value) if said else drift
