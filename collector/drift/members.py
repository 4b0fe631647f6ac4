"""What somebody put into an extension is told as a line of the extension, and is not gone."""

from __future__ import annotations

from collections.abc import Mapping

from collector.drift.baseline import Facts, Known, Scope
from collector.drift.lines import lines_of
from model.catalog import OBJECT_KINDS, CatalogKind

MEMBER = "member "
"""So begin the lines of an extension that name an object of it: ``member function hr.f()``."""


def accepting(scope: Scope, accepted: Facts, known: Mapping[Scope, Known]) -> Facts:
    """``accepted`` without what became a member of an extension, which its line holds from then on.
    The extensions are to come before the other kinds of the same look."""
    if scope.kind not in OBJECT_KINDS or scope.kind is CatalogKind.EXTENSION:
        return accepted
    gone = accepted.keys() - known[scope].observed.keys()
    extensions = known.get(scope._replace(kind=CatalogKind.EXTENSION))
    if not gone or extensions is None:
        return accepted
    members = {key for fact in extensions.observed.values() for key in lines_of(fact.value)}
    moved = {name for name in gone if f"{MEMBER}{scope.kind} {name}" in members}
    return {name: fact for name, fact in accepted.items() if name not in moved}
