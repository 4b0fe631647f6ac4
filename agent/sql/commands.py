"""Statements other than queries: DDL, roles and privileges, settings, COPY, cursors, maintenance.

Most are a row in a table: the verb, and where the names of what they are about stand in the tree.
Those with a meaning of their own have a function. A node that neither knows still yields its verb,
from its name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from agent.sql.code import enter_body, routine_bodies
from agent.sql.facts import Facts, Scope
from agent.sql.tree import (
    Node,
    constant_text,
    dotted,
    each,
    fields_of,
    options,
    relation_name,
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
_DROPS = frozenset({"AT_DropColumn", "AT_DropConstraint", "AT_DetachPartition"})
_WORDS = re.compile(r"[A-Z]+(?=[A-Z][a-z]|$)|[A-Z][a-z]+")


def command(walker: Walker, kind: str, fields: Node, scope: Scope) -> None:
    """Any statement that is no query."""
    if fields.get("behavior") == "DROP_CASCADE":
        walker.facts.flag("cascade")
    special = SPECIAL.get(kind)
    if special is not None:
        special(walker, fields, scope)
        return
    verb, spec = TABLE.get(kind, (verb_of_node(kind), ""))
    facts = walker.facts
    found = list(_named(fields, spec))
    facts.verb(verb, said=_said(verb, found[0][0] if found and verb in _TYPED else ""))
    for object_kind, name in found:
        facts.object(object_kind, name)
    if kind in CREDENTIALS:
        facts.credentials = True
    for key in ("roles", "role", "newowner", "newrole", "user"):
        _note_roles(facts, fields.get(key))
    walker.children(fields, scope, skip=_SKIPPED)


_TYPED = frozenset({"create", "alter", "drop", "comment", "refresh"})
_SKIPPED = ("relation", "relations", "rels", "rel", "object", "objects", "table", "base", "view")
"""Relations there are the statement's objects, already noted, and are not read."""


def verb_of_node(kind: str) -> str:
    """``AlterFooStmt`` is ``alter``: a statement of a newer grammar still has a verb."""
    words = _WORDS.findall(kind.removesuffix("Stmt"))
    return words[0].lower() if words else "unknown"


def _said(verb: str, object_kind: str) -> str:
    return f"{verb} {object_kind}".strip().upper().replace("_", " ")


def object_kind(value: Any) -> str:
    """``OBJECT_MATVIEW`` is ``materialized view``."""
    word = str(value or "").removeprefix("OBJECT_").lower()
    return {"matview": "materialized view", "tabconstraint": "constraint"}.get(
        word, word.replace("_", " ")
    )


def _named(fields: Node, spec: str) -> Iterator[tuple[str, str]]:
    """Objects by a spec of words ``kind=field``; a field may be a path, a relation or a list.

    Kind ``@field`` takes the kind from an OBJECT_... field.
    """
    for word in spec.split():
        kind, _, path = word.partition("=")
        kind = object_kind(fields.get(kind[1:])) if kind.startswith("@") else kind
        value: Any = fields
        for step in path.split("."):
            value = value.get(step) if isinstance(value, dict) else None
        for name in _names(value):
            yield kind.replace("_", " "), name


def _names(value: Any) -> Iterator[str]:
    """Names in a field: text, relation, list of strings (one dotted name) or list of either."""
    if isinstance(value, str):
        yield value
        return
    kind, fields = unwrap(value)
    if kind == "RangeVar" or "relname" in fields:
        yield relation_name(value)
    elif kind == "VacuumRelation":
        yield relation_name(fields.get("relation"))
    elif isinstance(value, list) and value and "String" not in value[0]:
        for item in value:
            yield from _names(item)
    elif value:
        yield dotted(value)


def _note_roles(facts: Facts, value: Any) -> None:
    for name in role_names(value) if isinstance(value, dict | list) else []:
        facts.roles.add(name)


# Statements with a meaning of their own


def _drop(walker: Walker, fields: Node, scope: Scope) -> None:
    kind = object_kind(fields.get("removeType"))
    walker.facts.verb("drop", said=_said("drop", kind))
    for item in fields.get("objects", []):
        parts = strings(item)
        name = dotted(item)
        if kind in ("policy", "trigger", "rule") and len(parts) > 1:
            # The tree puts the relation before the name.
            walker.facts.objects.add("table:" + ".".join(parts[:-1]))
            name = parts[-1]
        walker.facts.object(kind, name)


def _truncate(walker: Walker, fields: Node, scope: Scope) -> None:
    walker.facts.verb("truncate")
    for relation in fields.get("relations", []):
        walker.facts.objects.add("table:" + relation_name(relation))
        walker.facts.write(relation_name(relation))


