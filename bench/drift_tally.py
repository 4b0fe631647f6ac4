"""What the record said of a made-up history, held against the truth."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from bench.drift_town import Change, Key

Told = tuple[str, str]
"""Who did it, and the note beside it."""


@dataclass
class Tally:
    expected: int = 0
    seen: int = 0
    right: int = 0
    wrong: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    invented: list[str] = field(default_factory=list)
    by_sort: Counter[str] = field(default_factory=Counter)
    """Expected ones."""
    restarts: int = 0
    seconds: list[float] = field(default_factory=list)
    """From a statement's end to its row in the record, found by polling."""
    file_seconds: list[float] = field(default_factory=list)
    """The same for edits of files, which nothing on the wire tells of."""

    def figures(self) -> dict[str, Any]:
        seconds = sorted(self.seconds) or [0.0]
        return {
            "expected": self.expected,
            "by_sort": dict(sorted(self.by_sort.items())),
            "restarts": self.restarts,
            "recall": self.seen / max(1, self.expected),
            "actor_right": self.right / max(1, self.seen),
            "invented": len(self.invented),
            "seconds_p50": statistics.median(seconds),
            "seconds_p99": seconds[int(len(seconds) * 0.99)],
            "seconds_max": seconds[-1],
            "file_seconds_max": max(self.file_seconds, default=0.0),
            "missed_examples": self.missed[:20],
            "wrong_examples": self.wrong[:20],
            "invented_examples": self.invented[:20],
        }


def compare(changes: dict[Key, list[Change]], seen: dict[Key, list[Told]], tally: Tally) -> None:
    seen = dict(seen)
    whole = {change.inside: change for made in changes.values() for change in made if change.inside}
    for key in seen.keys() - changes.keys():
        if (dropped := whole.get(key[1])) is not None:
            changes[key] = [dropped]
    tally.expected += len(changes)
    for key, made in changes.items():
        tally.by_sort[made[0].about] += 1
        if key not in seen:
            tally.missed.append(f"{'/'.join(key)} ({made[0].path})")
            continue
        tally.seen += 1
        if _is_right(made, seen[key]):
            tally.right += 1
        else:
            told = ", ".join(f"{actor or 'nobody'} [{note}]" for actor, note in seen[key])
            actual = " and ".join(each.actor or "nobody" for each in made)
            tally.wrong.append(f"{'/'.join(key)} ({made[0].path}): {told}; was {actual}")
    tally.invented += ["/".join(key) for key in seen.keys() - changes.keys()]


def _is_right(made: list[Change], told: list[Told]) -> bool:
    """Nobody else is named, and all who did it are: as the actor, or beside them."""
    actors = {change.actor for change in made}
    named = {actor for actor, _ in told}
    beside = {actor for actor in actors for _, note in told if actor and f"{actor} (" in note}
    return named <= actors and named | beside == actors
