"""Permanent objects that are made to lean on temporary ones.

They go with what they lean on: DROP TYPE pg_temp.ty CASCADE, DISCARD TEMP or the session's end take
columns and whole tables along, and no text names them then. So it counts where the tie is made.
PostgreSQL itself forbids it only between tables (inheritance, partitions, foreign keys).
"""

from __future__ import annotations

import re
from typing import Any

from agent.sql.facts import Facts
from agent.sql.tree import Node, each, nodes, strings, unwrap

_SCHEMA = re.compile(r"pg_temp(_\d+)?")
_TEXT = re.compile(r'\s*"?pg_temp(_\d+)?"?\s*\.', re.I)
"""What ``nextval('pg_temp.s')`` and ``'pg_temp.s'::regclass`` are given."""
_MAKING = ("Create", "Alter", "View", "Rule", "Define", "CompositeType", "Index")
_NOTHING_TIED = frozenset(
    {"CreateTableAsStmt", "AlterObjectSchemaStmt", "AlterOwnerStmt", "AlterDefaultPrivilegesStmt"}
)
"""A copy of rows depends on nothing that they came from; the others tie nothing."""
ABOUT = (
    "relation", "relations", "view", "typevar", "sequence", "table", "domainname", "defnames",
    "opclassname", "opfamilyname", "conversion_name", "cfgname", "opername", "typeName", "object",
    "func", "funcname",
)  # fmt: skip
"""Where the name of what is made or changed stands; the first that a statement has."""
_ABOUT_OF = {
    "CreateCastStmt": ("sourcetype", "targettype"),
    "CreateTransformStmt": ("type_name",),
    "CreateEventTrigStmt": (),
    "AlterExtensionContentsStmt": (),
}


def note_ties(facts: Facts, kind: str, fields: Node) -> None:
    """Of a statement that is no query: the flag ``temporary_tie``."""
    if not kind.startswith(_MAKING) or kind in _NOTHING_TIED:
        return
    fields = fields.get("base", fields) if kind == "CreateForeignTableStmt" else fields
    first = [key for key in ABOUT if key in fields][:1]
    if any(is_temporary(fields.get(key)) for key in _ABOUT_OF.get(kind, first)):
        return
    # A view of a temporary table is temporary itself.
    of_tables = nodes(fields.get("query"), "RangeVar") if kind == "ViewStmt" else ()
    if any(is_temporary(table) for _, table in of_tables):
        return
    if _names_temporary(fields) or _is_of_unsaid(fields):
        facts.flag("temporary_tie")


def is_temporary(named: Any) -> bool:
    """Of a relation, a type, a routine, a list of parts of a name, or a list of relations."""
    relations = named if isinstance(named, list) else [named]
    for relation in relations:
        _, node = unwrap(relation)
        if node.get("relpersistence") == "t" or _SCHEMA.fullmatch(str(node.get("schemaname", ""))):
            return True
    return _in_schema(strings(named))


def _in_schema(parts: list[str]) -> bool:
    return any(_SCHEMA.fullmatch(part) for part in parts[:-1])


def _names_temporary(fields: Node) -> bool:
    """Whether a name of schema pg_temp stands anywhere, but in LIKE, which only copies."""
    rest: list[Any] = [fields]
    while rest:
        item = rest.pop()
        if type(item) is list:
            if _in_schema(strings(item)):
                return True
            rest += item
        elif type(item) is dict:
            kind, node = unwrap(item)
            if kind == "TableLikeClause":
                continue
            if _SCHEMA.fullmatch(str(node.get("schemaname", ""))) or _is_given(kind, node):
                return True
            rest += item.values()
    return False


def _is_of_unsaid(fields: Node) -> bool:
    """``ALTER TABLE t OF ty``: schema pg_temp is searched first, and a whole table is at stake. Of
    columns the type usually has no schema, so there it counts only where it is said."""
    return any(
        change.get("subtype") == "AT_AddOf" and len(strings(change.get("def"))) == 1
        for _, change in each(fields.get("cmds"))
    )


def _is_given(kind: str, node: Node) -> bool:
    text = node["sval"].get("sval", "") if kind == "A_Const" and "sval" in node else ""
    return bool(_TEXT.match(text))