def _alter_table(walker: Walker, fields: Node, scope: Scope) -> None:
    facts = walker.facts
    kind = object_kind(fields.get("objtype"))
    facts.verb("alter", said=_said("alter", kind))
    facts.object(kind, relation_name(fields.get("relation")))
    for _, change in each(fields.get("cmds")):
        if change.get("subtype") in _DROPS:
            facts.flag("drop_part")
        if change.get("behavior") == "DROP_CASCADE":
            facts.flag("cascade")
        if "Column" in str(change.get("subtype")):
            facts.column(change.get("name", ""))
        _note_roles(facts, change.get("newowner"))
        definition, detail = unwrap(change.get("def"))
        if definition == "PartitionCmd":
            facts.object("table", relation_name(detail.get("name")))
        elif definition == "ColumnDef":
            facts.column(detail.get("colname", ""))
        walker.walk(change.get("def"), scope)


def _rename(walker: Walker, fields: Node, scope: Scope) -> None:
    kind = object_kind(fields.get("renameType"))
    walker.facts.verb("alter", said=_said("alter", kind))
    if kind == "role":
        walker.facts.roles.add(fields.get("subname", ""))
        walker.facts.roles.add(fields.get("newname", ""))
    about = fields.get("relation") or fields.get("object") or fields.get("subname")
    kind = "table" if kind in ("column", "constraint") and "relation" in fields else kind
    for name in _names(about):
        walker.facts.object(kind, name)


def _create_as(walker: Walker, fields: Node, scope: Scope) -> None:
    kind = object_kind(fields.get("objtype"))
    name = relation_name(fields.get("into", {}).get("rel"))
    walker.facts.verb("create", said=_said("create", kind))
    walker.facts.object(kind, name)
    walker.facts.writes.add(name)
    walker.statement(fields.get("query"), scope.child())


def _copy(walker: Walker, fields: Node, scope: Scope) -> None:
    facts = walker.facts
    facts.verb("copy")
    if fields.get("is_program"):
        facts.flag("program")
    elif "filename" in fields:
        facts.flag("server_file")
    name = relation_name(fields.get("relation"))
    for column in strings(fields.get("attlist")):
        facts.column(column)
    if fields.get("is_from"):
        facts.write(name)
        walker.walk(fields.get("whereClause"), scope)
    elif name:
        facts.read(name)
        facts.flag("unfiltered")
    else:
        walker.statement(fields.get("query"), scope.child())


def _explain(walker: Walker, fields: Node, scope: Scope) -> None:
    analyze = any(name == "analyze" and switched_on(arg) for name, arg in options(fields))
    walker.facts.verb("explain")
    if analyze:
        walker.facts.flag("explain_analyze")
        walker.statement(fields.get("query"), scope)
        return
    # Nothing runs, so nothing is written and no condition is missing.
    outer, walker.facts = walker.facts, Facts()
    walker.statement(fields.get("query"), scope)
    inner, walker.facts = walker.facts, outer
    outer.credentials |= inner.credentials
    for name in (*inner.reads, *inner.writes):
        outer.read(name)
    for names, added in ((outer.columns, inner.columns), (outer.functions, inner.functions)):
        for name in added:
            names.add(name)


def _inner_query(verb: str) -> Callable[[Walker, Node, Scope], None]:
    def inner(walker: Walker, fields: Node, scope: Scope) -> None:
        walker.facts.verb(verb)
        walker.statement(fields.get("query"), scope)

    return inner


def _set(walker: Walker, fields: Node, scope: Scope) -> None:
    facts = walker.facts
    kind, name = fields.get("kind"), fields.get("name", "")
    facts.verb("reset" if str(kind).startswith("VAR_RESET") else "set")
    facts.setting("all" if kind == "VAR_RESET_ALL" else name)
    facts.credentials = True
    if name in ("role", "session_authorization"):
        for argument in fields.get("args", []):
            facts.roles.add(constant_text(argument) or "")


def _set_within(about: str, spec: str) -> Callable[[Walker, Node, Scope], None]:
    """ALTER SYSTEM, ROLE or DATABASE ... SET."""

    def alter(walker: Walker, fields: Node, scope: Scope) -> None:
        facts = walker.facts
        found = list(_named(fields, spec))
        facts.verb("alter", said=_said("alter", about))
        for kind, name in found:
            facts.object(kind, name)
        _note_roles(facts, fields.get("role"))
        for name in role_names(fields.get("role")):
            facts.object("role", name)
        setting = fields_of(fields.get("setstmt"), "VariableSetStmt")
        everything = setting.get("kind") == "VAR_RESET_ALL"
        facts.setting("all" if everything else setting.get("name", ""))
        facts.credentials = True

    return alter


