"""Statements other than queries: DDL, COPY, cursors, EXPLAIN, code, maintenance.

Most are a row of ``command_table.py``. Those with a meaning of their own have a function: here, or
in ``power.py`` for roles, privileges and settings. A node that none of them knows still yields its
verb, from its name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from agent.sql.code import enter_body, routine_bodies
from agent.sql.command_table import CREDENTIALS, OUTSIDE, TABLE
from agent.sql.facts import Facts, Scope
from agent.sql.native import note_language, note_library
from agent.sql.objects import cast_name, named, names_in, object_kind, said
from agent.sql.outside import note_change_outside, note_outside
from agent.sql.power import POWER, note_role_setting, note_roles
from agent.sql.scans import cluster, index, note_change, reindex, statistics, vacuum
from agent.sql.secret_values import note_file, note_options
from agent.sql.taking import note_table_change, note_taking
from agent.sql.temporary import note_ties
from agent.sql.tree import (
    Node,
    constant_text,
    dotted,
    each,
    fields_of,
    options,
    relation_name,
    strings,
    switched_on,
    unwrap,
)
from model.names import escaped

if TYPE_CHECKING:
    from agent.sql.classify import Walker

_WORDS = re.compile(r"[A-Z]+(?=[A-Z][a-z]|$)|[A-Z][a-z]+")


def command(walker: Walker, kind: str, fields: Node, scope: Scope) -> None:
    """Any statement that is no query."""
    if fields.get("behavior") == "DROP_CASCADE":
        walker.facts.flag("cascade")
    note_ties(walker.facts, kind, fields)
    note_taking(walker.facts, kind, fields)
    special = SPECIAL.get(kind)
    if special is not None:
        special(walker, fields, scope)
        return
    verb, spec = TABLE.get(kind, (verb_of_node(kind), ""))
    facts = walker.facts
    found = list(named(fields, spec))
    facts.verb(verb, said=said(verb, found[0][0] if found and verb in _TYPED else ""))
    for about, name in found:
        facts.object(about, name)
    if kind in CREDENTIALS:
        facts.credentials = True
        note_options(facts, fields)
    if kind in OUTSIDE:
        note_outside(facts, kind, fields)
    for key in ("roles", "role", "newowner", "newrole", "user"):
        note_roles(facts, fields.get(key))
    walker.children(fields, scope, skip=_SKIPPED)


_TYPED = frozenset({"create", "alter", "drop", "comment", "refresh"})
"""Verbs whose summary names the type too: ``DROP TABLE orders``."""
_SKIPPED = ("relation", "relations", "rels", "rel", "object", "objects", "table", "base", "view")
"""Relations there are the statement's objects, already noted, and are not read."""


def verb_of_node(kind: str) -> str:
    """``AlterFooStmt`` is ``alter``: a statement of a newer grammar still has a verb."""
    words = _WORDS.findall(kind.removesuffix("Stmt"))
    return words[0].lower() if words else "unknown"


# Statements with a meaning of their own


def _drop(walker: Walker, fields: Node, scope: Scope) -> None:
    kind = object_kind(fields.get("removeType"))
    walker.facts.verb("drop", said=said("drop", kind))
    for item in fields.get("objects", []):
        parts = strings(item)
        name = dotted(item)
        if kind in ("policy", "trigger", "rule") and len(parts) > 1:
            # The tree puts the relation before the name.
            walker.facts.objects.add("table:" + ".".join(map(escaped, parts[:-1])))
            name = parts[-1]
        if kind == "cast":
            name = cast_name(*unwrap(item)[1]["items"])
        walker.facts.object(kind, name)


def _create_cast(walker: Walker, fields: Node, scope: Scope) -> None:
    walker.facts.verb("create", said="CREATE CAST")
    walker.facts.object("cast", cast_name(fields.get("sourcetype"), fields.get("targettype")))
    walker.facts.object("function", dotted(fields.get("func")))


def _truncate(walker: Walker, fields: Node, scope: Scope) -> None:
    walker.facts.verb("truncate")
    for relation in fields.get("relations", []):
        walker.facts.objects.add("table:" + relation_name(relation))
        walker.facts.write(relation_name(relation))


def _alter_table(walker: Walker, fields: Node, scope: Scope) -> None:
    facts = walker.facts
    kind = object_kind(fields.get("objtype"))
    facts.verb("alter", said=said("alter", kind))
    relation = relation_name(fields.get("relation"))
    facts.object(kind, relation)
    for _, change in each(fields.get("cmds")):
        if kind != "type":
            note_change(facts, relation, change)
        note_change_outside(facts, change)
        note_table_change(facts, change)
        if change.get("behavior") == "DROP_CASCADE":
            facts.flag("cascade")
        if "Column" in str(change.get("subtype")):
            facts.column(change.get("name", ""))
        note_roles(facts, change.get("newowner"))
        definition, detail = unwrap(change.get("def"))
        if definition == "PartitionCmd":
            facts.object("table", relation_name(detail.get("name")))
            continue
        if definition == "ColumnDef":
            facts.column(detail.get("colname", ""))
        walker.walk(change.get("def"), scope)


