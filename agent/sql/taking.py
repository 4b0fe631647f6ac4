"""What a command takes from others without a DROP or a DELETE: parts of a table, safeguards,
owners, numbers that were given out, the name by which a whole schema or database is known, and
whether anybody may write or log in any more."""

from __future__ import annotations

from typing import Any

from agent.sql.by_row import Truth
from agent.sql.facts import Facts
from agent.sql.locking_out import locks_out
from agent.sql.replacing import is_of_the_server, replaces, steps_up
from agent.sql.replicating import cuts_replication, hides_old_rows
from agent.sql.tree import (
    Node,
    each,
    is_null,
    nodes,
    switched_on,
    unwrap,
)
from agent.sql.truth import judge

_CHANGES = {
    "drop_part": (
        "AT_DropColumn", "AT_DropConstraint", "AT_DetachPartition", "AT_DropInherit",
        "AT_DropExpression", "AT_DropIdentity",
    ),
    "safeguard": (
        "AT_DisableTrig", "AT_DisableTrigAll", "AT_DisableTrigUser", "AT_DisableRule",
        # For clients a rule of replication is switched off.
        "AT_EnableReplicaRule", "AT_DisableRowSecurity", "AT_NoForceRowSecurity",
    ),
    # Such a trigger runs in a subscription's apply worker, where nothing is held.
    "replica_trigger": ("AT_EnableReplicaTrig", "AT_EnableAlwaysTrig"),
    "owner": ("AT_ChangeOwner",),
    "unlogged": ("AT_SetUnLogged",),
}  # fmt: skip
_FLAG_OF = {subtype: flag for flag, subtypes in _CHANGES.items() for subtype in subtypes}
_OF_COMMAND = {
    "AlterOwnerStmt": "owner",
    "ReassignOwnedStmt": "owner",
    "AlterPolicyStmt": "safeguard",
}
_NUMBERING = frozenset({"restart", "increment", "maxvalue", "cycle"})
"""Options of a sequence after which it may hand out what it has handed out before, or nothing."""
_DROPS_CONSTRAINT, _ADDS_CONSTRAINT = "X", "C"
"""``AlterDomainStmt.subtype``."""
_NOT_FOR_CLIENTS = frozenset({"D", "R"})
"""``AlterEventTrigStmt.tgenabled``: disabled, or for replication alone."""
_WRITING = ("InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt")
_GUARDING = frozenset({"security_barrier", "security_invoker", "check_option"})
"""Options of a view that decide who sees or writes what."""


def note_table_change(facts: Facts, change: Node) -> None:
    """Of one ALTER TABLE command."""
    subtype = str(change.get("subtype"))
    flag = _FLAG_OF.get(subtype)
    if flag is not None:
        facts.flag(flag)
    if subtype == "AT_SetIdentity" and _renumbers(change.get("def")):
        facts.flag("renumbered")
    elif subtype == "AT_ReplicaIdentity" and hides_old_rows(change):
        facts.flag("replication_cut")
    elif _is_let_go(change) or _weakens(change):
        facts.flag("safeguard")
    elif subtype in ("AT_AddConstraint", "AT_AddColumn") and _forbids_all(change.get("def")):
        facts.flag("writes_stopped")


def note_taking(facts: Facts, kind: str, fields: Node) -> None:
    """Of a statement that is no query."""
    if cuts_replication(kind, fields):
        facts.flag("replication_cut")
    if replaces(kind, fields):
        facts.flag("replaced")
    if is_of_the_server(kind, fields):
        facts.flag("system_object")
    if steps_up(kind, fields):
        facts.flag("stepped_up")
    if flag := _OF_COMMAND.get(kind):
        facts.flag(flag)
    elif kind == "AlterDomainStmt":
        if fields.get("subtype") == _DROPS_CONSTRAINT:
            facts.flag("drop_part")
        elif fields.get("subtype") == _ADDS_CONSTRAINT and _forbids_all(fields.get("def")):
            facts.flag("writes_stopped")
    elif kind == "RuleStmt" and _swallows(fields):
        facts.flag("writes_stopped")
    elif kind in ("AlterRoleStmt", "AlterDatabaseStmt") and locks_out(fields):
        facts.flag("locked_out")
    elif kind == "CreatePolicyStmt" and _opens(fields):
        facts.flag("safeguard")
    elif kind == "RefreshMatViewStmt" and fields.get("skipData"):
        facts.flag("emptied")
    elif kind == "AlterEventTrigStmt" and fields.get("tgenabled") in _NOT_FOR_CLIENTS:
        facts.flag("safeguard")
    elif kind == "AlterSeqStmt" and _renumbers(fields.get("options")):
        facts.flag("renumbered")
    elif kind == "RenameStmt" and fields.get("renameType") in ("OBJECT_SCHEMA", "OBJECT_DATABASE"):
        facts.flag("renamed")
    elif kind == "RenameStmt" and fields.get("renameType") == "OBJECT_ROLE":
        facts.flag("role_renamed")


def _renumbers(given: Any) -> bool:
    """NO MAXVALUE has no argument, and NO CYCLE a false one."""
    for _, option in nodes(given, "DefElem"):
        name, argument = option.get("defname"), option.get("arg")
        if name in ("maxvalue", "cycle") and (argument is None or not switched_on(argument)):
            continue
        if name in _NUMBERING:
            return True
    return False


def _is_let_go(change: Node) -> bool:
    """``ALTER CONSTRAINT ... NOT ENFORCED``."""
    if change.get("subtype") != "AT_AlterConstraint":
        return False
    constraint = unwrap(change.get("def"))[1]
    return bool(constraint.get("alterEnforceability")) and not constraint.get("is_enforced")


def _forbids_all(definition: Any) -> bool:
    """Whether a CHECK in it is true of no row, so that none comes in any more. NULL lets pass."""
    return any(
        check.get("contype") == "CONSTR_CHECK"
        and not is_null(check.get("raw_expr"))
        and judge(check.get("raw_expr")) is Truth.FALSE
        for _, check in nodes({"Node": definition}, "Constraint")
    )


def _swallows(rule: Node) -> bool:
    """``DO INSTEAD NOTHING``, or something that writes nothing, where a write was asked for."""
    if not rule.get("instead") or rule.get("event") == "CMD_SELECT":
        return False
    return not any(kind in _WRITING for kind, _ in each(rule.get("actions")))


def _weakens(change: Node) -> bool:
    """``ALTER VIEW ... RESET (security_barrier)``, ``SET (security_invoker = off)``."""
    reset = change.get("subtype") == "AT_ResetRelOptions"
    if not reset and change.get("subtype") != "AT_SetRelOptions":
        return False
    return any(
        option.get("defname") in _GUARDING and (reset or not switched_on(option.get("arg")))
        for _, option in nodes(change.get("def"), "DefElem")
    )


def _opens(policy: Node) -> bool:
    """A policy is one more way in: where it is true of each row, for everybody, the others say
    nothing."""
    everybody = any(role.get("roletype") == "ROLESPEC_PUBLIC" for _, role in each(policy["roles"]))
    seen = policy.get("qual") or policy.get("with_check")
    return bool(policy.get("permissive")) and everybody and judge(seen) is Truth.TRUE
