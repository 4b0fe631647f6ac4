"""What ``*`` stands for: columns of a relation, or those that a query before it has named."""

from __future__ import annotations

from typing import Any

from agent.sql.facts import Scope
from agent.sql.tree import each


def only_queries(sources: Any, scope: Scope) -> bool:
    """Whether FROM has nothing but CTEs and subqueries, so that its ``*`` brings no column that is
    not named within, or there by a ``*`` of its own. A function may return whole rows."""
    found = list(each(sources))
    return bool(found) and all(_is_query(kind, source, scope) for kind, source in found)


def _is_query(kind: str, source: Any, scope: Scope) -> bool:
    if kind == "RangeVar":
        return "schemaname" not in source and source.get("relname") in scope.ctes
    if kind == "JoinExpr":
        return only_queries([source.get("larg"), source.get("rarg")], scope)
    return kind == "RangeSubselect"
