"""Tables come under watch and leave it: that is our configuration, and no drift of the server."""

from __future__ import annotations

from collections.abc import Collection

from collector.drift.baseline import Facts, Known, Scope
from model.catalog import WATCHED_NAME, CatalogKind


def waits(scope: Scope, known: Known) -> bool:
    """Of half a snapshot it is not known yet which tables are watched."""
    return scope.kind is CatalogKind.WATCHED and not known.complete


def accepting(scope: Scope, accepted: Facts, known: Known, *, declared: bool) -> Facts:
    """``accepted`` with the rows of tables that are watched only now, and without those of tables
    that no longer are. ``declared``: a file says what rows there should be."""
    if scope.kind is not CatalogKind.WATCHED or not known.complete:
        return accepted
    now = _names(known.observed)
    if not now:
        return accepted  # an agent of an older release does not name them
    kept = {name: fact for name, fact in accepted.items() if name in now or _is_of(name, now)}
    # Accepted rows without their table's name are of the time when agents did not send it.
    new = now - kept.keys()
    first = () if declared else {n for n in new if not any(_is_of(row, {n}) for row in kept)}
    came = {n: fact for n, fact in known.observed.items() if n in new or _is_of(n, first)}
    return {**kept, **came} if came or len(kept) < len(accepted) else accepted


def why_gone(scope: Scope, name: str, observed: Facts) -> str:
    """Why a difference is none any more; empty if its table is still watched."""
    if scope.kind is not CatalogKind.WATCHED:
        return ""
    now = _names(observed)
    return "it is not watched any more" if now and not _is_of(name, now) else ""


def _names(facts: Facts) -> set[str]:
    return {name for name, fact in facts.items() if fact.value == WATCHED_NAME}


def _is_of(row: str, names: Collection[str]) -> bool:
    """``public.flags[7]`` is of ``public.flags``."""
    return any(sign == "[" and row[:at] in names for at, sign in enumerate(row))
