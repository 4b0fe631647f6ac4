"""What of a condition is the same: two spellings of one value, one relation under two names, a
value for every row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from agent.sql.tree import Node, dotted, each, fields_of, nodes, relation_name, strings, unwrap

MOST_LOOKED_AT = 500
_PLACES = frozenset({"location", "list_start", "list_end", "rexpr_list_start", "rexpr_list_end"})
_VOLATILE = frozenset(
    {"random", "random_normal", "clock_timestamp", "timeofday", "nextval", "gen_random_uuid",
     "uuidv4", "uuidv7", "uuid_generate_v4", "gen_random_bytes", "txid_current"}
)  # fmt: skip
_STABLE = frozenset(
    {"now", "transaction_timestamp", "statement_timestamp", "current_setting", "version",
     "current_database", "current_schema", "pg_backend_pid", "length", "lower", "upper", "abs",
     "count", "sum", "min", "max", "bool_or", "bool_and", "date_part", "extract", "to_date",
     "clock_timestamp", "timeofday", "txid_current", "pg_current_xact_id",
     "to_timestamp", "make_date", "age", "pg_is_in_recovery", "has_table_privilege",
     "strpos", "position", "substr", "substring", "left", "right", "repeat", "replace", "reverse",
     "concat", "concat_ws", "md5", "chr", "ascii", "btrim", "ltrim", "rtrim", "lpad", "rpad",
     "initcap", "split_part", "translate", "starts_with", "format", "quote_literal", "to_char",
     "to_number", "char_length", "octet_length", "mod", "power", "sqrt", "floor", "ceil", "ceiling",
     "round", "trunc", "sign", "div", "date_trunc", "array_length", "cardinality", "num_nulls",
     "num_nonnulls", "pg_typeof", "int4eq", "texteq"}
)  # fmt: skip
"""They answer alike for all rows of a statement where their arguments do. Others may not."""


@dataclass(frozen=True, slots=True)
class Row:
    """Whose columns a condition may name: the relation that is changed, and under which names its
    rows are there. A relation that is joined with itself has each row's partner in itself, so its
    second name stands for the same row."""

    relation: str = ""
    names: frozenset[str] = frozenset()
    ctes: Mapping[str, bool] = field(default_factory=dict)
    """The queries of WITH in scope, and whether each has all rows of the relation."""
    others: frozenset[str] = frozenset()
    """What else stands in FROM or USING: a condition on these alone is the same for all rows."""
    foreign: frozenset[str] = frozenset()
    """Columns of those that the text names: ``USING generate_series(1, 9) g WHERE g = 1``. Were
    there one of this name in the relation, PostgreSQL would refuse the name as ambiguous."""


ANY_ROW = Row()


def row_of(change: Node, sources: Iterable[Any], withs: Iterable[Node]) -> Row:
    """What an UPDATE, DELETE or MERGE changes, with ``sources`` beside it and the statements whose
    WITH it sees, from the outside in."""
    target = fields_of(change.get("relation"), "RangeVar")
    row = Row(relation_name(target), frozenset({alias_of(target)}))
    for statement in withs:
        row = with_queries(row, statement)
    sources = list(sources)
    named = [(alias_of(source), is_itself((kind, source), row)) for kind, source in each(sources)]
    names = row.names | {name for name, itself in named if itself}
    others = frozenset(name for name, itself in named if not itself) - names - {""}
    foreign = frozenset(name for source in each(sources) for name in _named_columns(*source))
    return Row(row.relation, names, row.ctes, others, foreign)


def with_queries(row: Row, statement: Node) -> Row:
    """With those of the statement's own WITH."""
    for _, cte in each(statement.get("withClause", {}).get("ctes")):
        kind, query = unwrap(cte.get("ctequery"))
        copies = kind == "SelectStmt" and "aliascolnames" not in cte
        found = copies and _is_plain_copy(query, row)
        row = replace(row, ctes={**row.ctes, cte.get("ctename", ""): found})
    return row


def _named_columns(kind: str, source: Node) -> Iterator[str]:
    alias = source.get("alias", {})
    if kind == "RangeFunction" and "colnames" not in alias:
        yield alias.get("aliasname", "")
    if kind in ("RangeFunction", "RangeSubselect"):
        yield from strings(alias.get("colnames"))


_COPYING = frozenset(
    {"targetList", "fromClause", "limitOption", "op", "withClause", "sortClause", "lockingClause"}
)


def is_itself(source: tuple[str, Node], row: Row) -> bool:
    """Whether an item of FROM is the relation that is changed, with all its rows."""
    kind, fields = source
    if fields.get("alias", {}).get("colnames"):
        return False
    if kind == "RangeSubselect":
        return _is_plain_copy(fields_of(fields.get("subquery"), "SelectStmt"), row)
    if kind != "RangeVar" or not row.relation:
        return False
    schema, _, name = row.relation.rpartition(".")
    said = fields.get("schemaname", "")
    if not said and fields.get("relname") in row.ctes:
        return row.ctes[fields["relname"]]
    return fields.get("relname") == name and (not said or not schema or said == schema)


def _is_plain_copy(select: Node, row: Row) -> bool:
    """``(SELECT id, total FROM the same)``: some of the columns, all of the rows."""
    if set(select) - _COPYING:
        return False
    sources = list(each(select.get("fromClause")))
    plain = all(
        "name" not in target and unwrap(target.get("val"))[0] == "ColumnRef"
        for _, target in each(select.get("targetList"))
    )
    return plain and len(sources) == 1 and is_itself(sources[0], row)


