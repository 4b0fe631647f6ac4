"""What commands and calls make the server do outside: run a program, read a file, connect to
another server."""

from __future__ import annotations

from typing import Any

from agent.sql.facts import Facts
from agent.sql.secret_values import note_file
from agent.sql.tree import Node, constant_text, each, unwrap

_FILES = "file_fdw"
"""The one foreign data wrapper of PostgreSQL that leads to no other server."""
_TOLD = frozenset({"CreateUserMappingStmt", "ImportForeignSchemaStmt"})
_CHANGED = frozenset({"AlterForeignServerStmt", "AlterUserMappingStmt"})
_CONNECTING = frozenset(
    {"dblink", "dblink_connect", "dblink_connect_u", "dblink_exec", "dblink_open",
     "dblink_send_query"}
)  # fmt: skip


def note_outside(facts: Facts, kind: str, fields: Node) -> None:
    """Of a statement about a foreign table or server, a user mapping, a subscription or a place for
    tables on the server's disk."""
    if kind == "CreateForeignTableStmt":
        note_table_options(facts, fields.get("options"))
    if kind == "CreateTableSpaceStmt":
        facts.flag("server_file")
    if (
        "conninfo" in fields
        or kind in _TOLD
        or (kind in _CHANGED and fields.get("options"))
        or (kind == "CreateForeignServerStmt" and fields.get("fdwname") != _FILES)
    ):
        facts.flag("connection")


def note_call(facts: Facts, name: str) -> None:
    if connects(name):
        facts.flag("connection")


def connects(function: str) -> bool:
    return function.rpartition(".")[2] in _CONNECTING


def note_change_outside(facts: Facts, change: Node) -> None:
    """Of one ALTER FOREIGN TABLE command."""
    if change.get("subtype") == "AT_GenericOptions":
        note_table_options(facts, unwrap(change.get("def"))[1].get("items"))


def note_table_options(facts: Facts, items: Any) -> None:
    """``program`` and ``filename`` are file_fdw's."""
    for _, option in each(items):
        if option.get("defaction") == "DEFELEM_DROP":
            continue
        if option.get("defname") == "program":
            facts.flag("program")
        elif option.get("defname") == "filename":
            facts.flag("server_file")
            note_file(facts, constant_text(option.get("arg")))