def _rename(walker: Walker, fields: Node, scope: Scope) -> None:
    kind = object_kind(fields.get("renameType"))
    if kind == "column":
        walker.facts.column(fields.get("subname", ""))
    if kind in ("column", "constraint") and "relation" in fields:
        kind = "table"
    walker.facts.verb("alter", said=said("alter", kind))
    if kind == "role":
        walker.facts.roles.add(fields.get("subname", ""))
        walker.facts.roles.add(fields.get("newname", ""))
    about = fields.get("relation") or fields.get("object") or fields.get("subname")
    for name in names_in(about):
        walker.facts.object(kind, name, of_relation="relation" in fields)


def _create_as(walker: Walker, fields: Node, scope: Scope) -> None:
    kind = object_kind(fields.get("objtype"))
    name = relation_name(fields.get("into", {}).get("rel"))
    walker.facts.verb("create", said=said("create", kind))
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
        note_file(facts, fields["filename"])
    name = relation_name(fields.get("relation"))
    for column in strings(fields.get("attlist")):
        facts.column(column)
    if fields.get("is_from"):
        facts.write(name)
        walker.walk(fields.get("whereClause"), scope)
    elif name:
        facts.read(name)
        facts.flag("unfiltered")
        if not fields.get("attlist"):
            facts.flag("star")
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


def _call(walker: Walker, fields: Node, scope: Scope) -> None:
    walker.facts.verb("call")
    walker.facts.object("procedure", dotted(fields.get("funccall", {}).get("funcname")))
    walker.walk({"FuncCall": fields.get("funccall", {})}, scope)


_TRANSACTION_WORDS = {
    "rollback_to": "rollback",
    "prepare": "prepare transaction",
    "commit_prepared": "commit prepared",
    "rollback_prepared": "rollback prepared",
}


def _transaction(walker: Walker, fields: Node, scope: Scope) -> None:
    word = str(fields.get("kind", "")).removeprefix("TRANS_STMT_").lower()
    walker.facts.verb(_TRANSACTION_WORDS.get(word, word))


def _routine(walker: Walker, fields: Node, scope: Scope) -> None:
    facts = walker.facts
    kind = "procedure" if fields.get("is_procedure") else "function"
    facts.verb("create", said=said("create", kind))
    facts.object(kind, dotted(fields.get("funcname")))
    facts.flag("code")
    _routine_settings(facts, options(fields))
    walker.walk(fields.get("sql_body"), scope.child())
    language = (constant_text(dict(options(fields)).get("language")) or "sql").lower()
    if language not in ("sql", "plpgsql"):
        facts.object("language", language)
    bodies = list(routine_bodies(fields))
    name = dotted(fields.get("funcname")).rpartition(".")[2]
    note_language(facts, language, [body for _, body in bodies], name)
    for each_language, body in bodies:
        enter_body(walker, each_language, body)


def _alter_routine(walker: Walker, fields: Node, scope: Scope) -> None:
    kind = object_kind(fields.get("objtype"))
    walker.facts.verb("alter", said=said("alter", kind))
    walker.facts.object(kind, dotted(fields.get("func")))
    _routine_settings(walker.facts, options(fields, "actions"))


def _routine_settings(facts: Facts, elements: Iterator[tuple[str, Any]]) -> None:
    """``SET search_path`` and the like, which hold whenever the routine runs."""
    for option, argument in elements:
        if option == "set":
            setting = fields_of(argument, "VariableSetStmt")
            facts.setting(setting.get("name", ""))
            note_role_setting(facts, setting)
            facts.credentials = True


def _do(walker: Walker, fields: Node, scope: Scope) -> None:
    walker.facts.verb("do")
    walker.facts.flag("code")
    for language, body in routine_bodies(fields, key="args"):
        note_language(walker.facts, language, [body])
        enter_body(walker, language, body)


def _language(walker: Walker, fields: Node, scope: Scope) -> None:
    walker.facts.verb("create", said="CREATE LANGUAGE")
    walker.facts.object("language", str(fields.get("plname", "")))
    walker.facts.flag("native_code")


def _load(walker: Walker, fields: Node, scope: Scope) -> None:
    walker.facts.verb("load")
    walker.facts.flag("native_code")
    note_library(walker.facts, str(fields.get("filename", "")))


SPECIAL: dict[str, Callable[[Walker, Node, Scope], None]] = {
    **POWER,
    "DropStmt": _drop,
    "CreateCastStmt": _create_cast,
    "TruncateStmt": _truncate,
    "AlterTableStmt": _alter_table,
    "RenameStmt": _rename,
    "CreateTableAsStmt": _create_as,
    "CopyStmt": _copy,
    "ExplainStmt": _explain,
    "PrepareStmt": _inner_query("prepare"),
    "DeclareCursorStmt": _inner_query("declare"),
    "CallStmt": _call,
    "TransactionStmt": _transaction,
    "CreateFunctionStmt": _routine,
    "AlterFunctionStmt": _alter_routine,
    "DoStmt": _do,
    "CreatePLangStmt": _language,
    "LoadStmt": _load,
    "IndexStmt": index,
    "CreateStatsStmt": statistics,
    "VacuumStmt": vacuum,
    "ClusterStmt": cluster,
    "ReindexStmt": reindex,
}
