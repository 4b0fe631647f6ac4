"""A difference that several people made between two looks, in parts: to each what they did.

What one statement, transaction or script did of it is one part. Each is an open difference of its
own, as if it had been seen a microsecond after the one before; see ``divided``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from collector.drift import numbers
from collector.drift.afterwards import as_made, can_be_parted, owner_said, since_made
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
    cause: Cause | None
    """None: nobody is known to have done it."""


class _Whole(NamedTuple):
    drift: OpenDrift
    step: Difference
    cause: Cause


def apart(drift: OpenDrift, step: Difference, cause: Cause, group_of: Group) -> list[Share]:
    """``cause`` of ``step``, how ``drift`` differs from what was seen before. One share with all of
    it where one did it, or where the lines cannot stand alone."""
    whole, alone = _Whole(drift, step, cause), [Share(drift, step, cause)]
    kind, difference = drift.scope.kind, drift.difference
    one_did_it = not cause.by_line and not cause.nobodys
    if one_did_it or cause.weak or not is_divisible(kind, difference, [drift]):
        return alone
    if numbers.said_of_parts(difference) != drift.renamed:
        return alone
    did = _by_group(whole, group_of)
    if can_be_parted(kind, step):
        return _since_made(whole, did) if len(did) > 1 else alone
    if len(did) == 1 and cause.change in next(iter(did.values())):
        return alone
    # What ``cause`` itself did may all be lines of an older part.
    return [_share(whole, number, keys, did[keys]) for number, keys in enumerate(did)]


def _by_group(whole: _Whole, group_of: Group) -> Mapping[tuple[str, ...], Sequence[Change]]:
    """Keys of lines with the statements that did them: first those of the cause, last what nobody
    did. What came back to the accepted value is no line of the difference."""
    drift, _, cause = whole
    keys = [part.key for part in parts(drift.scope.kind, drift.difference)]
    did = {key: cause.by_line.get(key, cause.change) for key in keys if key not in cause.nobodys}
    for former, now in _retyped(drift.difference).items():
        if now in did:
            did[former] = did[now]
    groups: dict[tuple[str, str], list[str]] = {}
    for key in sorted(did, key=lambda key: did[key] is not cause.change):
        groups.setdefault((did[key].actor, group_of(did[key])), []).append(key)
    found: dict[tuple[str, ...], Sequence[Change]] = {
        tuple(mine): [*dict.fromkeys(did[key] for key in mine)] for mine in groups.values()
    }
    nobodys = tuple(key for key in keys if key not in did)
    return found | ({nobodys: []} if nobodys else {})


def _since_made(whole: _Whole, did: Mapping[tuple[str, ...], Sequence[Change]]) -> list[Share]:
    """First what was made, then what was done to it."""
    kind, total = whole.drift.scope.kind, whole.drift.difference
    later = [*did][1:]
    others = [key for keys in later for key in keys]
    made = as_made(kind, total, others, owner_said(whole.cause.change))
    differences = [made, *(since_made(kind, made, total, keys) for keys in later)]
    return [
        _of(whole, number, difference, difference, keys, did[keys])
        for number, (keys, difference) in enumerate(zip(did, differences, strict=True))
    ]


def _share(whole: _Whole, number: int, keys: Sequence[str], did: Sequence[Change]) -> Share:
    drift, step, _ = whole
    kind = drift.scope.kind
    difference = only(kind, drift.difference, keys)
    return _of(whole, number, difference, only(kind, step, keys), keys, did)


def _of(
    whole: _Whole,
    number: int,
    difference: Difference,
    step: Difference,
    keys: Sequence[str],
    did: Sequence[Change],
) -> Share:
    drift, _, cause = whole
    at_us = drift.detected_at_us + number
    mine = replace(
        drift,
        difference=difference,
        detected_at_us=at_us,
        part=at_us if number else drift.part,
        renamed=numbers.said_of_parts(difference),
    )
    if not did:
        return Share(mine, step, None)
    change, *further = did
    retyped = _retyped(difference)
    own = {
        key: each
        for key in keys
        if (each := cause.by_line.get(key)) is not None and (each in further or key in retyped)
    }
    others = cause.others if change is cause.change else ()
    also = {key: each for key, each in cause.also.items() if key in keys}
    now = replace(cause, change=change, others=others, by_line=own, also=also)
    return Share(mine, step, now)


def _retyped(difference: Difference) -> Mapping[str, str]:
    """Lines of which only the name could be somebody else's: they stay one."""
    parts = numbers.retyped_in(difference)
    return {f"{part.word} {part.old}": f"{part.word} {part.new}" for part in parts}
