"""The record of what was seen look after look, and what a plan learns from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from collector.drift.baseline import EVERYTHING, Facts, Part, Scope
from collector.drift.history import change_rows
from collector.drift.observed import Whole
from collector.drift.plan import Past, read_past
from collector.store import Store
from collector.views import open_views

S, AT_US = 1_000_000, 1_790_000_000_000_000


def past_of(folder: Path, *looks: Whole) -> Past:
    """``looks`` a second apart, at a server that was not known before."""
    store = Store(folder, commit_seconds=0.01)
    store.start()
    before: Whole = {}
    for second, look in enumerate(looks):
        if rows := [*_rows(before, look, AT_US + second * S)]:
            store.append("catalog_changes", rows)
        before = look
    assert store.segments.flush()
    store.close()
    with open_views(folder) as views:
        return read_past(views, "h", "5432")


def _rows(before: Whole, look: Whole, at_us: int) -> Iterator[Mapping[str, Any]]:
    nothing: Facts = {}
    for key in {*before, *look}:
        old, new = before.get(key, nothing), look.get(key, nothing)
        names: Sequence[str] = [name for name in {*old, *new} if old.get(name) != new.get(name)]
        part = Part(at_us, 0, 0, EVERYTHING, new, frozenset())
        yield from change_rows(Scope("h", "5432", *key), old, new, names, part, at_us)
