"""Commands that go through a table's rows without a query: builds, checks, rewrites, statistics.

No row comes out, but expressions, predicates and operator classes see every value, and errors tell
values: who may not read a table may not build an index on it either.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from agent.sql.facts import Facts, Scope
from agent.sql.overwriting import overwrites
from agent.sql.tree import Node, each, nodes, options, relation_name, strings, switched_on, unwrap
from model.names import escaped

if TYPE_CHECKING:
    from agent.sql.classify import Walker

_CHANGES = frozenset(
    {
        "AT_ValidateConstraint", "AT_SetNotNull", "AT_AlterColumnType", "AT_SetExpression",
        "AT_SetLogged", "AT_SetUnLogged", "AT_SetAccessMethod",
    }
)  # fmt: skip
"""Changes of a table that always go through its rows, or write them anew with all indexes."""
_COMPUTED = frozenset(
    {"CONSTR_CHECK", "CONSTR_FOREIGN", "CONSTR_UNIQUE", "CONSTR_PRIMARY", "CONSTR_EXCLUSION"}
)
_ONCE = frozenset({"now", "statement_timestamp", "transaction_timestamp"})
"""A new column's default by these is computed once, not for each row."""
_WHOLE = ("table", "index", "schema", "database", "system")


def index(walker: Walker, fields: Node, scope: Scope) -> None:
    facts = walker.facts
    facts.verb("create", said="CREATE INDEX")
    facts.object("index", escaped(fields.get("idxname", "")))
    name = relation_name(fields.get("relation"))
    facts.object("table", name)
    facts.reads.add(name)
    _columns(facts, fields.get("indexParams"), fields.get("indexIncludingParams"))
    walker.children(fields, scope, skip=("relation",))


def statistics(walker: Walker, fields: Node, scope: Scope) -> None:
    """What its expressions find is kept by the next ANALYZE, whoever starts that."""
    facts = walker.facts
    facts.verb("create", said="CREATE STATISTICS")
    facts.object("statistics", ".".join(map(escaped, strings(fields.get("defnames")))))
    computed = any("expr" in part for _, part in each(fields.get("exprs")))
    for relation in fields.get("relations", []):
        facts.object("table", relation_name(relation))
        if computed:
            facts.reads.add(relation_name(relation))
    _columns(facts, fields.get("exprs"))
    walker.walk(fields.get("exprs"), scope)


def vacuum(walker: Walker, fields: Node, scope: Scope) -> None:
    """A plain VACUUM looks at no value; FULL builds indexes anew, ANALYZE takes a sample."""
    facts = walker.facts
    facts.verb("vacuum")
    chosen = {name for name, argument in options(fields) if switched_on(argument)}
    reads = not fields.get("is_vacuumcmd") or bool(chosen & {"full", "analyze"})
    for _, about in each(fields.get("rels")):
        name = relation_name(about.get("relation"))
        facts.object("table", name)
        if reads:
            facts.reads.add(name)
        for column in strings(about.get("va_cols")):
            facts.column(column)


def cluster(walker: Walker, fields: Node, scope: Scope) -> None:
    walker.facts.verb("cluster")
    name = relation_name(fields.get("relation"))
    walker.facts.object("table", name)
    walker.facts.reads.add(name)


def reindex(walker: Walker, fields: Node, scope: Scope) -> None:
    """Of an index, schema or database only that name is known, not whose rows are gone through."""
    facts = walker.facts
    word = str(fields.get("kind", "")).removeprefix("REINDEX_OBJECT_").lower()
    kind = word if word in _WHOLE else "table"
    facts.verb("reindex")
    name = relation_name(fields.get("relation")) or fields.get("name", "")
    facts.object("database" if kind == "system" else kind, name)
    if kind == "table":
        facts.reads.add(name)


def note_change(facts: Facts, relation: str, change: Node) -> None:
    """Of one ALTER TABLE command."""
    subtype = change.get("subtype")
    kind, detail = unwrap(change.get("def"))
    if kind == "PartitionCmd" and subtype == "AT_AttachPartition":
        facts.reads.add(relation_name(detail.get("name")))
    elif subtype in _CHANGES or _is_computed(subtype, detail):
        facts.reads.add(relation)
    if kind == "Constraint":
        for column in _constrained(facts, detail):
            facts.column(column)
    if subtype == "AT_SetExpression" or (
        subtype == "AT_AlterColumnType" and overwrites(change.get("name", ""), detail)
    ):
        facts.flag("overwrite")


def _is_computed(subtype: Any, detail: Node) -> bool:
    if subtype == "AT_AddConstraint":
        return not detail.get("skip_validation") and "indexname" not in detail
    constraints = each(detail.get("constraints")) if subtype == "AT_AddColumn" else ()
    return any(_is_filled(constraint) for _, constraint in constraints)


def _is_filled(constraint: Node) -> bool:
    """Whether a new column with it goes through the rows that are there."""
    kind = constraint.get("contype")
    if kind == "CONSTR_GENERATED":
        return constraint.get("generated_kind") != "v"
    if kind == "CONSTR_DEFAULT":
        calls = (call for _, call in nodes(constraint.get("raw_expr"), "FuncCall"))
        return any(strings(call.get("funcname"))[-1] not in _ONCE for call in calls)
    return kind in _COMPUTED


def _constrained(facts: Facts, constraint: Node) -> Iterator[str]:
    for key in ("keys", "including", "fk_attrs", "pk_attrs"):
        yield from strings(constraint.get(key))
    for _, part in each(constraint.get("exclusions")):
        _columns(facts, part.get("items"))


def _columns(facts: Facts, *parts: Any) -> None:
    """Columns that an index, exclusion or statistics names as they are; expressions are walked."""
    for some in parts:
        for _, part in each(some):
            facts.column(part.get("name", ""))
