"""Finds for differences without a cause the statement that they follow from."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from collector.drift.acts import Acts, acts
from collector.drift.attribution import Changes
from collector.drift.baseline import Difference, Scope
from collector.drift.consequences import Beside, Other, likeliest
from collector.drift.matching.target import Target
from collector.drift.severity import with_severity
from collector.drift.state import ONE_OF, Key, OpenDrift
from model.catalog import OBJECT_KINDS, CatalogKind, DriftChange

LATE_US = 60_000_000
"""So long after it was told a difference is still held against statements that come."""
MOST_STEPS = 9
"""From a statement to what hangs on what hangs on what it did."""
MOST_UNSURE = 5_000
MOST_TAKEN = 10_000
KINDS = OBJECT_KINDS | {CatalogKind.PRIVILEGE}
"""Which may differ because of something else in their database."""


class Following:
    """``steps``: how differences that were not told differ from what was seen before."""

    def __init__(self, changes: Changes, steps: dict[Key, Difference]) -> None:
        self._changes = changes
        self._steps = steps
        self._weak: set[Key] = set()
        """Told with a cause that says nothing of the object, since the last look for others."""
        self._found_causes = False
        self._taken: OrderedDict[Key, tuple[int, Difference]] = OrderedDict()
        """Of differences that have their cause: the look's moment, and the step where it is not
        from what is accepted."""

    def told(self, drift: OpenDrift, step: Difference, *, weak: bool) -> None:
        """A cause was found for it."""
        self._found_causes = True
        self._take(drift, step)
        if weak:
            self._weak.add(key_of(drift))

    def of(
        self, due: Sequence[OpenDrift], known: Iterable[OpenDrift], now_us: int
    ) -> list[OpenDrift]:
        """``due``, and what of ``known`` follows from what else is known to have been done."""
        told = {key_of(drift): drift for drift in due}
        weak, self._weak = self._weak & told.keys(), set()
        news, self._found_causes = self._found_causes, False
        known = [*known]
        waiting = [drift for drift in known if self._may_follow(drift, now_us, news=news)]
        unsure = {key: drift for drift in waiting if (key := key_of(drift)) not in told}
        unsure |= {
            key: drift
            for key, drift in told.items()
            if key in weak or (not drift.statement_id and _in_a_database(drift))
        }
        if not unsure:
            return [*due]
        every = {key_of(drift): drift for drift in known} | told
        for _ in range(MOST_STEPS):
            found = self._followed(unsure, every, now_us)
            told |= found
            every |= found
            unsure = {key: drift for key, drift in unsure.items() if key not in found}
            if not any(drift.statement_id for drift in found.values()):
                break
        return [*told.values()]

    def _may_follow(self, drift: OpenDrift, now_us: int, *, news: bool) -> bool:
        """It waits, or was told as nobody's a moment ago and something else has its cause now."""
        if drift.statement_id or not _in_a_database(drift):
            return False
        return not drift.reported or (news and now_us - drift.known_us <= LATE_US)

    def _followed(
        self, unsure: Mapping[Key, OpenDrift], every: Mapping[Key, OpenDrift], now_us: int
    ) -> dict[Key, OpenDrift]:
        """Those of ``unsure`` for which a cause was found, or several that are as likely."""
        of_look = _of_these_looks(unsure.values(), every)
        sure = [d for key, d in of_look.items() if d.statement_id and key not in unsure]
        vague = {d.statement_id for d in sure if self._is_vague(d)}
        known = acts(((drift, self._step(drift)) for drift in sure), vague)
        if not known:
            return {}
        did = Acts(known)
        beside: dict[Scope, Beside] = {}
        for key, drift in of_look.items():
            if drift.difference.change is not DriftChange.CHANGED:
                number = 0 if key in unsure else drift.statement_id
                other = Other(Target(drift.scope, self._step(drift)), number)
                name = (drift.difference.name, other.target.added)
                beside.setdefault(drift.scope, {})[name] = other
        found: dict[Key, OpenDrift] = {}
        for key, drift in [*unsure.items()][:MOST_UNSURE]:
            likely = likeliest(did, drift, self._step(drift), beside.get(drift.scope, {}))
            if len(likely) == 1:
                found[key] = self._as_consequence(drift, likely[0], now_us)
            elif likely and drift.reported:
                who = ", ".join(f"{d.actor} (statement {d.statement_id})" for d in likely)
                if (note := ONE_OF + who) != drift.note:
                    found[key] = with_severity(nobodys(drift, note, now_us))
        return found

    def _step(self, drift: OpenDrift) -> Difference:
        key = key_of(drift)
        if (waiting := self._steps.get(key)) is not None:
            return waiting
        at_us, step = self._taken.get(key, (0, drift.difference))
        return step if at_us == drift.detected_at_us else drift.difference

    def _take(self, drift: OpenDrift, step: Difference) -> None:
        if step == drift.difference:
            return
        self._taken[key_of(drift)] = (drift.detected_at_us, step)
        while len(self._taken) > MOST_TAKEN:
            self._taken.popitem(last=False)

    def _is_vague(self, drift: OpenDrift) -> bool:
        change = self._changes.find(drift.scope.agent, drift.statement_id)
        return change is not None and (change.contained or bool(change.flags & {"multi"}))

    def _as_consequence(self, drift: OpenDrift, of: OpenDrift, now_us: int) -> OpenDrift:
        step = self._step(drift)
        self._steps.pop(key_of(drift), None)
        self._take(drift, step)
        change = self._changes.find(drift.scope.agent, of.statement_id)
        if change is not None:
            self._changes.took(drift.scope, step, change)
        return with_severity(
            replace(
                drift, reported=True, known_us=now_us,
                attribution=of.attribution, statement_id=of.statement_id, actor=of.actor,
                user=of.user, summary=of.summary, did_at_us=of.did_at_us,
                application=of.application, group=of.group, approval=of.approval, note=of.note,
            )
        )  # fmt: skip


def key_of(drift: OpenDrift) -> Key:
    return drift.key


def _in_a_database(drift: OpenDrift) -> bool:
    return drift.scope.database != "" and drift.scope.kind in KINDS


def nobodys(drift: OpenDrift, note: str, now_us: int) -> OpenDrift:
    """Told without a cause, also where a weak one had been found."""
    plain = OpenDrift(
        drift.scope, drift.difference, drift.detected_at_us, drift.since_us, drift.noticed_us,
        renamed=drift.renamed, other_value=drift.other_value, part=drift.part,
    )  # fmt: skip
    return replace(plain, reported=True, note=note, known_us=now_us)


def _of_these_looks(
    unsure: Iterable[OpenDrift], every: Mapping[Key, OpenDrift]
) -> dict[Key, OpenDrift]:
    """What else these looks saw of the same databases."""
    windows: dict[tuple[str, str, str], tuple[int, int]] = {}
    for drift in unsure:
        scope = drift.scope
        place = (scope.agent, scope.cluster, scope.database)
        first, last = windows.get(place, (drift.since_us, drift.detected_at_us))
        windows[place] = (min(first, drift.since_us), max(last, drift.detected_at_us))
    found = {}
    for key, drift in every.items():
        place = (drift.scope.agent, drift.scope.cluster, drift.scope.database)
        window = windows.get(place)
        if window and window[0] < drift.detected_at_us and drift.since_us < window[1]:
            found[key] = drift
    return found