def with_itself(select: Node, row: Row) -> Row | None:
    """``row`` as it is seen within a query over nothing but the same relation: a name without a
    relation is one of its columns either way."""
    sources = list(each(select.get("fromClause")))
    if len(sources) != 1 or not is_itself(sources[0], row):
        return None
    return Row(row.relation, row.names | {alias_of(sources[0][1])}, row.ctes)


def alias_of(source: Node) -> str:
    return str(source.get("alias", {}).get("aliasname") or source.get("relname", ""))


def is_alike(value: Any, row: Row) -> bool:
    """Whether nothing in it can differ from row to row. A large expression may: it is asked about
    each of its parts as well."""
    rest, left = [value], MOST_LOOKED_AT
    while rest:
        item = rest.pop()
        left -= 1
        if left < 0:
            return False
        if type(item) is list:
            rest += item
            continue
        if type(item) is not dict:
            continue
        kind, fields = unwrap(item)
        if kind == "ColumnRef":
            path = strings(fields.get("fields"))
            if len(path) == 1 and path[0] in row.foreign:
                continue
            if len(path) < 2 or path[-2] not in row.others:
                return False
            continue
        if kind == "CurrentOfExpr":
            return False
        if kind == "FuncCall" and dotted(fields.get("funcname")) == "pg_typeof":
            continue  # of a column the same for each row
        if kind == "FuncCall" and dotted(fields.get("funcname")) not in _STABLE:
            return False
        if kind == "SubLink":
            if not _stands_alone(fields.get("subselect"), row):
                return False
            rest.append(fields.get("testexpr"))
            continue
        rest += item.values()
    return True


def _stands_alone(subselect: Any, row: Row) -> bool:
    """Whether a subquery surely names nothing of the query around it."""
    select = fields_of(subselect, "SelectStmt")
    sources = list(each(select.get("fromClause")))
    local = {alias_of(source) for kind, source in sources if kind == "RangeVar"}
    only_itself = bool(sources) and all(is_itself(source, row) for source in sources)
    for _, column in nodes(subselect, "ColumnRef"):
        path = strings(column.get("fields"))
        if "A_Star" in column["fields"][-1]:
            path.append("*")
        if path == ["*"]:
            continue
        if len(path) < 2 and not only_itself:
            return False
        if len(path) >= 2 and path[-2] not in local:
            return False
    names = (dotted(call.get("funcname")) for _, call in nodes(subselect, "FuncCall"))
    return _STABLE.issuperset(names)


@dataclass(frozen=True, slots=True)
class Negative:
    of: Any


def text_of(value: Any) -> str | None:
    kind, fields = unwrap(value)
    if kind == "TypeCast":
        return text_of(fields.get("arg"))
    found = fields["sval"].get("sval", "") if kind == "A_Const" and "sval" in fields else None
    return None if found is None else str(found)


def matches_all(pattern: Any) -> bool:
    """``LIKE '%'``. A value that is hidden (blind.py) is no such text: skeleton.py leaves only
    strings out that have something else in them.
    """
    kind, fields = unwrap(pattern)
    if kind == "TypeCast":
        return matches_all(fields.get("arg"))
    text = fields["sval"].get("sval", "") if kind == "A_Const" and "sval" in fields else ""
    return isinstance(text, str) and set(text) == {"%"}


def constant_kind(value: Any) -> str:
    """``number``, ``text`` or neither, without a look at the value: see blind.py."""
    kind, fields = unwrap(value)
    if kind == "TypeCast":
        return constant_kind(fields.get("arg"))
    if kind == "String":
        return "text"
    if kind != "A_Const":
        return ""
    return "number" if "ival" in fields or "fval" in fields else "text" if "sval" in fields else ""


def number_of(value: Any) -> float | None:
    if isinstance(value, Negative):
        number = number_of(value.of)
        return None if number is None else -number
    kind, fields = unwrap(value)
    if kind == "TypeCast":
        return number_of(fields.get("arg"))
    if kind != "A_Const":
        return None
    if "ival" in fields:
        return float(fields["ival"].get("ival", 0))
    try:
        return float(fields["fval"].get("fval", "")) if "fval" in fields else None
    except ValueError:
        return None


def column_key(value: Any, row: Row) -> str:
    """Names a column; empty for what is none."""
    kind, fields = unwrap(value)
    return ".".join(strings(_path(fields.get("fields", []), row))) if kind == "ColumnRef" else ""


def same(left: Any, right: Any, row: Row) -> bool:
    """Most comparisons are of a column with a value: two kinds of node are never the same."""
    if unwrap(left)[0] != unwrap(right)[0] or _bare(left, row) != _bare(right, row):
        return False
    names = (dotted(call.get("funcname")) for _, call in nodes(left, "FuncCall"))
    return _VOLATILE.isdisjoint(names) and not any(nodes(left, "SubLink"))


def _bare(value: Any, row: Row) -> Any:
    """A tree without source locations, so that two spellings of one thing are equal."""
    if isinstance(value, dict):
        kind, fields = unwrap(value)
        if kind == "ColumnRef":
            return [kind, _path(fields.get("fields", []), row)]
        return {k: _bare(v, row) for k, v in value.items() if k not in _PLACES}
    if isinstance(value, list):
        return [_bare(item, row) for item in value]
    return value


def _path(parts: Iterable[Any], row: Row) -> list[Any]:
    """A column without the names that stand for the row itself."""
    path = list(parts)
    while len(path) > 1 and strings(path[-2:-1])[:1] and strings(path[-2:-1])[0] in row.names:
        path = path[-1:]
    return path
