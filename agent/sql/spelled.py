"""Operators that are written as calls: ``int4eq(a, b)``, ``textlike(a, '%')``, and an ESCAPE."""

from __future__ import annotations

import re
from typing import Any

from agent.sql.same import text_of
from agent.sql.tree import Node, dotted, unwrap

_COMPARING = re.compile(
    r"(?:bool|int2|int4|int8|int24|int42|int28|int82|int48|int84|float4|float8|float48|float84|"
    r"text_?|bpchar|name|oid|byteaeq|bytea|numeric_|date_|time_|timestamp_|timestamptz_|uuid_)"
    r"(eq|ne|lt|le|gt|ge)"
)
_SIGNS = {"eq": "=", "ne": "<>", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_MATCHING = {
    "textlike": ("AEXPR_LIKE", "~~"), "bpcharlike": ("AEXPR_LIKE", "~~"),
    "texticlike": ("AEXPR_ILIKE", "~~*"), "like": ("AEXPR_LIKE", "~~"),
    "textregexeq": ("AEXPR_OP", "~"), "texticregexeq": ("AEXPR_OP", "~*"),
    "regexp_like": ("AEXPR_OP", "~"),
}  # fmt: skip


def as_operator(call: Node) -> Node | None:
    """The A_Expr that a call means; None where it is none of these."""
    name, arguments = dotted(call.get("funcname")), call.get("args", [])
    if len(arguments) != 2:
        return None
    comparing = _COMPARING.fullmatch(name)
    kind, sign = ("AEXPR_OP", _SIGNS[comparing[1]]) if comparing else _MATCHING.get(name, ("", ""))
    if not kind:
        return None
    left, right = arguments
    return {"kind": kind, "name": [{"String": {"sval": sign}}], "lexpr": left, "rexpr": right}


def without_escape(pattern: Any) -> Any:
    """``'%'`` of ``LIKE '%' ESCAPE '#'``."""
    kind, call = unwrap(pattern)
    if kind != "FuncCall" or dotted(call.get("funcname")) != "like_escape":
        return pattern
    arguments = call.get("args", [])
    return pattern if len(arguments) != 2 or text_of(arguments[1]) == "%" else arguments[0]
