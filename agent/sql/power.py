"""Statements about power: roles, membership, privileges, settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from agent.sql.facts import Facts, Scope
from agent.sql.locking_out import stifles
from agent.sql.objects import named, names_in, object_kind, said
from agent.sql.secret_values import note_role_password
from agent.sql.tree import (
    Node,
    constant_text,
    each,
    fields_of,
    options,
    role_names,
    strings,
    switched_on,
    unwrap,
)

if TYPE_CHECKING:
    from agent.sql.classify import Walker

_ROLE_ATTRIBUTES = {
    "superuser": "superuser",
    "bypassrls": "bypassrls",
    "isreplication": "replication",
    "createrole": "createrole",
}
_MEMBERS = frozenset({"addroleto", "rolemembers", "adminmembers"})


def note_roles(facts: Facts, value: Any) -> None:
    for name in role_names(value) if isinstance(value, dict | list) else []:
        facts.roles.add(name)


def _set(walker: Walker, fields: Node, scope: Scope) -> None:
    facts = walker.facts
    kind, name = fields.get("kind"), fields.get("name", "")
    facts.verb("reset" if str(kind).startswith("VAR_RESET") else "set")
    facts.setting("all" if kind == "VAR_RESET_ALL" else name)
    facts.credentials = True
    note_role_setting(facts, fields)


def note_role_setting(facts: Facts, setting: Node) -> None:
    """``SET role = postgres``, also where it holds later: of a routine, a role, a database."""
    if setting.get("name") in ("role", "session_authorization") and "args" in setting:
        facts.verbs.add("set")
        for argument in setting["args"]:
            facts.roles.add(constant_text(argument) or "")


def _set_within(about: str, spec: str) -> Callable[[Walker, Node, Scope], None]:
    """ALTER SYSTEM, ROLE or DATABASE ... SET."""

    def alter(walker: Walker, fields: Node, scope: Scope) -> None:
        facts = walker.facts
        found = list(named(fields, spec))
        facts.verb("alter", said=said("alter", about))
        for kind, name in found:
            facts.object(kind, name)
        note_roles(facts, fields.get("role"))
        for name in role_names(fields.get("role")):
            facts.object("role", name)
        setting = fields_of(fields.get("setstmt"), "VariableSetStmt")
        everything = setting.get("kind") == "VAR_RESET_ALL"
        facts.setting("all" if everything else setting.get("name", ""))
        note_role_setting(facts, setting)
        facts.flag("kept_setting")
        if stifles(setting):
            facts.flag("locked_out")
        facts.credentials = True

    return alter


def _role(walker: Walker, fields: Node, scope: Scope) -> None:
    facts = walker.facts
    role = fields.get("role")
    names = [role] if isinstance(role, str) else role_names(role)
    verb = "create" if isinstance(role, str) else "alter"
    facts.verb(verb, said=said(verb, "role"))
    facts.credentials = True
    for name in names:
        facts.object("role", name)
        facts.roles.add(name)
    for option, argument in options(fields):
        if option in _ROLE_ATTRIBUTES and switched_on(argument):
            facts.flag(_ROLE_ATTRIBUTES[option])
        elif option == "password":
            note_role_password(facts, argument)
        elif option in _MEMBERS:
            note_roles(facts, unwrap(argument)[1].get("items"))


def _drop_roles(walker: Walker, fields: Node, scope: Scope) -> None:
    walker.facts.verb("drop", said="DROP ROLE")
    for name in role_names(fields.get("roles")):
        walker.facts.object("role", name)
        walker.facts.roles.add(name)


def _grant(walker: Walker, fields: Node, scope: Scope) -> None:
    facts = walker.facts
    facts.verb("grant" if fields.get("is_grant") else "revoke")
    kind = object_kind(fields.get("objtype"))
    kind = "schema" if fields.get("targtype") == "ACL_TARGET_ALL_IN_SCHEMA" else kind
    for item in fields.get("objects", []):
        for name in names_in(item):
            facts.object(kind, name)
            if kind == "parameter acl":
                facts.setting(name)
    for _, privilege in each(fields.get("privileges")):
        for column in strings(privilege.get("cols")):
            facts.column(column)
    _grantees(facts, fields.get("grantees"))


def _grant_role(walker: Walker, fields: Node, scope: Scope) -> None:
    facts = walker.facts
    facts.verb("grant" if fields.get("is_grant") else "revoke")
    for _, granted in each(fields.get("granted_roles")):
        facts.object("role", granted.get("priv_name", ""))
        facts.roles.add(granted.get("priv_name", ""))
    _grantees(facts, fields.get("grantee_roles"))


def _grantees(facts: Facts, grantees: Any) -> None:
    names = role_names(grantees)
    if "public" in names:
        facts.flag("public")
    for name in names:
        facts.roles.add(name)


def _default_privileges(walker: Walker, fields: Node, scope: Scope) -> None:
    facts = walker.facts
    facts.verb("alter", said="ALTER DEFAULT PRIVILEGES")
    for option, argument in options(fields):
        if option == "schemas":
            for name in strings(argument):
                facts.object("schema", name)
        else:
            note_roles(facts, unwrap(argument)[1].get("items"))
    _grant(walker, fields.get("action", {}), scope)


POWER: dict[str, Callable[[Walker, Node, Scope], None]] = {
    "VariableSetStmt": _set,
    "AlterSystemStmt": _set_within("system", ""),
    "AlterRoleSetStmt": _set_within("role", "database=database"),
    "AlterDatabaseSetStmt": _set_within("database", "database=dbname"),
    "CreateRoleStmt": _role,
    "AlterRoleStmt": _role,
    "DropRoleStmt": _drop_roles,
    "GrantStmt": _grant,
    "GrantRoleStmt": _grant_role,
    "AlterDefaultPrivilegesStmt": _default_privileges,
}