def _role(walker: Walker, fields: Node, scope: Scope) -> None:
    facts = walker.facts
    role = fields.get("role")
    names = [role] if isinstance(role, str) else role_names(role)
    verb = "create" if isinstance(role, str) else "alter"
    facts.verb(verb, said=_said(verb, "role"))
    facts.credentials = True
    for name in names:
        facts.object("role", name)
        facts.roles.add(name)
    for option, argument in options(fields):
        if option in _ROLE_ATTRIBUTES and switched_on(argument):
            facts.flag(_ROLE_ATTRIBUTES[option])
        elif option == "password":
            facts.flag("password")
        elif option in _MEMBERS:
            _note_roles(facts, unwrap(argument)[1].get("items"))


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
        for name in _names(item):
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
            _note_roles(facts, unwrap(argument)[1].get("items"))
    _grant(walker, fields.get("action", {}), scope)


def _call(walker: Walker, fields: Node, scope: Scope) -> None:
    walker.facts.verb("call")
    walker.facts.object("procedure", dotted(fields.get("funccall", {}).get("funcname")))
    walker.walk({"FuncCall": fields.get("funccall", {})}, scope)


def _transaction(walker: Walker, fields: Node, scope: Scope) -> None:
    word = str(fields.get("kind", "")).removeprefix("TRANS_STMT_").lower()
    walker.facts.verb(word.replace("_", " "))


def _routine(walker: Walker, fields: Node, scope: Scope) -> None:
    facts = walker.facts
    kind = "procedure" if fields.get("is_procedure") else "function"
    facts.verb("create", said=_said("create", kind))
    facts.object(kind, dotted(fields.get("funcname")))
    facts.flag("code")
    for option, argument in options(fields):
        if option == "set":
            facts.setting(fields_of(argument, "VariableSetStmt").get("name", ""))
            facts.credentials = True
    walker.walk(fields.get("sql_body"), scope.child())
    for language, body in routine_bodies(fields):
        enter_body(walker, language, body)


def _do(walker: Walker, fields: Node, scope: Scope) -> None:
    walker.facts.verb("do")
    walker.facts.flag("code")
    for language, body in routine_bodies(fields, key="args"):
        enter_body(walker, language, body)


SPECIAL: dict[str, Callable[[Walker, Node, Scope], None]] = {
    "DropStmt": _drop,
    "TruncateStmt": _truncate,
    "AlterTableStmt": _alter_table,
    "RenameStmt": _rename,
    "CreateTableAsStmt": _create_as,
    "CopyStmt": _copy,
    "ExplainStmt": _explain,
    "PrepareStmt": _inner_query("prepare"),
    "DeclareCursorStmt": _inner_query("declare"),
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
    "CallStmt": _call,
    "TransactionStmt": _transaction,
    "CreateFunctionStmt": _routine,
    "DoStmt": _do,
}

CREDENTIALS = frozenset(
    {
        "CreateUserMappingStmt", "AlterUserMappingStmt", "CreateForeignServerStmt",
        "AlterForeignServerStmt", "CreateFdwStmt", "AlterFdwStmt", "CreateForeignTableStmt",
        "CreateSubscriptionStmt", "AlterSubscriptionStmt", "ImportForeignSchemaStmt",
        "AlterFunctionStmt", "SecLabelStmt", "CommentStmt", "NotifyStmt", "ExecuteStmt",
    }
)  # fmt: skip
"""libpg_query's fingerprint takes in their options and texts."""

