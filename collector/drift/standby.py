"""What a standby shows was done on its primary, which is another server to us."""

from __future__ import annotations

from collections.abc import Mapping

from collector.drift.baseline import Difference, Facts, Scope
from collector.drift.clauses import RECOVERY
from collector.drift.reloads import of_server
from model.catalog import CatalogKind

_OF_FILES = frozenset((CatalogKind.HBA, CatalogKind.IDENT, CatalogKind.SLOT))
"""What each server has of its own, as its settings."""


def standbys(known: Mapping[Scope, Facts]) -> frozenset[tuple[str, str]]:
    """(agent, cluster) of servers in recovery."""
    return frozenset(
        (scope.agent, scope.cluster)
        for scope, facts in known.items()
        if scope.kind is CatalogKind.SETTING and RECOVERY in facts
    )


def comes_by_replay(scope: Scope, step: Difference) -> bool:
    return scope.kind not in _OF_FILES and not of_server(scope, step)
