"""Databases that go and databases that get another name: what was known of all in them.

A database is who its number says: its contents keep their baseline, their open differences and
their history when it is renamed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from collector.drift.baseline import Facts, Known, Part, Scope, unquoted
from collector.drift.history import change_rows
from collector.drift.state import Key, OpenDrift, State
from model.catalog import CatalogKind

Server = tuple[str, str]
"""Agent and cluster."""


class Names:
    """Of each server's databases, by their number and their cluster's, as in the items' details:
    ``oid 16384 of cluster 7390…``; without the cluster where the agent may not read it."""

    def __init__(self, known: Mapping[Scope, Known]) -> None:
        self._by_number = {
            _server(scope): _numbered(each.observed)
            for scope, each in known.items()
            if scope.kind is CatalogKind.DATABASE
        }

    def renamed(self, scope: Scope, known: Known) -> dict[str, str]:
        """New names by old ones, since this was asked last."""
        if scope.kind is not CatalogKind.DATABASE or not known.complete:
            return {}
        before = self._by_number.get(_server(scope), {})
        after = self._by_number[_server(scope)] = _numbered(known.observed)
        return {
            before[number]: name
            for number, name in after.items()
            if before.get(number, name) != name
        }


def moves(
    state: State, server: Server, renamed: Mapping[str, str], is_declared: Callable[[Scope], bool]
) -> dict[Scope, Scope]:
    """Scopes that get another name. Not those for which a file says what they should be, nor those
    in whose new place something was accepted that does not move away: that is what counts there.
    """
    mine = [scope for scope in state.known if _server(scope) == server and scope.database]
    taken = {
        scope.database
        for scope in mine
        if state.known[scope].accepted and scope.database not in renamed
    }
    return {
        scope: there
        for scope in mine
        if (name := renamed.get(scope.database)) is not None and name not in taken
        for there in [scope._replace(database=name)]
        if not is_declared(scope) and not is_declared(there)
    }


def history(
    known: Mapping[Scope, Known], moved: Mapping[Scope, Scope], part: Part, now_us: int
) -> Iterator[dict[str, Any]]:
    """Rows of table ``catalog_changes``: all that was in the old place is in the new one."""
    for old, new in moved.items():
        observed = known[old].observed
        yield from change_rows(old, observed, {}, list(observed), part, now_us)
        yield from change_rows(new, {}, observed, list(observed), part, now_us)


def move(state: State, moved: Mapping[Scope, Scope]) -> dict[Key, Key]:
    """Old places of open differences to new ones. ``state`` has them in their new places."""
    known = {scope: state.known.pop(scope) for scope in moved}
    state.known |= {moved[scope]: each for scope, each in known.items()}
    keys: dict[Key, Key] = {key: (moved[key[0]], *key[1:]) for key in state.open if key[0] in moved}
    open_: dict[Key, OpenDrift] = {keys[key]: state.open.pop(key) for key in keys}
    state.open |= {key: replace(drift, scope=key[0]) for key, drift in open_.items()}
    return keys


def gone(
    known: Mapping[Scope, Known], listed: tuple[Scope, Known] | None
) -> Iterator[tuple[Scope, Known]]:
    """What was known of databases that ``listed``, the server's list, no longer has."""
    if listed is None or not listed[1].complete or not listed[1].observed:
        return  # no server is without any
    names = {unquoted(name) for name in listed[1].observed}
    for scope, each in known.items():
        if (
            _server(scope) == _server(listed[0])
            and scope.database
            and scope.database not in names
            and each.at_us < listed[1].at_us
            and (each.observed or not each.complete)
        ):
            yield scope, each


def is_gone(known: Mapping[Scope, Known], scope: Scope) -> bool:
    """The server's list no longer has the database, and nothing is in it any more."""
    listed = known.get(Scope(*scope[:2], CatalogKind.DATABASE, ""))
    if not scope.database or known[scope].observed or listed is None or not listed.complete:
        return False
    names = {unquoted(name) for name in listed.observed}
    return bool(names) and scope.database not in names


def _server(scope: Scope) -> Server:
    return scope.agent, scope.cluster


def _numbered(databases: Facts) -> dict[str, str]:
    return {fact.detail: unquoted(name) for name, fact in databases.items() if fact.detail}
