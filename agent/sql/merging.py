"""MERGE: whether it changes rows that nothing has chosen."""

from __future__ import annotations

from typing import Any

from agent.sql.by_row import Truth
from agent.sql.facts import Facts
from agent.sql.folding import may_fold
from agent.sql.same import Row, alias_of
from agent.sql.selecting import has_no_rows
from agent.sql.tree import Node, each, fields_of, relation_name, unwrap
from agent.sql.truth import judge, truth

_CHANGING = ("CMD_UPDATE", "CMD_DELETE")
_BY_SOURCE = "MERGE_WHEN_NOT_MATCHED_BY_SOURCE"


def note_merge(facts: Facts, fields: Node, row: Row) -> None:
    condition = fields.get("joinCondition")
    if merges_all(fields, row, judge(condition, row)):
        facts.flag("trivial_where")
    elif merges_all(fields, row, Truth.TRUE):
        # Where nothing of ON is left in the plan, it is all that chooses.
        facts.change("merge", relation_name(fields.get("relation")))
        if may_fold(condition, alias_of(fields.get("relation", {}))):
            facts.change("foldable")
    if changes_by_source(fields):
        facts.flag("by_source")


def changes_by_source(fields: Node) -> bool:
    """``WHEN NOT MATCHED BY SOURCE THEN DELETE``: all rows that the source lacks, as far as no
    condition of the clause itself chooses among them."""
    return any(
        clause.get("matchKind") == _BY_SOURCE
        and clause.get("commandType") in _CHANGING
        and (clause.get("condition") is None or truth(clause["condition"]))
        for _, clause in each(fields.get("mergeWhenClauses"))
    )


def merges_all(fields: Node, row: Row, joined: Truth) -> bool:
    """``joined``: what its ON is. A row is reached by the first of its clauses whose own condition
    is true, so one without a condition reaches all of them only if no other before it has taken
    some away."""
    if is_empty(fields.get("sourceRelation")):
        joined = Truth.FALSE
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


def is_empty(source: Any) -> bool:
    """``(SELECT 1 WHERE false)``, ``(SELECT ... LIMIT 0)``: nothing of the target has a match."""
    kind, fields = unwrap(source)
    if kind != "RangeSubselect":
        return False
    select = fields_of(fields.get("subquery"), "SelectStmt")
    return has_no_rows(select, judge)
