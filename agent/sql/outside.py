"""What options of foreign tables and subscriptions make the server do outside: run a program, read
a file, connect to another server."""

from __future__ import annotations

from typing import Any

from agent.sql.facts import Facts
from agent.sql.secret_values import note_file
from agent.sql.tree import Node, constant_text, each, unwrap


def note_outside(facts: Facts, fields: Node) -> None:
    """Of a statement about a foreign table or a subscription."""
    note_table_options(facts, fields.get("options"))
    if "conninfo" in fields:
        facts.flag("connection")


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
