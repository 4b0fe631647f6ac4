"""Reading libpg_query's JSON: names, constants, truth.

A node is either wrapped, ``{"RangeVar": {...}}``, or, where its field allows only one type, bare:
``"relation": {"relname": ...}``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Node = dict[str, Any]


def unwrap(value: Any) -> tuple[str, Node]:
    """Type and fields of a wrapped node; type is empty for anything else."""
    if type(value) is not dict:
        return "", {}
    if len(value) == 1:
        for key, fields in value.items():
            if key < "a" and type(fields) is dict:  # types begin with a capital, fields do not
                return key, fields
    return "", value


def fields_of(value: Any, kind: str) -> Node:
    """Fields of a node of ``kind``, wrapped or bare; empty if it is of another type."""
    found, fields = unwrap(value)
    return fields if found in ("", kind) else {}


def strings(value: Any) -> list[str]:
    """The String items of a list, a List node or a single String node; others are skipped."""
    kind, fields = unwrap(value)
    if kind == "String":
        return [fields.get("sval", "")]
    if kind == "List":
        value = fields.get("items", [])
    if kind == "TypeName" or (not kind and "names" in fields):
        value = fields.get("names", [])
    if kind == "ObjectWithArgs" or (not kind and "objname" in fields):
        value = fields.get("objname", [])
    if not isinstance(value, list):
        return []
    return [item["String"].get("sval", "") for item in value if "String" in item]


def dotted(value: Any) -> str:
    """``schema.name`` of a list of strings; ``pg_catalog.`` is left out: it is always searched."""
    parts = strings(value)
    if len(parts) > 1 and parts[0] == "pg_catalog":
        parts = parts[1:]
    return ".".join(parts)


def relation_name(range_var: Any) -> str:
    fields = fields_of(range_var, "RangeVar")
    parts = [fields.get(key, "") for key in ("catalogname", "schemaname", "relname")]
    return ".".join(part for part in parts if part)


def role_names(values: Any) -> list[str]:
    """Roles of one RoleSpec or a list of them; ``public`` and ``current_user`` in lower case."""
    items = values if isinstance(values, list) else [values]
    names = []
    for item in items:
        fields = fields_of(item, "RoleSpec")
        spec = str(fields.get("roletype", ""))
        if spec == "ROLESPEC_CSTRING":
            names.append(fields.get("rolename", ""))
        elif spec:
            names.append(spec.removeprefix("ROLESPEC_").lower())
    return names


def options(fields: Node, key: str = "options") -> Iterator[tuple[str, Any]]:
    """Name and argument of each DefElem."""
    for item in fields.get(key, []):
        kind, element = unwrap(item)
        if kind == "DefElem":
            yield element.get("defname", ""), element.get("arg")


def constant_text(value: Any) -> str | None:
    """The text of a string constant or String node."""
    kind, fields = unwrap(value)
    if kind == "String":
        return str(fields.get("sval", ""))
    if kind == "A_Const" and "sval" in fields:
        return str(fields["sval"].get("sval", ""))
    if kind == "TypeCast":
        return constant_text(fields.get("arg"))
    return None


def switched_on(argument: Any) -> bool:
    """How PostgreSQL reads a boolean option: absent argument is true."""
    kind, fields = unwrap(argument)
    if kind == "Boolean":
        return bool(fields.get("boolval"))
    if kind == "Integer":
        return bool(fields.get("ival"))
    text = constant_text(argument)
    return text is None or text.lower() not in ("false", "off", "no", "0")


def is_null(value: Any) -> bool:
    return unwrap(value)[0] == "A_Const" and bool(unwrap(value)[1].get("isnull"))


def truth(value: Any) -> bool | None:
    """What a condition is for every row: True, False, or None when it depends on the row."""
    kind, fields = unwrap(value)
    match kind:
        case "A_Const":
            return _constant_truth(fields)
        case "TypeCast":
            return truth(fields.get("arg"))
        case "BoolExpr":
            return _combined(str(fields.get("boolop")), [truth(a) for a in fields.get("args", [])])
        case "A_Expr":
            return _comparison(fields)
        case "BooleanTest":
            inner = truth(fields.get("arg"))
            return inner if fields.get("booltesttype") == "IS_TRUE" else None
        case "NullTest":
            return _null_test(fields)
        case "SubLink":
            return _exists(fields)
    return None


def _constant_truth(fields: Node) -> bool | None:
    if fields.get("isnull"):
        return False
    if "boolval" in fields:
        return bool(fields["boolval"].get("boolval"))
    if "ival" in fields:
        return bool(fields["ival"].get("ival"))
    text = fields.get("sval", {}).get("sval", "").strip().lower()
    if "\\" in text:
        return True  # where standard_conforming_strings is off, '\164' is 't'
    if text and any(word.startswith(text) for word in ("true", "yes", "on", "1")):
        return True
    return None


def _combined(junction: str, parts: list[bool | None]) -> bool | None:
    if junction == "NOT_EXPR":
        return None if parts[0] is None else not parts[0]
    decisive = junction == "OR_EXPR"
    if decisive in parts:
        return decisive
    return None if None in parts else not decisive


_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "=": operator.eq,
    "": operator.eq,  # IS NOT DISTINCT FROM has no operator name
    "<>": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


def _comparison(fields: Node) -> bool | None:
    """``1 = 1``, ``1 < 2``, ``id = id``: the last is true for every row that is not null."""
    kind = fields.get("kind")
    left, right = fields.get("lexpr"), fields.get("rexpr")
    if kind == "AEXPR_IN" and dotted(fields.get("name")) == "=":  # NOT IN is "<>"
        items = unwrap(right)[1].get("items", [])
        return True if any(_same(item, left) for item in items) else None
    if kind in ("AEXPR_LIKE", "AEXPR_ILIKE"):
        return True if _matches_all(right) else None
    sign = "" if kind == "AEXPR_NOT_DISTINCT" else dotted(fields.get("name"))
    if kind not in ("AEXPR_OP", "AEXPR_NOT_DISTINCT") or left is None or sign not in _COMPARE:
        return None
    if not _volatile(left) and _same(left, right):
        return sign in ("", "=", "<=", ">=")
    kinds = _constant_kind(left), _constant_kind(right)
    if kinds == ("number", "number"):
        a, b = _number(left), _number(right)
        return None if a is None or b is None else _COMPARE[sign](a, b)
    return {"=": False, "<>": True}.get(sign) if kinds == ("text", "text") else None


def _null_test(fields: Node) -> bool | None:
    """``1 IS NOT NULL``: a constant that is there."""
    constant = unwrap(fields.get("arg"))
    if constant[0] != "A_Const":
        return None
    return bool(constant[1].get("isnull")) == (fields.get("nulltesttype") == "IS_NULL")


def _exists(fields: Node) -> bool | None:
    select = fields_of(fields.get("subselect"), "SelectStmt")
    if fields.get("subLinkType") != "EXISTS_SUBLINK":
        return None
    bare = not any(key in select for key in ("fromClause", "whereClause", "limitCount", "larg"))
    return True if bare else None


def _volatile(value: Any) -> bool:
    return unwrap(value)[0] in ("FuncCall", "SubLink")


def _matches_all(pattern: Any) -> bool:
    """``LIKE '%'``. A value that is hidden (blind.py) is no such text: skeleton.py leaves only
    strings out that have something else in them.
    """
    kind, fields = unwrap(pattern)
    if kind == "TypeCast":
        return _matches_all(fields.get("arg"))
    text = fields["sval"].get("sval", "") if kind == "A_Const" and "sval" in fields else ""
    return isinstance(text, str) and set(text) == {"%"}


def _constant_kind(value: Any) -> str:
    """``number``, ``text`` or neither, without a look at the value: see blind.py."""
    kind, fields = unwrap(value)
    if kind == "TypeCast":
        return _constant_kind(fields.get("arg"))
    if kind == "String":
        return "text"
    if kind != "A_Const":
        return ""
    return "number" if "ival" in fields or "fval" in fields else "text" if "sval" in fields else ""


def _number(value: Any) -> float | None:
    kind, fields = unwrap(value)
    if kind == "TypeCast":
        return _number(fields.get("arg"))
    if kind != "A_Const":
        return None
    if "ival" in fields:
        return float(fields["ival"].get("ival", 0))
    try:
        return float(fields["fval"].get("fval", "")) if "fval" in fields else None
    except ValueError:
        return None


def _same(left: Any, right: Any) -> bool:
    """Most comparisons are of a column with a value: two kinds of node are never the same."""
    return unwrap(left)[0] == unwrap(right)[0] and bool(_bare(left) == _bare(right))


def _bare(value: Any) -> Any:
    """A tree without source locations, so that two spellings of one thing are equal."""
    if isinstance(value, dict):
        return {k: _bare(v) for k, v in value.items() if k != "location"}
    if isinstance(value, list):
        return [_bare(item) for item in value]
    return value


def nodes(value: Any, *kinds: str) -> Iterator[tuple[str, Node]]:
    """Type and fields of all nodes of these types, at any depth."""
    rest = [value]
    while rest:
        item = rest.pop()
        if type(item) is list:
            rest += item
        elif type(item) is dict:
            kind, fields = unwrap(item)
            if kind in kinds:
                yield kind, fields
            rest += item.values()


def each(values: Iterable[Any] | None) -> Iterator[tuple[str, Node]]:
    for value in values or ():
        yield unwrap(value)
