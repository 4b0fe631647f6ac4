"""Where PostgreSQL 12 to 18 keep what a finished plan says of the relations it touches, on x86-64.

Each number is proven on a running server of its major version by tests/conformance/test_plans.py: a
statement over known relations gives exactly these relations, command and estimate.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PlanLayout:
    """Byte offsets; the defaults are PostgreSQL 16's."""

    statement_bytes: int = 136
    """As much of a PlannedStmt as is read."""
    plan_tree: int = 32
    """``PlannedStmt.planTree``."""
    range_table: int = 40
    """``PlannedStmt.rtable``."""
    permissions: int = 48
    """``PlannedStmt.permInfos``; 0 where each entry of the range table holds its own."""
    results: int = 56
    """``PlannedStmt.resultRelations``."""
    relations: int = 96
    """``PlannedStmt.relationOids``."""
    linked: bool = False
    """A List is a chain of cells, before PostgreSQL 13."""
    merge: bool = True
    """MERGE has a number of its own, since PostgreSQL 15; CMD_UTILITY comes after it."""
    entry_bytes: int = 36
    """As much of a RangeTblEntry as is read."""
    entry_kind: int = 4
    entry_relation: int = 8
    entry_relation_kind: int = 12
    entry_permission: int = 32
    """``RangeTblEntry.perminfoindex``; ``requiredPerms`` itself where ``permissions`` is 0."""
    entry_updated: int = 0
    """``RangeTblEntry.updatedCols``, where ``permissions`` is 0."""
    node_result: int = 310
    """The number of a Result; ModifyTable, Append and MergeAppend come soon after it."""
    node_scan: int = 318
    """Of a SeqScan; the other scans come after it."""
    node_join: int = 335
    """Of a NestLoop."""
    node_matches: tuple[int, int] = (337, 338)
    """Of a MergeJoin and a HashJoin."""
    append_parts: int = 112
    """``Append.appendplans`` and ``MergeAppend.mergeplans``."""
    function_cache: int = 45
    """PROCOID of SysCacheIdentifier."""
    changed_parts: int = 0
    """``ModifyTable.plans``; 0 where there is one plan, to the left, since PostgreSQL 14."""

    @property
    def subplans(self) -> int:
        """``PlannedStmt.subplans``."""
        return self.relations - 24

    @property
    def items(self) -> int:
        """``PlannedStmt.invalItems``."""
        return self.relations + 8

    @property
    def place(self) -> int:
        """``PlannedStmt.stmt_location``, and ``stmt_len`` right behind it."""
        return self.relations + 32


PLAN_LAYOUTS = {
    12: PlanLayout(
        function_cache=43,
        permissions=0, results=48, relations=88, linked=True, merge=False,
        entry_bytes=200, entry_permission=164, entry_updated=192,
        node_result=10, node_scan=19, node_join=36, changed_parts=144,
        node_matches=(37, 38), append_parts=104,
    ),
    13: PlanLayout(
        function_cache=43,
        permissions=0, results=48, merge=False,
        entry_bytes=224, entry_permission=188, entry_updated=216,
        node_result=10, node_scan=19, node_join=36, changed_parts=144,
        node_matches=(37, 38),
    ),
    14: PlanLayout(
        function_cache=43,
        permissions=0, results=48, relations=88, merge=False,
        entry_bytes=232, entry_permission=196, entry_updated=224,
        node_result=10, node_scan=19, node_join=37,
        node_matches=(38, 39),
    ),
    15: PlanLayout(
        permissions=0, results=48, relations=88,
        entry_bytes=232, entry_permission=196, entry_updated=224,
        node_result=11, node_scan=20, node_join=38,
        node_matches=(39, 40),
    ),
    16: PlanLayout(),
    17: PlanLayout(
        entry_bytes=44, entry_kind=24, entry_relation=28, entry_relation_kind=33,
        entry_permission=40, node_result=327, node_scan=335, node_join=352,
        node_matches=(354, 355),
    ),
    18: PlanLayout(
        function_cache=47,
        statement_bytes=160, plan_tree=40, range_table=56, permissions=72, results=80,
        relations=120, entry_bytes=44, entry_kind=24, entry_relation=28, entry_relation_kind=33,
        entry_permission=40, node_result=331, node_scan=339, node_join=356,
        node_matches=(358, 359),
    ),
}  # fmt: skip
