"""What else came and went in one look at a scope: it tells what a rename can have brought."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from collector.drift.baseline import Difference
from collector.drift.matching.moved import UNNUMBERED
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
            return self._both(step) if self._kind in UNNUMBERED else None
        other = _BACK[step.change]
        if self._kind in UNNUMBERED:
            return self._values[other]
        oid = oid_of(step.details[step.change is ADDED])
        return None if not oid or oid in self._oids[other] else {}

    def _both(self, step: Difference) -> Mapping[str, str]:
        """Of what became another: what went elsewhere and came here, or came there and went."""
        if self._kind is not CatalogKind.PRIVILEGE:
            return {**self._values[ADDED], **self._values[REMOVED]}
        old, new = _words(step.desired), _words(step.observed)
        sides = ((ADDED, old - new), (REMOVED, new - old))
        found: dict[str, set[str]] = {}
        for change, mine in sides:
            for name, value in self._values[change].items():
                found.setdefault(name, set()).update(_words(value) & mine)
        return {name: ", ".join(sorted(words)) for name, words in found.items()}

    def _note(self, difference: Difference, change: DriftChange) -> None:
        if change not in _BACK:
            if self._kind in UNNUMBERED:
                self._note_words(difference)
            return
        self._values[change][difference.name] = difference.observed or difference.desired
        self._oids[change] |= {*map(oid_of, difference.details)} - {""}

    def _note_words(self, difference: Difference) -> None:
        """Rights that came, and those that went; of what else has no number all of it."""
        sides = (difference.desired, difference.observed)
        apart = self._kind is CatalogKind.PRIVILEGE
        old, new = (_words(side) if apart else {side} for side in sides)
        self._values[REMOVED][difference.name] = ", ".join(sorted(old - new))
        self._values[ADDED][difference.name] = ", ".join(sorted(new - old))


def _words(value: str) -> set[str]:
    return {*value.split(", ")} - {""}
