"""What is put into another's place, or among the server's own."""

from __future__ import annotations

from typing import Any

from agent.sql.temporary import ABOUT, is_temporary
from agent.sql.tree import Node, options, strings, switched_on, unwrap

_OF_THE_SERVER = frozenset({"pg_catalog", "information_schema"})
_REPLACING = frozenset(
    {"CreateFunctionStmt", "ViewStmt", "CreateTrigStmt", "RuleStmt", "DefineStmt",
     "CreateTransformStmt"}
)  # fmt: skip
_CHANGING = ("Create", "Alter", "View", "Define", "CompositeType", "Rename")
_NO_OBJECT = frozenset({"AlterDefaultPrivilegesStmt", "CreateCastStmt", "CreateOpClassStmt"})


def replaces(kind: str, fields: Node) -> bool:
    """``CREATE OR REPLACE`` of what outlives the session. Whether there was one no text tells."""
    if kind not in _REPLACING or not fields.get("replace"):
        return False
    return not any(is_temporary(fields.get(key)) for key in ABOUT if key in fields)


def is_of_the_server(kind: str, fields: Node) -> bool:
    """``CREATE FUNCTION pg_catalog.now()``, ``ALTER FUNCTION f() SET SCHEMA pg_catalog``."""
    if not kind.startswith(_CHANGING) or kind in _NO_OBJECT:
        return False
    if fields.get("newschema") in _OF_THE_SERVER:
        return True
    about = next((fields[key] for key in ABOUT if key in fields), None)
    return _schema(about) in _OF_THE_SERVER


def _schema(named: Any) -> str:
    _, node = unwrap(named)
    if "relname" in node:
        return str(node.get("schemaname", ""))
    parts = strings(named)
    return parts[-2] if len(parts) > 1 else ""


def steps_up(kind: str, fields: Node) -> bool:
    """A routine that is there gets its owner's rights, or any gets past row policies (LEAKPROOF). A
    new one with its owner's rights is what migrations make."""
    key = {"AlterFunctionStmt": "actions", "CreateFunctionStmt": "options"}.get(kind)
    wanted = ("security", "leakproof") if key == "actions" else ("leakproof",)
    given = options(fields, key) if key else ()
    return any(name in wanted and switched_on(argument) for name, argument in given)
