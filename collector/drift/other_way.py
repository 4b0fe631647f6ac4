"""What else came and went in one look at a scope: it tells what a rename can have brought."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from collector.drift.baseline import Difference
from collector.drift.numbers import oid_of
from model.catalog import CatalogKind, DriftChange

ADDED, REMOVED = DriftChange.ADDED, DriftChange.REMOVED
_BACK = {ADDED: REMOVED, REMOVED: ADDED}


class OtherWay:
    """``steps``: from what was seen before. ``ended``: differences that are as accepted again."""

    def __init__(
        self, kind: CatalogKind, steps: Iterable[Difference], ended: Iterable[Difference]
    ) -> None:
        self._kind = kind
        self._values: dict[DriftChange, dict[str, str]] = {ADDED: {}, REMOVED: {}}
        self._oids: dict[DriftChange, set[str]] = {ADDED: set(), REMOVED: set()}
        for step in steps:
            self._note(step, step.change)
        for over in ended:
            self._note(over, _BACK.get(over.change, over.change))

    def of(self, step: Difference) -> Mapping[str, str] | None:
        """By name, what went where ``step`` came, and the other way round, with its value; of an
        object only what has its number. None where nothing can be said."""
        if step.change not in _BACK:
            return None
        other = _BACK[step.change]
        if self._kind is CatalogKind.PRIVILEGE:
            return self._values[other]
        oid = oid_of(step.details[step.change is ADDED])
        return None if not oid or oid in self._oids[other] else {}

    def _note(self, difference: Difference, change: DriftChange) -> None:
        if change not in _BACK:
            return
        self._values[change][difference.name] = difference.observed or difference.desired
        self._oids[change] |= {*map(oid_of, difference.details)} - {""}
