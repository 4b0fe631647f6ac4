"""Open differences of a scope brought up to date: against what is accepted, and with what was known
of them before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from collector.drift import carried, divided, numbers, watch_list
from collector.drift.baseline import Difference, Fact, Facts, Known, Scope, is_another
from collector.drift.expectations import Expectations
from collector.drift.explanation import Explanations, step_of
from collector.drift.renamed import former_name
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
        self, scope: Scope, known: Known, names: list[str] | None, since_us: int, now_us: int
    ) -> None:
        """``names``: which may differ otherwise than before; None: any."""
        assert known.accepted is not None
        accepted, observed, at_us = known.accepted, known.observed, known.at_us
        wanted = frozenset(names or ())
        if names is not None:
            accepted = {name: accepted[name] for name in names if name in accepted}
            observed = {name: observed[name] for name in names if name in observed}
        found = self._expectations.differences(scope, accepted, observed, names, self._clock_us())
        mine: dict[str, list[OpenDrift]] = {}
        here = [
            drift
            for (where, name, _), drift in self._state.open.items()
            if where == scope and (names is None or name in wanted)
        ]
        for drift in sorted(here, key=lambda drift: (drift.part > 0, drift.detected_at_us)):
            mine.setdefault(drift.difference.name, []).append(drift)
        for name in [name for name in mine if name not in found]:
            why = watch_list.why_gone(scope, name, known.observed)
            why = why or self._expectations.why_gone(scope, name)
            self._end(mine[name], at_us, why, now_us)
        new: list[tuple[OpenDrift, Difference]] = []
        added = any(each.change is DriftChange.ADDED for each in found.values())
        by_number = numbers.Names(known.accepted, known.observed) if added else None
        former = carried.formers(scope.kind, found, mine, by_number) if by_number else {}
        for name, difference in found.items():
            told = OpenDrift(scope, difference, at_us, since_us, noticed_us=now_us)
            if name in former.values() and (parts := mine.get(name)):
                # They go on under its new name, or end there.
                before = divided.together(scope.kind, parts)
                new.append((told, step_of(difference, before)))
                continue
            new += self._new_part(told, mine.get(name, []), now_us)
        by_number = by_number or (numbers.Names(known.accepted, known.observed) if new else None)
        if by_number is not None:
            self._take(new, by_number, former, known.accepted, mine, now_us)

    def _take(
        self,
        new: Iterable[tuple[OpenDrift, Difference]],
        by_number: numbers.Names,
        former: Mapping[str, str],
        accepted: Facts,
        mine: Mapping[str, Sequence[OpenDrift]],
        now_us: int,
    ) -> None:
        values: dict[str, str] = {}
        """What was renamed, as the rename alone made it, by its former name."""
        for drift, step in new:
            name = drift.difference.name
            self._explanations.saw(drift.key, step)
            if said := by_number.said(drift.difference):
                other = by_number.other_value(said)
                drift = replace(drift, renamed=said, other_value=other)
            if (old := former.get(name)) is not None:
                drift = self._carry(drift, accepted[old], mine.get(old, []), now_us)
                values[old] = drift.difference.observed
            self._state.open[drift.key] = drift
        for drift, _ in new:
            if (value := values.get(drift.difference.name)) is not None:
                half = self._state.open[drift.key]
                self._state.open[drift.key] = replace(half, other_value=value)

    def _carry(
        self, drift: OpenDrift, accepted: Fact, mine: Sequence[OpenDrift], now_us: int
    ) -> OpenDrift:
        """The rename alone; what else differs is told of who did it."""
        at_us, found = drift.detected_at_us, carried.carried(drift, accepted, mine)
        if found is None:
            self._end(mine, at_us, "changed again", now_us)
            return drift
        self._end(found.over, at_us, "changed again", now_us)
        for before, after in found.moved.items():
            del self._state.open[before.key]
            self._state.open[after.key] = after
            self._explanations.moved(before.key, after.key)
            self._reports.moved(before, after, at_us, now_us)
        told = [replace(each, known_us=now_us) for each in found.moved.values() if each.reported]
        self._reports.report([with_severity(each) for each in told])
        self._explanations.saw(found.first.key, found.first.difference)
        if found.rest is not None:
            self._explanations.saw(found.rest.key, found.rest.difference)
            self._explanations.called(found.rest.key, former_name(drift.renamed))
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
