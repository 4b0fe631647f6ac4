"""Whether a WHERE may be gone from a plan that was made for certain values: ``o.id = $1 OR $2``."""

from __future__ import annotations

from typing import Any

from agent.sql.tree import dotted, strings, unwrap

_COMPARING = frozenset({"=", "<>", "<", ">", "<=", ">="})


def may_fold(where: Any, own: str) -> bool:
    """Not if one thing that must be true compares a column of the changed relation, named as such.
    A name alone may be a variable of PL/pgSQL. ``own``: what its rows are called."""
    rest = [where]
    while rest:
        kind, fields = unwrap(rest.pop())
        if kind == "BoolExpr" and fields.get("boolop") == "AND_EXPR":
            rest += fields.get("args", [])
        elif kind == "CurrentOfExpr":
            return False
        elif kind == "A_Expr" and fields.get("kind") == "AEXPR_OP":
            sides = (fields.get("lexpr"), fields.get("rexpr"))
            if dotted(fields.get("name")) in _COMPARING and any(_is_own(s, own) for s in sides):
                return False
    return True


def _is_own(value: Any, own: str) -> bool:
    kind, fields = unwrap(value)
    return kind == "ColumnRef" and strings(fields.get("fields"))[-2:-1] == [own]
