"""How many rows a query brings, as its text tells: few that a client chose, or any number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from agent.sql.tree import Node, dotted, each, fields_of, is_null, nodes, unwrap
from agent.sql.truth import truth

_REDUCING = frozenset(
    {"count", "sum", "avg", "min", "max", "bool_and", "bool_or", "every", "stddev", "variance"}
)
"""Aggregates that hand out less than they read; ``json_agg`` and ``string_agg`` do not."""
_CARRYING = """
    unnest string_to_table string_to_array regexp_split_to_table regexp_split_to_array
    json_array_elements json_array_elements_text json_each json_each_text json_populate_record
    json_populate_recordset json_to_record json_to_recordset jsonb_array_elements
    jsonb_array_elements_text jsonb_each jsonb_each_text jsonb_populate_record
    jsonb_populate_recordset jsonb_to_record jsonb_to_recordset
"""
_CARRIERS = frozenset(_CARRYING.split())
"""They take a value apart: of a constant or parameter come no more rows than the client sent."""
_SERIES = frozenset({"generate_series", "generate_subscripts"})
_DONE_TO_EACH = frozenset(
    {"lo_unlink", "pg_notify", "pg_logical_emit_message", "lo_from_bytea", "lo_put", "lowrite",
     "set_config", "dblink", "dblink_exec", "dblink_send_query"}
)  # fmt: skip
"""``SELECT count(lo_unlink(oid)) FROM ...`` hands out one row, and every large object is gone;
``count(pg_notify('x', email))`` tells each row to who listens."""
_PERCENTILES = frozenset({"percentile_disc", "percentile_cont"})
COLLECTORS = ("JsonArrayAgg", "JsonObjectAgg", "JsonArrayQueryConstructor")


def is_limited(select: Node) -> bool:
    """By a number that the client names or binds: a query may answer with any."""
    limit = select.get("limitCount")
    return limit is not None and not is_null(limit) and not any(nodes(limit, "SubLink"))


def subqueries(value: Any) -> Iterator[Any]:
    """Those that give a value: not IN, not EXISTS."""
    for _, link in nodes(value, "SubLink"):
        if link.get("subLinkType") in ("ARRAY_SUBLINK", "EXPR_SUBLINK"):
            yield link.get("subselect")


def is_collector(kind: str, fields: Node) -> bool:
    """``json_agg``, ``xmlagg``, ``jsonb_object_agg_unique_strict``, ``percentile_disc`` of an array
    of fractions ..."""
    name = dotted(fields.get("funcname")) if kind == "FuncCall" else ""
    if kind in COLLECTORS or name.endswith("agg") or "_agg_" in name:
        return True
    if name not in _PERCENTILES:
        return False
    fraction, constant = unwrap(next(iter(fields.get("args", ())), None))
    return fraction != "ParamRef" and not (fraction == "A_Const" and "sval" not in constant)


def collects(target: Any) -> bool:
    """Whether an output column has many rows in one value."""
    return is_collector(*_bare(target))


def reduces(target: Any) -> bool:
    """Whether an output column is an aggregate over many rows, not a window function."""
    kind, fields = _bare(target)
    if kind != "FuncCall" or "over" in fields or dotted(fields["funcname"]) not in _REDUCING:
        return False
    calls = (dotted(call["funcname"]) for _, call in nodes(fields, "FuncCall"))
    return not any(name.rpartition(".")[2] in _DONE_TO_EACH for name in calls)


def _bare(target: Any) -> tuple[str, Node]:
    kind, fields = unwrap(unwrap(target)[1].get("val"))
    while kind == "TypeCast":
        kind, fields = unwrap(fields.get("arg"))
    return kind, fields


# Few rows


@dataclass(frozen=True, slots=True)
class Sources:
    """What a name in FROM stands for."""

    target: str
    """The relation whose rows are changed: its own rows are all of them. Those of another one, of a
    staging table say, choose some, as in UPDATE ... FROM."""
    few: dict[str, bool] = field(default_factory=dict)
    """The CTEs in scope, and whether they bring few rows."""

    def have_few(self, relation: Node) -> bool:
        name = str(relation.get("relname", ""))
        if "schemaname" not in relation and name in self.few:
            return self.few[name]
        return name != self.target

    def within(self, fields: Node) -> Sources:
        """With the CTEs of a statement's own WITH."""
        known = self
        for _, cte in each(fields.get("withClause", {}).get("ctes")):
            name = cte.get("ctename", "")
            kind, query = unwrap(cte.get("ctequery"))
            inside = replace(known, few=known.few | {name: False})
            few = kind != "SelectStmt" or brings_few(query, inside)
            known = replace(known, few=known.few | {name: few})
        return known


def brings_few(select: Node, sources: Sources) -> bool:
    """Whether a query's rows stand in the statement or are chosen by a condition, as those of an
    UPDATE with a WHERE are. A LIMIT is no condition."""
    if "valuesLists" in select:
        return True
    sources = sources.within(select)
    if "larg" in select:
        sides = ("larg",) if select.get("op") == "SETOP_EXCEPT" else ("larg", "rarg")
        return all(brings_few(fields_of(select.get(side), "SelectStmt"), sources) for side in sides)
    where = select.get("whereClause")
    if where is not None and not truth(where):
        return True
    targets = select.get("targetList", [])
    if "groupClause" not in select and any(map(reduces, targets)):
        return True
    return all(_few(source, sources) for source in select.get("fromClause", [])) and all(
        _is_carried(call) for call in _row_makers(targets)
    )


def _few(source: Any, sources: Sources) -> bool:
    kind, fields = unwrap(source)
    match kind:
        case "RangeVar":
            return sources.have_few(fields)
        case "RangeSubselect":
            return brings_few(fields_of(fields.get("subquery"), "SelectStmt"), sources)
        case "RangeFunction":
            return all(_is_carried(call) for call in _row_makers(fields, any_function=True))
        case "RangeTableFunc" | "JsonTable":
            return not any(nodes(fields, "FuncCall", "SubLink"))
        case "JoinExpr":
            return _few_joined(fields, sources)
    return False


def _few_joined(join: Node, sources: Sources) -> bool:
    """A join on a condition brings what the side that leads it has."""
    sides = [_few(join.get(side), sources) for side in ("larg", "rarg")]
    on = join.get("quals")
    if not join.get("isNatural") and "usingClause" not in join and (on is None or truth(on)):
        return all(sides)
    leading = {"JOIN_INNER": any(sides), "JOIN_LEFT": sides[0], "JOIN_RIGHT": sides[1]}
    return leading.get(str(join.get("jointype")), all(sides))


def _row_makers(value: Any, *, any_function: bool = False) -> Iterator[Node]:
    """Calls that make rows: in FROM any, elsewhere those of PostgreSQL that are known for it."""
    for _, call in nodes(value, "FuncCall"):
        if any_function or dotted(call.get("funcname")) in _CARRIERS | _SERIES:
            yield call


def _is_carried(call: Node) -> bool:
    inner = (dotted(one.get("funcname")) for _, one in nodes(call.get("args"), "FuncCall"))
    return (
        dotted(call.get("funcname")) in _CARRIERS
        and _CARRIERS.issuperset(inner)
        and not any(nodes(call.get("args"), "SubLink"))
    )
