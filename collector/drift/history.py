"""Each change of what was observed, as a row of table ``catalog_changes``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from collector.drift.baseline import Fact, Facts, Part, Scope
from model.catalog import DriftChange

NOTHING = Fact("", "")


def change_rows(
    scope: Scope,
    before: Facts,
    after: Facts,
    names: Iterable[str],
    part: Part,
    known_at_us: int,
) -> Iterator[dict[str, Any]]:
    """``names``: those with another value. Times are Unix microseconds."""
    for name in names:
        old, new = before.get(name), after.get(name)
        if old is None:
            change = DriftChange.ADDED
        else:
            change = DriftChange.REMOVED if new is None else DriftChange.CHANGED
        yield {
            "occurred_at": part.at_us,
            "known_at": known_at_us,
            "agent": scope.agent,
            "cluster": scope.cluster,
            "database": scope.database,
            "kind": scope.kind.value,
            "name": name,
            "change": change.value,
            "before": (old or NOTHING).value,
            "after": (new or NOTHING).value,
            "detail": (new or old or NOTHING).detail,
            "since": part.since_us or None,
        }