TABLE: dict[str, tuple[str, str]] = {
    "CreateStmt": ("create", "table=relation"),
    "CreateForeignTableStmt": ("create", "foreign_table=base.relation foreign_server=servername"),
    "IndexStmt": ("create", "index=idxname table=relation"),
    "ViewStmt": ("create", "view=view"),
    "RefreshMatViewStmt": ("refresh", "materialized_view=relation"),
    "CreateSchemaStmt": ("create", "schema=schemaname"),
    "CreatedbStmt": ("create", "database=dbname"),
    "DropdbStmt": ("drop", "database=dbname"),
    "AlterDatabaseStmt": ("alter", "database=dbname"),
    "AlterDatabaseRefreshCollStmt": ("alter", "database=dbname"),
    "CreateSeqStmt": ("create", "sequence=sequence"),
    "AlterSeqStmt": ("alter", "sequence=sequence"),
    "AlterFunctionStmt": ("alter", "@objtype=func"),
    "CreateTrigStmt": ("create", "trigger=trigname table=relation function=funcname"),
    "CreateEventTrigStmt": ("create", "event_trigger=trigname function=funcname"),
    "AlterEventTrigStmt": ("alter", "event_trigger=trigname"),
    "CreatePolicyStmt": ("create", "policy=policy_name table=table"),
    "AlterPolicyStmt": ("alter", "policy=policy_name table=table"),
    "CreateExtensionStmt": ("create", "extension=extname"),
    "AlterExtensionStmt": ("alter", "extension=extname"),
    "AlterExtensionContentsStmt": ("alter", "extension=extname @objtype=object"),
    "CreateFdwStmt": ("create", "foreign_data_wrapper=fdwname"),
    "AlterFdwStmt": ("alter", "foreign_data_wrapper=fdwname"),
    "CreateForeignServerStmt": ("create", "foreign_server=servername"),
    "AlterForeignServerStmt": ("alter", "foreign_server=servername"),
    "CreateUserMappingStmt": ("create", "user_mapping=servername"),
    "AlterUserMappingStmt": ("alter", "user_mapping=servername"),
    "DropUserMappingStmt": ("drop", "user_mapping=servername"),
    "ImportForeignSchemaStmt": ("import", "schema=local_schema foreign_server=server_name"),
    "CreatePublicationStmt": ("create", "publication=pubname"),
    "AlterPublicationStmt": ("alter", "publication=pubname"),
    "CreateSubscriptionStmt": ("create", "subscription=subname"),
    "AlterSubscriptionStmt": ("alter", "subscription=subname"),
    "DropSubscriptionStmt": ("drop", "subscription=subname"),
    "CreateTableSpaceStmt": ("create", "tablespace=tablespacename"),
    "AlterTableSpaceOptionsStmt": ("alter", "tablespace=tablespacename"),
    "DropTableSpaceStmt": ("drop", "tablespace=tablespacename"),
    "AlterTableMoveAllStmt": ("alter", "tablespace=orig_tablespacename"),
    "CreateDomainStmt": ("create", "domain=domainname"),
    "AlterDomainStmt": ("alter", "domain=typeName"),
    "CreateEnumStmt": ("create", "type=typeName"),
    "AlterEnumStmt": ("alter", "type=typeName"),
    "CompositeTypeStmt": ("create", "type=typevar"),
    "CreateRangeStmt": ("create", "type=typeName"),
    "AlterTypeStmt": ("alter", "type=typeName"),
    "DefineStmt": ("create", "@kind=defnames"),
    "CreateCastStmt": ("create", "function=func"),
    "CreateConversionStmt": ("create", "conversion=conversion_name function=func_name"),
    "CreateAmStmt": ("create", "access_method=amname"),
    "CreateOpClassStmt": ("create", "operator_class=opclassname"),
    "CreateOpFamilyStmt": ("create", "operator_family=opfamilyname"),
    "CreatePLangStmt": ("create", "language=plname"),
    "CreateTransformStmt": ("create", "transform=lang"),
    "CreateStatsStmt": ("create", "statistics=defnames table=relations"),
    "RuleStmt": ("create", "rule=rulename table=relation"),
    "AlterObjectSchemaStmt": ("alter", "@objectType=relation @objectType=object"),
    "AlterOwnerStmt": ("alter", "@objectType=relation @objectType=object"),
    "AlterObjectDependsStmt": ("alter", "@objectType=object"),
    "ReplicaIdentityStmt": ("alter", ""),
    "CommentStmt": ("comment", "@objtype=object"),
    "SecLabelStmt": ("security label", "@objtype=object"),
    "DropOwnedStmt": ("drop", ""),
    "ReassignOwnedStmt": ("reassign", ""),
    "ExecuteStmt": ("execute", ""),
    "FetchStmt": ("fetch", ""),
    "ClosePortalStmt": ("close", ""),
    "DeallocateStmt": ("deallocate", ""),
    "DiscardStmt": ("discard", ""),
    "VariableShowStmt": ("show", ""),
    "ConstraintsSetStmt": ("set constraints", ""),
    "CheckPointStmt": ("checkpoint", ""),
    "LoadStmt": ("load", ""),
    "LockStmt": ("lock", "table=relations"),
    "VacuumStmt": ("vacuum", "table=rels"),
    "ClusterStmt": ("cluster", "table=relation"),
    "ReindexStmt": ("reindex", "table=relation"),
}
