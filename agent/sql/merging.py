"""MERGE: whether it changes rows that nothing has chosen."""

from __future__ import annotations

from agent.sql.same import Row
from agent.sql.tree import Node, each
from agent.sql.truth import Truth, judge, truth

_CHANGING = ("CMD_UPDATE", "CMD_DELETE")
_BY_SOURCE = "MERGE_WHEN_NOT_MATCHED_BY_SOURCE"


def merges_all(fields: Node, row: Row) -> bool:
    """A row is reached by the first of its clauses whose own condition is true, so one without a
    condition reaches all of them only if no other before it has taken some away."""
    joined = judge(fields.get("joinCondition"), row)
    narrowed = set()
    for _, clause in each(fields.get("mergeWhenClauses")):
        kind = clause.get("matchKind")
        reached = Truth.FALSE if kind == _BY_SOURCE else Truth.TRUE
        condition = clause.get("condition")
        own = None if condition is None else truth(condition, row)
        if condition is not None and own is None:
            narrowed.add(kind)
        elif (
            clause.get("commandType") in _CHANGING
            and own is not False
            and kind not in narrowed
            and joined in (reached, Truth.ALIKE)
        ):
            return True
    return False
