"""By which other tables the rows of a watched one are written: partitions, views, foreign keys."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from collector.drift import wording
from collector.drift.baseline import Facts, Scope
from collector.drift.lines import lines_of
from collector.drift.matching.rows import VERBS, Way, tables_of, triggered_by
from collector.drift.mentions import mentioned
from model.catalog import WATCHED_NAME, CatalogKind

MOST_WAYS = 1_000
Database = tuple[str, str, str]
"""Agent, cluster, name."""
Ways = Mapping[tuple[str, ...], tuple[Way, ...]]
"""By the watched table."""
_PARENT = re.compile(r"(.*?)(?: (?:FOR VALUES .*|DEFAULT))?", re.DOTALL)
_REFERENCES = re.compile(r"FOREIGN KEY .* REFERENCES ([^(]+)\(.*?\)(.*)", re.DOTALL)
_TRUNCATE = frozenset(("truncate",))
_DELETE = frozenset(("delete", "merge"))
_UPDATE = frozenset(("update", "merge"))
_ACTIONS = re.compile(r"ON (DELETE|UPDATE) (CASCADE|SET NULL|SET DEFAULT)")


class _Step(NamedTuple):
    """``change`` of a table comes of a write to it with one of ``verbs``."""

    table: str
    change: str
    verbs: frozenset[str]


@dataclass
class KnownWays:
    """Facts are replaced as a whole: what the same ones said is remembered."""

    _remembered: dict[Database, tuple[tuple[Facts, Facts], Ways]] = field(default_factory=dict)

    def of(self, known: Mapping[Scope, Facts], watched: Scope) -> Ways:
        """Of the watched tables of one database."""
        rows = known[watched]
        tables = known.get(watched._replace(kind=CatalogKind.TABLE), {})
        place = (watched.agent, watched.cluster, watched.database)
        remembered = self._remembered.get(place)
        if remembered and remembered[0][0] is rows and remembered[0][1] is tables:
            return remembered[1]
        found = _ways(rows, tables)
        self._remembered[place] = ((rows, tables), found)
        return found


def _ways(rows: Facts, tables: Facts) -> Ways:
    wanted = {parts for name, fact in rows.items() for parts in tables_of(name, fact.detail)}
    named = {parts: name for name in tables if (parts := wording.parts(name)) in wanted}
    graph = _Graph(tables)
    fired = {
        wording.parts(name): tuple(
            Way(table, "", frozenset(), by_trigger=True) for table in triggered_by(fact.detail)
        )
        for name, fact in rows.items()
        if fact.value == WATCHED_NAME
    }
    return {
        parts: (graph.ways(named[parts]) if parts in named else ()) + fired.get(parts, ())
        for parts in {*named, *fired}
    }


@dataclass
class Triggered:
    """Bare names of the tables that have triggers: a write there may run other statements."""

    _remembered: dict[Scope, tuple[Facts, frozenset[str]]] = field(default_factory=dict)

    def tables(self, known: Mapping[Scope, Facts]) -> frozenset[str]:
        """Of all servers."""
        found: frozenset[str] = frozenset()
        for scope, facts in known.items():
            if scope.kind is not CatalogKind.TRIGGER:
                continue
            remembered = self._remembered.get(scope)
            if remembered is None or remembered[0] is not facts:
                tables = frozenset(
                    parts[-2] for each in facts if len(parts := wording.parts(each)) > 1
                )
                remembered = self._remembered[scope] = (facts, tables)
            found |= remembered[1]
        return found


class _Graph:
    def __init__(self, tables: Facts) -> None:
        self._tables = tables
        self._beside: dict[str, list[str]] = {}
        """Tables whose rows are some of the table's, and views of it."""
        for name, fact in tables.items():
            if "\npartition of: " in fact.value or "\ninherits: " in fact.value:
                self._take_child(name, lines_of(fact.value))
            elif "\ntext: " in fact.value:
                for below in mentioned(lines_of(fact.value).get("text", "")) & tables.keys():
                    self._beside.setdefault(below, []).append(name)

    def _take_child(self, name: str, lines: Mapping[str, str]) -> None:
        of = lines.get("partition of", "") or lines.get("inherits", "")
        match = _PARENT.fullmatch(of)
        for parent in re.split(r", (?=\S)", match[1] if match else ""):
            self._beside.setdefault(parent, []).append(name)
            if "partition of" in lines:
                self._beside.setdefault(name, []).append(parent)

    def ways(self, name: str) -> tuple[Way, ...]:
        todo = [_Step(name, change, verbs) for change, verbs in VERBS.items()]
        seen = {*todo}
        while todo and len(seen) < MOST_WAYS:
            for step in self._from(todo.pop()):
                if step not in seen:
                    seen.add(step)
                    todo.append(step)
        others = sorted((step for step in seen if step.table != name), key=lambda s: s[:2])
        return tuple(Way(wording.parts(s.table), s.change, s.verbs) for s in others)

    def _from(self, step: _Step) -> Iterator[_Step]:
        yield from (step._replace(table=other) for other in self._beside.get(step.table, ()))
        fact = self._tables.get(step.table)
        if fact is None or "FOREIGN KEY" not in fact.value:
            return
        for text in lines_of(fact.value).values():
            if match := _REFERENCES.match(text):
                yield from _by_foreign_key(step, match[1], match[2])


def _by_foreign_key(step: _Step, table: str, actions: str) -> Iterator[_Step]:
    """``change`` stays what becomes of the watched row."""
    if "truncate" in step.verbs:
        yield step._replace(table=table, verbs=_TRUNCATE)
    for event, action in _ACTIONS.findall(actions):
        deletes = event == "DELETE"
        here = "delete" if deletes and action == "CASCADE" else "update"
        if here in step.verbs:
            yield step._replace(table=table, verbs=_DELETE if deletes else _UPDATE)
