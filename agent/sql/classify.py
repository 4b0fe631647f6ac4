"""From libpg_query's parse tree to what a statement does and touches.

This file walks queries (SELECT, INSERT, UPDATE, DELETE, MERGE) and everything below them;
``commands.py`` knows the other statements by table, ``code.py`` the bodies of functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from agent.sql.amounts import (
    COLLECTORS,
    Sources,
    brings_few,
    is_collector,
    is_limited,
    reduces,
)
from agent.sql.code import MAX_BODY_DEPTH, enter_body
from agent.sql.commands import command
from agent.sql.facts import MAX_PARTS, Facts, Scope
from agent.sql.folding import may_fold
from agent.sql.gathering import brings_many, gathers
from agent.sql.merging import note_merge
from agent.sql.outside import note_call
from agent.sql.same import ANY_ROW, Row, alias_of, row_of
from agent.sql.secret_values import note_arguments
from agent.sql.stars import only_queries
from agent.sql.tree import (
    Node,
    constant_text,
    dotted,
    each,
    fields_of,
    relation_name,
    strings,
    unwrap,
)
from agent.sql.truth import truth
from agent.sql.unfiltered import hands_out_everything, hands_out_within

Parse = Callable[[str], Node]
"""Text to libpg_query's JSON; raises ValueError if the grammar refuses it."""

_LEAVES = frozenset({"A_Const", "String", "Integer", "Float", "Boolean", "ParamRef", "TypeName"})
_INNER = (dict, list)
_FROM_TEXT = {
    "query_to_xml": "", "query_to_xml_and_xmlschema": "", "ts_stat": "",
    "table_to_xml": "TABLE ", "table_to_xml_and_xmlschema": "TABLE ",
}  # fmt: skip
"""Functions that run a query given as text, and what makes a query of their argument."""


def classify(tree: Node, parse: Parse) -> Facts:
    """Facts of all statements in ``tree``, in the order in which they are written; where there are
    several, those of each as well."""
    statements = tree.get("stmts", [])
    if len(statements) < 2:
        return _of_each(statements, Facts(), parse)
    facts, start = Facts(), 0
    for statement in statements:
        part = Facts()
        part.flag("multi")
        facts.take(_of_each([statement], part, parse))
        if len(facts.parts) <= MAX_PARTS:
            facts.parts.append(part)
            facts.starts.append(start)
        else:
            facts.parts[-1].take(part)
        # Servers before 18 have a statement begin right behind the semicolon of the one before.
        start = statement.get("stmt_location", 0) + statement.get("stmt_len", 0)
    return facts


def _of_each(statements: Sequence[Node], facts: Facts, parse: Parse) -> Facts:
    walker = Walker(facts, parse)
    for statement in statements:
        walker.statement(statement.get("stmt"), Scope())
    return facts


