"""A difference that several people made between two looks, in parts: to each what they did.

What one statement, transaction or script did of it is one part. Each is an open difference of its
own, as if it had been seen a microsecond after the one before; see ``divided``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from collector.drift import numbers
from collector.drift.attribution import Cause
from collector.drift.baseline import Difference
from collector.drift.changes import Change
from collector.drift.divided import is_divisible, only
from collector.drift.lines import parts
from collector.drift.state import OpenDrift

Group = Callable[[Change], str]


class Share(NamedTuple):
    drift: OpenDrift
    step: Difference
    cause: Cause


def apart(drift: OpenDrift, step: Difference, cause: Cause, group_of: Group) -> list[Share]:
    """``cause`` of ``step``, how ``drift`` differs from what was seen before. One share with all of
    it where one did it, or where the lines cannot stand alone."""
    whole = Share(drift, step, cause)
    kind, difference = drift.scope.kind, drift.difference
    if not cause.by_line or cause.weak or not is_divisible(kind, difference, [drift]):
        return [whole]
    if numbers.said_of_parts(difference) != drift.renamed:
        return [whole]
    did = _by_group(whole, group_of)
    if len(did) < 2:
        return [whole]
    return [_share(whole, number, keys, did[keys]) for number, keys in enumerate(did)]


def _by_group(whole: Share, group_of: Group) -> Mapping[tuple[str, ...], Sequence[Change]]:
    """Keys of lines with the statements that did them: first those of the cause. What came back to
    the accepted value is no line of the difference."""
    drift, _, cause = whole
    keys = [part.key for part in parts(drift.scope.kind, drift.difference)]
    did = {key: cause.by_line.get(key, cause.change) for key in keys}
    groups: dict[tuple[str, str], list[str]] = {}
    for key in sorted(keys, key=lambda key: did[key] is not cause.change):
        groups.setdefault((did[key].actor, group_of(did[key])), []).append(key)
    return {tuple(mine): [*dict.fromkeys(did[key] for key in mine)] for mine in groups.values()}


def _share(whole: Share, number: int, keys: Sequence[str], did: Sequence[Change]) -> Share:
    drift, step, cause = whole
    kind = drift.scope.kind
    change, *further = did
    difference = only(kind, drift.difference, keys)
    at_us = drift.detected_at_us + number
    mine = replace(
        drift,
        difference=difference,
        detected_at_us=at_us,
        part=at_us if number else drift.part,
        renamed=numbers.said_of_parts(difference),
    )
    own = {key: each for key in keys if (each := cause.by_line.get(key)) in further}
    others = cause.others if change is cause.change else ()
    return Share(mine, only(kind, step, keys), replace(cause, change=change, others=others,
                                                       by_line=own))  # fmt: skip
