"""Many rows in one value: ``SELECT json_agg(c) FROM customers c WHERE id > 0`` answers with one.

What such a query hands out no count of rows shows. So it is a read of everything unless a column
equals what the client names, or a LIMIT stands before the rows are gathered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agent.sql.amounts import is_collector
from agent.sql.tree import Node, dotted, each, fields_of, nodes, strings, unwrap

MOST_LIMITED = 1000
"""A larger LIMIT that stands in the text is no limit; one that is bound later is believed."""
_MADE = frozenset({"RangeFunction", "RangeTableFunc", "JsonTable"})
"""What makes rows of a value: ``json_array_elements((SELECT json_agg(c) FROM customers c))``."""
_JOINS = frozenset({"JOIN_INNER", "JOIN_LEFT", "JOIN_RIGHT", "JOIN_FULL"})


def gathers(select: Node, many: Mapping[str, bool] | None = None) -> bool:
    """Whether a value of the result, or of a query that it is made of, holds many rows.

    ``many`` says of each CTE in scope whether it brings many.
    """
    many = _with_ctes(select, many or {})
    if any(gathers(query, many) for query in _inner(select)):
        return True
    made = [source for kind, source in _sources(select) if kind in _MADE]
    listed = select.get("targetList") or select.get("valuesLists")
    for kind, fields in _outside_queries([listed, made]):
        if kind in ("SubLink", "JsonArrayQueryConstructor"):
            query = fields_of(fields.get("subselect") or fields.get("query"), "SelectStmt")
            whole = kind != "SubLink" or fields.get("subLinkType") == "ARRAY_SUBLINK"
            value = whole or fields.get("subLinkType") == "EXPR_SUBLINK"
            if (whole and brings_many(query, many)) or (value and gathers(query, many)):
                return True
        elif is_collector(kind, fields) and brings_many(select, many):
            return True
    return False


def brings_many(select: Node, many: Mapping[str, bool] | None = None) -> bool:
    """Whether a query goes over rows of a relation that no equality and no LIMIT picks."""
    many = _with_ctes(select, many or {})
    if "larg" in select:
        arms = (fields_of(select.get(side), "SelectStmt") for side in ("larg", "rarg"))
        return not _is_limited(select) and any(brings_many(arm, many) for arm in arms)
    if not any(_is_many(source, many) for source in select.get("fromClause", [])):
        return False
    gathered = any(is_collector(*node) for node in _outside_queries(select.get("targetList")))
    return not _is_picked(select) and (gathered or not _is_limited(select))


def _with_ctes(fields: Node, many: Mapping[str, bool]) -> dict[str, bool]:
    known = dict(many)
    for _, cte in each(fields.get("withClause", {}).get("ctes")):
        kind, query = unwrap(cte.get("ctequery"))
        known[cte.get("ctename", "")] = (
            brings_many(query, known)
            if kind == "SelectStmt"
            else kind != "InsertStmt" and not _is_picked(query)
        )
    return known


def _inner(select: Node) -> Iterator[Node]:
    """Queries whose result this one may hand on: CTEs, arms of a UNION, subqueries in FROM."""
    for _, cte in each(select.get("withClause", {}).get("ctes")):
        yield fields_of(cte.get("ctequery"), "SelectStmt")
    for side in ("larg", "rarg"):
        if side in select:
            yield fields_of(select[side], "SelectStmt")
    for kind, source in _sources(select):
        if kind == "RangeSubselect":
            yield fields_of(source.get("subquery"), "SelectStmt")


def _outside_queries(value: Any) -> Iterator[tuple[str, Node]]:
    """All nodes of an expression; of a subquery only that it is one."""
    rest = [value]
    while rest:
        item = rest.pop()
        if type(item) is list:
            rest += item
        elif type(item) is dict:
            kind, fields = unwrap(item)
            if kind:
                yield kind, fields
            if kind not in ("SubLink", "JsonArrayQueryConstructor"):
                rest += item.values()


def _is_limited(select: Node) -> bool:
    kind, limit = unwrap(select.get("limitCount"))
    while kind == "TypeCast":
        kind, limit = unwrap(limit.get("arg"))
    if kind == "A_Const" and "ival" in limit:
        return bool(limit["ival"].get("ival", 0) <= MOST_LIMITED)
    return kind == "ParamRef"


def _is_many(source: Any, many: Mapping[str, bool]) -> bool:
    kind, fields = unwrap(source)
    match kind:
        case "RangeVar":
            name = fields.get("relname", "")
            return "schemaname" in fields or many.get(name, True)
        case "RangeSubselect":
            return brings_many(fields_of(fields.get("subquery"), "SelectStmt"), many)
        case "RangeTableSample":
            return True
        case "JoinExpr":
            return any(_is_many(fields.get(side), many) for side in ("larg", "rarg"))
    return False


# Which rows are picked


def _is_picked(query: Node) -> bool:
    """Whether a column equals what the client names, and all relations hang together by it."""
    sources = list(_sources(query))
    own = {name for kind, source in sources for name in _names(kind, source)}
    relations = len([kind for kind, _ in sources if kind != "JoinExpr"])
    links = len([kind for kind, source in sources if _is_natural(kind, source)])
    picks = 0
    for condition in _conditions(query, sources):
        for_all = _equality(condition)
        if for_all is None:
            continue
        columns = [side for side in for_all if unwrap(side)[0] == "ColumnRef"]
        if len(columns) == 2 and all(_is_own(column, own) for column in columns):
            links += _joins(*columns)
        elif columns:
            picks += 1
    return picks > 0 and links >= relations - 1


def _sources(query: Node) -> Iterator[tuple[str, Node]]:
    rest = [*query.get("fromClause", ()), *query.get("usingClause", ())]
    while rest:
        kind, fields = unwrap(rest.pop())
        yield kind, fields
        if kind == "JoinExpr":
            rest += [fields.get("larg"), fields.get("rarg")]


def _names(kind: str, source: Node) -> Iterator[str]:
    if kind != "JoinExpr":
        yield source.get("alias", {}).get("aliasname") or source.get("relname", "")


def _is_natural(kind: str, join: Node) -> bool:
    return kind == "JoinExpr" and bool(join.get("isNatural") or "usingClause" in join)


def _conditions(query: Node, sources: list[tuple[str, Node]]) -> Iterator[Any]:
    """All that has to be true of each row."""
    rest = [query.get("whereClause")]
    rest += [s.get("quals") for kind, s in sources if s.get("jointype") in _JOINS]
    while rest:
        kind, fields = unwrap(rest.pop())
        if kind == "BoolExpr" and fields.get("boolop") == "AND_EXPR":
            rest += fields.get("args", [])
        elif kind == "A_Expr":
            yield fields


def _equality(condition: Node) -> tuple[Any, Any] | None:
    """Both sides of ``column = something``; of something that no row and no query is in."""
    left, right = condition.get("lexpr"), condition.get("rexpr")
    equal = dotted(condition.get("name")) == "="
    if not equal or condition.get("kind") not in ("AEXPR_OP", "AEXPR_IN", "AEXPR_OP_ANY"):
        return None
    kinds = unwrap(left)[0], unwrap(right)[0]
    if kinds == ("ColumnRef", "ColumnRef") and condition["kind"] == "AEXPR_OP":
        return left, right
    column, value = (left, right) if kinds[0] == "ColumnRef" else (right, left)
    if unwrap(column)[0] != "ColumnRef" or _is_truth_value(value):
        return None
    return None if any(nodes(value, "ColumnRef", "SubLink")) else (column, value)


def _is_truth_value(value: Any) -> bool:
    """``active = true`` picks half a table."""
    kind, fields = unwrap(value)
    if kind == "TypeCast":
        return strings(fields.get("typeName"))[-1:] == ["bool"]
    return kind == "A_Const" and "boolval" in fields


def _joins(left: Any, right: Any) -> bool:
    """Whether an equality of two columns ties two relations: ``c.id = c.id`` does not."""
    one, other = (strings(unwrap(column)[1].get("fields")) for column in (left, right))
    return one[:-1] != other[:-1] or (len(one) == 1 and one != other)


def _is_own(column: Any, own: set[str]) -> bool:
    """Whether it is a column of these relations; a qualified one may be of the query around."""
    path = strings(unwrap(column)[1].get("fields"))
    return len(path) < 2 or path[-2] in own