class Walker:
    """Adds to ``facts`` what it meets. ``body_depth`` counts texts within texts (DO, EXECUTE)."""

    def __init__(self, facts: Facts, parse: Parse, body_depth: int = 0) -> None:
        self.facts = facts
        self.parse = parse
        self.body_depth = body_depth
        self.may_gather = False
        """Something was met that puts many rows into one value."""

    def statement(self, value: Any, scope: Scope) -> None:
        """A statement whose result goes to the client or into a table: not a subquery."""
        kind, fields = unwrap(value)
        if kind == "SelectStmt":
            self.result(fields, scope)
        else:
            self.walk(value, scope)

    def result(self, select: Node, scope: Scope) -> None:
        """A SELECT whose rows leave the statement: here it matters how many they are."""
        if "valuesLists" in select:
            self.facts.verb("select")
        scope = self.select(select, scope)
        if is_limited(select):
            self.facts.flag("limit")
        if (
            hands_out_everything(select, scope)
            or hands_out_within(select, scope)
            or (self.may_gather and gathers(select))
        ):
            self.facts.flag("unfiltered")

    def walk(self, value: Any, scope: Scope) -> None:
        """Anything below a statement; unknown nodes are passed through to their children."""
        if type(value) is not dict:
            if type(value) is list:
                for item in value:
                    self.walk(item, scope)
            return
        kind, fields = unwrap(value)
        if kind in _LEAVES:
            return
        handler = QUERIES.get(kind)
        if handler is not None:
            handler(self, fields, scope)
        elif kind.endswith("Stmt"):
            command(self, kind, fields, scope)
        elif not kind and "relname" in fields:
            self._relation(fields, scope)
        elif not kind and "limitOption" in fields:
            self.select(fields, scope)
        else:
            self.children(fields, scope)

    def children(self, fields: Node, scope: Scope, skip: tuple[str, ...] = ()) -> None:
        for key, value in fields.items():
            if type(value) in _INNER and key not in skip and key != "typeName":
                self.walk(value, scope)

    # Queries

    def select(self, fields: Node, scope: Scope) -> Scope:
        """Returns the scope within: with the CTEs that the SELECT defines."""
        if "valuesLists" not in fields:
            self.facts.verb("select")
        scope = self.with_clause(fields, scope)
        into = fields.get("intoClause")
        if into and self.body_depth == 0:
            # In PL/pgSQL the same words fill variables.
            name = relation_name(into.get("rel"))
            self.facts.verb("create", said="INTO")
            self.facts.object("table", name)
            self.facts.writes.add(name)
        self.aliases(fields.get("fromClause"), scope)
        if only_queries(fields.get("fromClause"), scope):
            scope = replace(scope, only_queries=True)
        skip = ("withClause", "intoClause", "sortClause")
        self.walk(fields.get("fromClause"), scope)
        self.children(fields, scope, skip=(*skip, "fromClause"))
        self._sort(fields, scope)
        return scope

    def _sort(self, fields: Node, scope: Scope) -> None:
        """ORDER BY a bare name means the output column first, which is no column of a relation."""
        labels = {item.get("name") for _, item in each(fields.get("targetList"))}
        for _, sort in each(fields.get("sortClause")):
            kind, reference = unwrap(sort.get("node"))
            names = strings(reference.get("fields"))
            if not (kind == "ColumnRef" and len(names) == 1 and names[0] in labels):
                self.walk(sort.get("node"), scope)

    def _insert(self, fields: Node, scope: Scope) -> None:
        self.facts.verb("insert")
        scope = self.with_clause(fields, scope)
        self._target(fields, scope)
        self._assigned(fields.get("cols"))
        select = fields_of(fields.get("selectStmt"), "SelectStmt")
        if select and "valuesLists" not in select:
            self.result(select, scope.child())
        elif select:
            self.select(select, scope.child())
        conflict = fields.get("onConflictClause", {})
        if conflict.get("action") == "ONCONFLICT_UPDATE":
            self.facts.verbs.add("update")
            self._assigned(conflict.get("targetList"))
            target = str(fields_of(fields.get("relation"), "RangeVar").get("relname", ""))
            if select and not brings_few(select, _sources(target, scope)):
                self._condition(conflict.get("whereClause"))
        self.walk(conflict, scope)
        self.walk(fields.get("returningClause"), scope)

    def _update(self, fields: Node, scope: Scope) -> None:
        self.facts.verb("update")
        self._change("update", fields, scope)
        self._assigned(fields.get("targetList"))

    def _delete(self, fields: Node, scope: Scope) -> None:
        self.facts.verb("delete")
        self._change("delete", fields, scope)

    def _change(self, verb: str, fields: Node, scope: Scope) -> None:
        self.facts.change(verb, relation_name(fields.get("relation")))
        scope = self.with_clause(fields, scope)
        sources = [*fields.get("fromClause", ()), *fields.get("usingClause", ())]
        where = fields.get("whereClause")
        real = self._condition(where, row_of(fields, sources, scope.withs))
        if real and may_fold(where, alias_of(fields.get("relation", {}))):
            self.facts.change("foldable")
        self._target(fields, scope)
        self.aliases(fields.get("fromClause"), scope)
        self.aliases(fields.get("usingClause"), scope)
        self.children(fields, scope, skip=("withClause", "relation"))

    def _merge(self, fields: Node, scope: Scope) -> None:
        self.facts.verb("merge")
        scope = self.with_clause(fields, scope)
        self._target(fields, scope)
        for _, clause in each(fields.get("mergeWhenClauses")):
            action = str(clause.get("commandType", "")).removeprefix("CMD_").lower()
            if action in ("insert", "update", "delete"):
                self.facts.verbs.add(action)
            self._assigned(clause.get("targetList"))
        sources = [fields.get("sourceRelation")]
        note_merge(self.facts, fields, row_of(fields, sources, scope.withs))
        self.aliases(sources, scope)
        self.children(fields, scope, skip=("withClause", "relation"))

    def _condition(self, where: Any, row: Row = ANY_ROW) -> bool:
        """Whether there is one that chooses rows."""
        chooses = where is not None and not truth(where, row)
        if not chooses:
            self.facts.flag("missing_where" if where is None else "trivial_where")
        return chooses

    def _target(self, fields: Node, scope: Scope) -> None:
        """The relation that a statement changes is never a CTE, whatever its name."""
        relation = fields.get("relation", {})
        name = relation_name(relation)
        self.facts.write(name)
        alias = relation.get("alias", {}).get("aliasname") or relation.get("relname", "")
        scope.know(alias, name, query=False)

    def _assigned(self, targets: Any) -> None:
        for _, target in each(targets):
            self.facts.column(target.get("name", ""))

    # Names in scope

    def with_clause(self, fields: Node, scope: Scope) -> Scope:
        """A CTE sees those before it; only under RECURSIVE itself and those after it."""
        scope = scope.child()
        clause = fields.get("withClause", {})
        if clause:
            scope.withs.append(fields)
        ctes = [cte for _, cte in each(clause.get("ctes"))]
        if clause.get("recursive"):
            scope.ctes.update({cte.get("ctename", ""): False for cte in ctes})
        for cte in ctes:
            kind, query = unwrap(cte.get("ctequery"))
            self.walk(cte.get("ctequery"), scope.child())
            whole = kind == "SelectStmt" and hands_out_everything(query, scope)
            scope.ctes[cte.get("ctename", "")] = whole
        return scope

    def aliases(self, sources: Any, scope: Scope) -> None:
        for kind, source in each(sources):
            alias = source.get("alias", {}).get("aliasname", "")
            if kind == "RangeVar":
                cte = "schemaname" not in source and source.get("relname") in scope.ctes
                name = "" if cte else relation_name(source)
                scope.know(alias or source.get("relname", ""), name, query=cte)
            elif kind == "RangeTableSample":
                self.aliases([source.get("relation")], scope)
            elif kind == "JoinExpr":
                self.aliases([source.get("larg"), source.get("rarg")], scope)
            if alias and kind != "RangeVar":
                scope.know(alias, "", query=kind == "RangeSubselect")

    # Leaves

    def _relation(self, fields: Node, scope: Scope) -> None:
        if "schemaname" not in fields and fields.get("relname") in scope.ctes:
            return
        self.facts.read(relation_name(fields))

    def _column(self, fields: Node, scope: Scope) -> None:
        items = fields.get("fields", [])
        parts = strings(items)
        if items and "A_Star" in items[-1]:
            if scope.only_queries if not parts else parts[-1] in scope.queries:
                return
            self.facts.flag("star")
            parts = [*parts, "*"]
        if len(parts) == 1 and parts[0] in scope.aliases:
            # A relation's name as a value is the whole row: SELECT u FROM users u.
            self.facts.flag("star")
            parts = [*parts, "*"]
        if len(parts) == 2 and parts[0] in scope.aliases:
            relation = scope.aliases[parts[0]]
            parts = [relation, parts[1]] if relation else parts[1:]
        self.facts.column(*parts)

    def _function(self, fields: Node, scope: Scope) -> None:
        name = dotted(fields.get("funcname"))
        self.facts.functions.add(name)
        self.may_gather |= is_collector("FuncCall", fields)
        note_arguments(self.facts, name, fields)
        note_call(self.facts, name)
        if name == "set_config":
            self._set_config(fields)
        elif name in _FROM_TEXT:
            self._from_text(name, fields)
        self.children(fields, scope)

    def _gathering(self, fields: Node, scope: Scope) -> None:
        self.may_gather = True
        self.children(fields, scope)

    def _set_config(self, fields: Node) -> None:
        """The name of a setting is a literal here; one that is only known at run time is ``?``."""
        arguments = list(each(fields.get("args")))
        named = [a for kind, a in arguments if kind == "NamedArgExpr"]
        given = next((a.get("arg") for a in named if a.get("name") == "setting_name"), None)
        if given is None and not named and arguments:
            given = fields["args"][0]
        name = constant_text(given)
        self.facts.setting(name or "?")
        self.facts.credentials = True
        if (name or "").lower() in ("role", "session_authorization"):
            self.facts.verbs.add("set")
            values = [a.get("arg") for a in named if a.get("name") == "new_value"]
            role = constant_text((values or fields.get("args", [])[1:2] or [None])[0])
            self.facts.roles.add(role or "?")

    def _from_text(self, name: str, fields: Node) -> None:
        """A query that stands in a constant, and whose rows come out as one value."""
        text = constant_text(next(iter(fields.get("args", [])), None))
        if not text or self.body_depth >= MAX_BODY_DEPTH:
            return
        text = _FROM_TEXT[name] + text
        enter_body(self, "sql", text)
        with suppress(ValueError):
            for statement in self.parse(text).get("stmts", []):
                query = fields_of(statement.get("stmt"), "SelectStmt")
                if brings_many(query) and not any(map(reduces, query.get("targetList", []))):
                    self.facts.flag("unfiltered")


def _sources(target: str, scope: Scope) -> Sources:
    """For a statement that changes rows of ``target``, with the CTEs that are visible."""
    sources = Sources(target)
    for fields in scope.withs:
        sources = sources.within(fields)
    return Sources(target, {name: few for name, few in sources.few.items() if name in scope.ctes})


QUERIES: dict[str, Callable[[Walker, Node, Scope], object]] = {
    "SelectStmt": Walker.select,
    "InsertStmt": Walker._insert,
    "UpdateStmt": Walker._update,
    "DeleteStmt": Walker._delete,
    "MergeStmt": Walker._merge,
    "RangeVar": Walker._relation,
    "ColumnRef": Walker._column,
    "FuncCall": Walker._function,
    "SubLink": Walker._gathering,
    **dict.fromkeys(COLLECTORS, Walker._gathering),
}
