"""What a command takes from others without a DROP or a DELETE: parts of a table, safeguards,
owners, numbers that were given out, and the name by which a whole schema or database is known."""

from __future__ import annotations

from typing import Any

from agent.sql.facts import Facts
from agent.sql.tree import Node, nodes, options

_CHANGES = {
    "drop_part": (
        "AT_DropColumn", "AT_DropConstraint", "AT_DetachPartition", "AT_DropInherit",
        "AT_DropExpression", "AT_DropIdentity",
    ),
    "safeguard": (
        "AT_DisableTrig", "AT_DisableTrigAll", "AT_DisableTrigUser", "AT_DisableRule",
        "AT_DisableRowSecurity", "AT_NoForceRowSecurity",
    ),
    # Such a trigger runs in a subscription's apply worker, where nothing is held.
    "replica_trigger": ("AT_EnableReplicaTrig", "AT_EnableAlwaysTrig"),
    "owner": ("AT_ChangeOwner",),
}  # fmt: skip
_FLAG_OF = {subtype: flag for flag, subtypes in _CHANGES.items() for subtype in subtypes}
_OF_COMMAND = {
    "AlterOwnerStmt": "owner",
    "ReassignOwnedStmt": "owner",
    "AlterPolicyStmt": "safeguard",
}
_NUMBERING = frozenset({"restart", "increment"})
"""Options of a sequence after which it may hand out what it has handed out before."""
_DROPS_CONSTRAINT = "X"
"""``AlterDomainStmt.subtype``."""
_NOT_FOR_CLIENTS = frozenset({"D", "R"})
"""``AlterEventTrigStmt.tgenabled``: disabled, or for replication alone."""


def note_table_change(facts: Facts, change: Node) -> None:
    """Of one ALTER TABLE command."""
    flag = _FLAG_OF.get(str(change.get("subtype")))
    if flag is not None:
        facts.flag(flag)
    if change.get("subtype") == "AT_SetIdentity" and _renumbers(change.get("def")):
        facts.flag("renumbered")


def note_taking(facts: Facts, kind: str, fields: Node) -> None:
    """Of a statement that is no query."""
    if flag := _OF_COMMAND.get(kind):
        facts.flag(flag)
    elif kind == "AlterDomainStmt" and fields.get("subtype") == _DROPS_CONSTRAINT:
        facts.flag("drop_part")
    elif kind == "AlterEventTrigStmt" and fields.get("tgenabled") in _NOT_FOR_CLIENTS:
        facts.flag("safeguard")
    elif kind == "AlterSeqStmt" and _NUMBERING & {name for name, _ in options(fields)}:
        facts.flag("renumbered")
    elif kind == "RenameStmt" and fields.get("renameType") in ("OBJECT_SCHEMA", "OBJECT_DATABASE"):
        facts.flag("renamed")


def _renumbers(given: Any) -> bool:
    return any(option.get("defname") in _NUMBERING for _, option in nodes(given, "DefElem"))
