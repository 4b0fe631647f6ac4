"""Whether a SELECT hands out a relation as a whole: nothing filters, limits or sums it up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agent.sql.amounts import collects, reduces, subqueries
from agent.sql.facts import Scope
from agent.sql.same import alias_of, number_of
from agent.sql.tree import Node, each, fields_of, is_null, nodes, strings, unwrap
from agent.sql.truth import truth

MOST_LIMITED = 100_000
"""A larger LIMIT that stands in the text is none; one that is bound later is believed."""
_KEYS = frozenset({"id", "ctid"})
_BELIEVED = ("ParamRef", "ColumnRef")
"""The latter is a variable of PL/pgSQL."""


def hands_out_everything(select: Node, scope: Scope) -> bool:
    """The LIMIT is looked at last: each look at a number makes texts that differ in it differ."""
    targets = select.get("targetList", [])
    if not _has_everything(select, scope):
        return False
    return any(map(collects, targets)) or not _limits(select)


def hands_out_within(select: Node, scope: Scope) -> bool:
    """``SELECT ARRAY(SELECT ...)``: a relation in one value, whatever limits the rows."""
    return any(
        hands_out_everything(fields_of(inner, "SelectStmt"), scope)
        for inner in subqueries(select.get("targetList"))
    )


def _has_everything(select: Node, scope: Scope) -> bool:
    if "larg" in select:
        arms = [fields_of(select.get(side), "SelectStmt") for side in ("larg", "rarg")]
        arms = arms[:1] if select.get("op") == "SETOP_EXCEPT" else arms
        return any(hands_out_everything(arm, scope) for arm in arms)
    if select.get("havingClause") and not truth(select["havingClause"]):
        return False
    sources = select.get("fromClause", [])
    reducing = any(reduces(target) for target in select.get("targetList", []))
    if reducing and not _groups_by_key(select, sources):
        return False
    where = select.get("whereClause")
    if where is not None and not truth(where):
        copied = set(_copied_first(select))
        sources = [
            source
            for source in sources
            if _is_passed_over(source, select) or unwrap(source)[1].get("relname") in copied
        ]
    return any(_is_whole(source, scope) for source in sources)


def _groups_by_key(select: Node, sources: list[Any]) -> bool:
    """``SELECT max(card) FROM customers GROUP BY id``: each row is a group of its own."""
    if len(sources) != 1 or unwrap(sources[0])[0] != "RangeVar":
        return False
    columns = (strings(unwrap(group)[1].get("fields")) for group in select.get("groupClause", ()))
    return any(path and path[-1] in _KEYS for path in columns)


def _copied_first(select: Node) -> Iterator[str]:
    """``WITH c AS MATERIALIZED (SELECT ...) SELECT * FROM c WHERE ...``: all of it is read."""
    for _, cte in each(select.get("withClause", {}).get("ctes")):
        if cte.get("ctematerialized") == "CTEMaterializeAlways":
            yield str(cte.get("ctename", ""))


def _is_passed_over(source: Any, select: Node) -> bool:
    """``SELECT p.* FROM flags f, people p WHERE f.name = 'x'``: one that the WHERE does not name,
    though it names all others that it is about."""
    kind, relation = unwrap(source)
    if kind != "RangeVar":
        return False
    alias = alias_of(relation)
    filtered = [_qualifier(column) for _, column in nodes(select.get("whereClause"), "ColumnRef")]
    if not filtered or alias in filtered or "" in filtered:
        return False
    handed = {_qualifier(column) for _, column in nodes(select.get("targetList"), "ColumnRef")}
    return alias in handed or "" in handed


def _qualifier(column: Node) -> str:
    """Whose column it is; empty where the text does not say."""
    path = strings(column.get("fields"))
    if "A_Star" in column["fields"][-1]:
        path.append("*")
    return path[-2] if len(path) > 1 else ""


def _is_whole(source: Any, scope: Scope) -> bool:
    kind, fields = unwrap(source)
    match kind:
        case "RangeVar":
            name = fields.get("relname", "")
            return scope.ctes.get(name, True) if "schemaname" not in fields else True
        case "JoinExpr":
            return any(_is_whole(fields.get(side), scope) for side in ("larg", "rarg"))
        case "RangeTableSample":
            return _is_whole(fields.get("relation"), scope)
        case "RangeSubselect":
            query = fields_of(fields.get("subquery"), "SelectStmt")
            return hands_out_everything(query, scope)
    return False


def _limits(select: Node) -> bool:
    limit = select.get("limitCount")
    if limit is None or is_null(limit) or any(nodes(limit, "SubLink")) or _all_tie(select):
        return False
    if any(nodes(limit, *_BELIEVED)):
        return True
    text = unwrap(limit)[1].get("sval", {}).get("sval")
    if text is not None:
        return bool(str(text).strip().isdecimal() and int(text) <= MOST_LIMITED)
    number = number_of(limit)
    return number is not None and number <= MOST_LIMITED


def _all_tie(select: Node) -> bool:
    """``ORDER BY true FETCH FIRST ROW WITH TIES``: all rows are the first one. A number names an
    output column."""
    if select.get("limitOption") != "LIMIT_OPTION_WITH_TIES":
        return False
    keys = [key.get("node") for _, key in each(select.get("sortClause"))]
    return not any(any(nodes(key, "ColumnRef")) or "ival" in unwrap(key)[1] for key in keys)
