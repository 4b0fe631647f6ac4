"""New partitions of an accepted table are its everyday business, not drift.

A partition has the columns of its parent and holds what the parent is written to: who may make one
owns the parent. It is accepted as it came if it has the parent's owner and its row security (who
may read the partition itself is not held by the parent's), and nothing by which rows of its range
would fare otherwise than the parent's: a default, check, rule, expression or server of its own. So
are privileges that came with it and that the parent grants, too, or that default privileges made.
What becomes of it later is a difference like any other, and so is that it goes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import starmap

from collector.drift.baseline import Fact, Facts, Known, Part, Scope
from collector.drift.lines import granted_to, lines_of, outside_quotes, privileges
from model.catalog import CatalogKind

_PARENT = re.compile(r"(.*?) (?:FOR VALUES .*|DEFAULT)", re.DOTALL)
_ON_TABLE = "table:"
_STRENGTH = ("", "on", "forced")
_KINDS = ("table", "partitioned table")
_OWN = frozenset(
    ("partition of", "partition by", "row security", "owner", "tablespace", "options",
     "access method", "replica identity", "digest")
)  # fmt: skip
"""Lines that are each partition's own affair."""
_MAY_DIFFER = re.compile(r" not null(?= |$)| generated (?:always|by default) as identity$")
"""A partition may have a key of its own, and before 17 the parent alone gives the numbers."""
_KEYS = ("PRIMARY KEY (", "UNIQUE (")
_USING = " USING "
_PLAIN_INDEX = re.compile(r'CREATE (?:UNIQUE )?INDEX .* USING \w+ \((?:"[^"]*"|[^()"])*\)')
"""On columns alone: no expression that runs with each row, no condition."""


class Partitions:
    """Remembers which ones the newest look brought: what is granted on them later is told."""

    def __init__(self) -> None:
        self._new: dict[Scope, tuple[int, frozenset[str]]] = {}
        """By scope of tables: the look's moment, the names."""

    def accepting(self, scope: Scope, known: Mapping[Scope, Known], before: Facts) -> Facts:
        """What is accepted of ``scope`` and came with partitions; ``before`` this look it held
        other facts. Tables are to come before the privileges of the same look."""
        mine = known[scope]
        assert mine.accepted is not None
        if scope.kind is CatalogKind.TABLE:
            after = accepting(scope, mine.accepted, mine.observed)
            at_us, names = self._new.get(scope, (0, frozenset()))
            new = frozenset(after.keys() - mine.accepted.keys() - before.keys())
            self._new[scope] = (mine.at_us, new | names if at_us == mine.at_us else new)
            return after
        of_tables = scope._replace(kind=CatalogKind.TABLE)
        at_us, names = self._new.get(of_tables, (0, frozenset()))
        if scope.kind is not CatalogKind.PRIVILEGE or at_us != mine.at_us or not names:
            return mine.accepted
        tables = known[of_tables].observed
        came = {name: tables[name] for name in names if name in tables}
        return accepting_privileges(mine.accepted, mine.observed, came)


def in_order(parts: Mapping[Scope, Part]) -> list[tuple[Scope, Part]]:
    """Privileges last: what they are on is known then. Databases first: so are their names; and
    extensions: what became a member of one is not gone."""
    places = {CatalogKind.DATABASE: 0, CatalogKind.EXTENSION: 0, CatalogKind.PRIVILEGE: 2}
    return sorted(parts.items(), key=lambda each: places.get(each[0].kind, 1))


def accepting(scope: Scope, accepted: Facts, observed: Facts) -> Facts:
    """``accepted``, and what is new in ``observed`` and a partition of something accepted."""
    if scope.kind is not CatalogKind.TABLE:
        return accepted
    new = {name: fact for name, fact in observed.items() if name not in accepted}
    partitions = {name: fact for name, fact in new.items() if parent_of(fact)}
    after = accepted
    # A partition may itself be partitioned: each round takes those whose parent is known now.
    while found := {n: fact for n, fact in partitions.items() if _belongs(fact, after)}:
        after = {**after, **found}
        partitions = {name: fact for name, fact in partitions.items() if name not in found}
    return after


def accepting_privileges(accepted: Facts, observed: Facts, partitions: Facts) -> Facts:
    """``accepted``, and what is new in ``observed`` on ``partitions`` and no more than what the
    parent grants the same role or accepted default privileges give it."""
    came = {}
    for name, fact in observed.items():
        target, who = granted_to(name)
        table = partitions.get(target.removeprefix(_ON_TABLE))
        if name in accepted or table is None or not target.startswith(_ON_TABLE):
            continue
        granted = _as_set(fact)
        givers = (accepted.get(giver) for giver in _givers(target, table, who))
        given = set().union(*(_as_set(each) for each in givers if each is not None))
        if granted <= given:
            came[name] = fact
    return {**accepted, **came} if came else accepted


def _givers(target: str, partition: Fact, who: str) -> Iterator[str]:
    yield f"{_ON_TABLE}{parent_of(partition)}<-{who}"
    maker = f"default:tables of {lines_of(partition.value).get('owner', '')}"
    yield f"{maker}<-{who}"
    name = target.removeprefix(_ON_TABLE)
    yield f"{maker} in {name[: outside_quotes(name, '.')]}<-{who}"


def _as_set(privilege: Fact) -> set[str]:
    """A grant option includes the privilege itself.

    >>> sorted(_as_set(Fact("INSERT*, SELECT", "")))
    ['INSERT', 'INSERT*', 'SELECT']
    """
    read = privileges(privilege.value)
    return {*read} | {f"{word}*" for word, how in read.items() if how != "granted"}


def parent_of(table: Fact) -> str:
    """Empty for what is no partition."""
    found = _PARENT.fullmatch(lines_of(table.value).get("partition of", ""))
    return found[1] if found else ""


def _belongs(partition: Fact, accepted: Facts) -> bool:
    parent = accepted.get(parent_of(partition))
    if parent is None:
        return False
    above, below = lines_of(parent.value), lines_of(partition.value)
    if above.get("owner") != below.get("owner") or _security(above) > _security(below):
        return False
    own = {line for line in below.items() if line not in above.items()}
    theirs = {*filter(None, starmap(_lasting, above.items()))}
    return all(_is_everyday(key, text, above, theirs) for key, text in own)


def _is_everyday(key: str, text: str, above: Mapping[str, str], theirs: set[str]) -> bool:
    """Whether a line that the parent has not makes no row fare otherwise than in the parent."""
    word = key.partition(" ")[0]
    if key == "kind":
        return text in _KINDS
    if word == "column":
        return key in above and _holding(text) == _holding(above[key])
    if word == "constraint":
        return _lasting(key, text) in theirs or text.startswith(_KEYS)
    if word == "index":
        return _lasting(key, text) in theirs or _PLAIN_INDEX.fullmatch(text) is not None
    return key in _OWN


def _holding(column: str) -> str:
    """What a column takes, and by itself."""
    return _MAY_DIFFER.sub("", column)


def _lasting(key: str, text: str) -> str:
    """What a constraint or an index is, without the names that differ; empty for other lines."""
    word = key.partition(" ")[0]
    if word == "index":
        return text[max(outside_quotes(text, _USING), 0) :]
    return text if word == "constraint" else ""


def _security(lines: Mapping[str, str]) -> int:
    """How much the table's own row security holds back; more is stricter."""
    return _STRENGTH.index(lines.get("row security", ""))
