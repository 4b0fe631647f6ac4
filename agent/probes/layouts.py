"""Where PostgreSQL 12 to 18 keep the fields that the probes read, on x86-64.

Source: compiled from the headers of each major version (``offsetof``), and each proven on a running
server: 12.22, 13.23, 14.23, 15.18, 16.14, 17.10, 18.4. Minor releases keep them:
PostgreSQL promises extensions a stable ABI within a major version.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.probes.errors import CaptureUnavailable


@dataclass(frozen=True, slots=True)
class Layout:
    """Byte offsets."""

    port_database_name: int
    port_user_name: int
    portal_source_text: int
    port_raddr: int = 152
    """``SockAddr raddr`` lies right before ``remote_host`` (288), and is 136 bytes long."""
    portal_statements: int = 88
    """``Portal.stmts``."""
    list_cells: int = 16
    """Where a ``List`` leads to its first cell; 8 before PostgreSQL 13, when it was linked."""
    planned_utility: int = 120
    """``PlannedStmt.utilityStmt``; the statement's place in the text follows it."""
    planned_tree: int = 32
    """``PlannedStmt.planTree``."""
    planned_results: int = 48
    """``PlannedStmt.resultRelations``."""
    changed_parts: int = 0
    """``ModifyTable.plans``, before PostgreSQL 14; then there is one, to the left."""
    command_utility: int = 6
    """``CMD_UTILITY``; 5 before PostgreSQL 15 brought MERGE."""
    context_third: bool = False
    """``ProcessUtility`` takes its context as third argument, before PostgreSQL 14."""
    portal_parameters: int = 104
    """``Portal.portalParams``."""
    list_parameters: int = 56
    """``ParamListInfo.numParams``; the parameters lie 8 bytes behind it."""
    portal_status: int = 132
    """``Portal.status``, 28 bytes behind ``portalParams``; 24 since PostgreSQL 18."""
    portal_at_start: int = 200
    """``Portal.atStart``: no row of it has been given yet."""

    @property
    def planned_relations(self) -> int:
        """``PlannedStmt.relationOids``, the third before ``utilityStmt`` in every version."""
        return self.planned_utility - 24


LAYOUTS = {
    12: Layout(
        port_database_name=328, port_user_name=336, portal_source_text=48,
        portal_statements=64, list_cells=8, planned_utility=112, command_utility=5,
        context_third=True, portal_parameters=80, list_parameters=48, changed_parts=144,
        portal_status=108, portal_at_start=168,
    ),
    13: Layout(
        port_database_name=328, port_user_name=336, portal_source_text=48,
        portal_statements=80, command_utility=5, context_third=True, portal_parameters=96,
        changed_parts=144, portal_status=124, portal_at_start=184,
    ),
    14: Layout(
        port_database_name=328, port_user_name=336, portal_source_text=48,
        portal_statements=80, planned_utility=112, command_utility=5, portal_parameters=96,
        portal_status=124, portal_at_start=192,
    ),
    15: Layout(
        port_database_name=328, port_user_name=336, portal_source_text=56, planned_utility=112
    ),
    16: Layout(
        port_database_name=328, port_user_name=336, portal_source_text=56, planned_results=56
    ),
    17: Layout(
        port_database_name=320, port_user_name=328, portal_source_text=56, planned_results=56
    ),
    18: Layout(
        port_database_name=384, port_user_name=392, portal_source_text=56, planned_utility=144,
        planned_tree=40, planned_results=80, portal_status=128, portal_at_start=192,
    ),
}  # fmt: skip


def layout_for(version: int) -> Layout:
    """Raises CaptureUnavailable for a major version whose layout nobody has checked."""
    layout = LAYOUTS.get(version)
    if layout is None:
        raise CaptureUnavailable(
            f"the layout of PostgreSQL {version} is unknown (known: {min(LAYOUTS)} to "
            f"{max(LAYOUTS)})",
            "use a pgwarden release that knows this version; reading with a wrong layout would "
            "report nonsense",
        )
    return layout
