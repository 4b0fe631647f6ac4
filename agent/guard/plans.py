"""What a held statement is about to do, from the plan in its backend's memory.

A text names a view, the plan its tables; a text names ``salaries``, the plan one certain relation.
Everything read here is a stranger's memory: each length is bounded and each pointer may lead
nowhere, so the worst that garbage does is PlanError, or a Plan that is not ``complete``.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from agent.guard.plan_functions import find_functions
from agent.guard.plan_memory import NIL, List, PlanMemory
from agent.guard.whole import CHANGING, find_changed
from agent.probes.plan_layouts import PlanLayout

MAX_STATEMENTS = 16
"""Rewrite rules make several of one; more are not read."""
MAX_ENTRIES = 512
"""Entries of a range table: a query over a thousand partitions has a thousand."""
MAX_CHAIN = 256
"""Before PostgreSQL 13 a list is read cell by cell."""
MAX_RELATIONS = 4096
TREE_BYTES = 72
TREE_COST, TREE_ROWS, TREE_LEFT = 16, 24, 64
"""Of a Plan: ``total_cost``, ``plan_rows``, ``lefttree``. All versions agree."""
PERMISSION_BYTES = 56
PERMISSION_REQUIRED, PERMISSION_UPDATED = 16, 48
"""Of an RTEPermissionInfo, PostgreSQL 16 and later."""
RELATION, SUBQUERY = 0, 1
"""RTEKind. Since PostgreSQL 16 a view that was put into the query is a subquery with its oid."""
COMPOSITE = ord("c")
"""The relation kind of EXCLUDED in INSERT ... ON CONFLICT, which is no relation."""
INSERT_OR_DELETE, UPDATE = 1 << 0 | 1 << 3, 1 << 2
"""ACL_INSERT, ACL_DELETE, ACL_UPDATE."""
COMMANDS = {1: "select", 2: "update", 3: "insert", 4: "delete"}
MERGE, UTILITY = "merge", "utility"

_pointer = struct.Struct("<Q")
_int = struct.Struct("<i")
_two = struct.Struct("<ii")
_oid = struct.Struct("<I")
_double = struct.Struct("<d")


class PlanError(Exception):
    """No plan can be read there."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All statements that one execution consists of: rewrite rules may have made several."""

    commands: tuple[str, ...]
    """``select``, ``insert``, ``update``, ``delete``, ``merge`` or ``utility``."""
    reads: tuple[int, ...]
    """Oids of relations, views that were put into the query included."""
    writes: tuple[int, ...]
    """Views through which it writes included; what is only locked (FOR UPDATE) is read."""
    rows: float
    """The planner's estimate: rows that come out, or that are written if nothing does; the largest
    of all statements. -1 where there is no plan."""
    cost: float
    complete: bool
    """False: it touches more than could be read."""
    whole: tuple[tuple[str, int], ...] = ()
    """``update`` or ``delete``, and the oid of a relation that it changes without a condition."""
    unclear: tuple[str, ...] = ()
    """``update`` or ``delete``, where nobody can say whether it has a condition."""
    changed: tuple[int, ...] = ()
    """What an UPDATE or DELETE writes; 0: nobody can say."""
    bare: tuple[tuple[str, int], ...] = ()
    """Of ``whole`` what is read from end to end, so that no index stands for a condition."""
    plain: bool = True
    """The kernel's ``touched`` tells apart whether an UPDATE or DELETE has a condition."""
    nodes: tuple[tuple[str, int, bool], ...] = ()
    """For each UPDATE and DELETE in it, by itself: the command, what it was told to change (the
    parent of partitions; 0: nobody can say), and whether it may have no condition."""
    functions: tuple[int, ...] = ()
    """Oids of those that did not come with the server, also within functions in SQL that the
    server has put into the plan."""
    place: int = -1
    """The byte of the text at which the statement begins, as the server counts (before PostgreSQL
    18 it begins behind the semicolon of the one before); -1: the server does not say."""

    @property
    def utility(self) -> bool:
        """There is a command without a plan in it: what it names stands in its text alone."""
        return UTILITY in self.commands


class Asks(Enum):
    """What leave an entry of the range table asks for."""

    NOTHING = 0
    READ = 1
    WRITE = 2


def read_plan(pid: int, layout: PlanLayout, address: int, *, is_list: bool) -> Plan:
    """The plan at ``address`` of a stopped backend: a PlannedStmt, or a List of them.

    Four to five reads, whatever it holds (one for each relation before PostgreSQL 13). Raises
    PlanError.
    """
    try:
        return _read(PlanMemory(pid, layout), address, is_list=is_list)
    except (OSError, struct.error, ValueError, OverflowError) as error:
        raise PlanError(f"no plan at {address:#x} of process {pid}: {error}") from error


@dataclass(frozen=True, slots=True)
class _Changes:
    """Of one statement, with oids."""

    commands: tuple[str, ...]
    whole: tuple[tuple[str, int], ...]
    bare: tuple[tuple[str, int], ...]
    unclear: tuple[str, ...]
    relations: tuple[int, ...]
    plain: bool
    nodes: tuple[tuple[str, int, bool], ...]


@dataclass(frozen=True, slots=True)
class _Lists:
    """The lists of one statement."""

    entries: List
    permissions: List
    results: List
    relations: List
    subplans: List
    items: List


def _read(memory: PlanMemory, address: int, *, is_list: bool) -> Plan:
    layout = memory.layout
    addresses, complete = [address], True
    if is_list:
        [raw] = memory.read([(address, memory.list_bytes)])
        listed = memory.list_at(address, raw)
        complete = listed.count <= MAX_STATEMENTS
        [addresses] = memory.cells([(listed, MAX_STATEMENTS)])
    if not addresses:
        raise ValueError("no statement")
    statements = memory.read([(each, layout.statement_bytes) for each in addresses])
    commands = [_command(layout, raw) for raw in statements]
    reads: dict[int, None] = {}
    writes: dict[int, None] = {}
    changes: list[_Changes] = []
    functions: dict[int, None] = {}
    rows, cost = [-1.0], [-1.0]
    for raw, command in zip(statements, commands, strict=True):
        if command != UTILITY:
            tree, lists = _parts(memory, raw)
            cost += _double.unpack_from(tree, TREE_COST)
            rows += _double.unpack_from(tree, TREE_ROWS)
            # What only writes gives no rows since PostgreSQL 14; its input does.
            below = _pointer.unpack_from(tree, TREE_LEFT)[0] if command != "select" else 0
            known, numbered, entries = _relations(memory, lists, below, rows, reads, writes)
            complete &= known
            if lists.items.count:
                most = MAX_CHAIN if layout.linked else MAX_RELATIONS
                complete &= lists.items.count <= most
                functions.update(dict.fromkeys(find_functions(memory, lists.items, most)))
            if lists.results.count:
                changes.append(_changes(memory, raw, lists, numbered, entries))
    commands += [command for each in changes for command in each.commands]
    return Plan(
        tuple(dict.fromkeys(commands)),
        tuple(reads),
        tuple(writes),
        _largest(rows),
        _largest(cost),
        complete,
        tuple(dict.fromkeys(pair for each in changes for pair in each.whole)),
        tuple(dict.fromkeys(command for each in changes for command in each.unclear)),
        tuple(dict.fromkeys(relation for each in changes for relation in each.relations)),
        tuple(dict.fromkeys(pair for each in changes for pair in each.bare)),
        all(each.plain for each in changes),
        tuple(node for each in changes for node in each.nodes),
        tuple(functions),
        max(_place(layout, raw) for raw in statements),
    )


def _place(layout: PlanLayout, statement: bytes) -> int:
    """What stands within another command (EXPLAIN, CREATE TABLE AS) has 0 for both before
    PostgreSQL 18, and what a rewrite rule has added -1."""
    place, length = _two.unpack_from(statement, layout.place)
    return place if place > 0 or (place == 0 and length > 0) else -1


def _changes(
    memory: PlanMemory,
    statement: bytes,
    lists: _Lists,
    numbered: dict[int, int],
    entries: Sequence[int],
) -> _Changes:
    """``numbered``: what is written, by its place in the range table; ``entries``: all of that."""
    root = _pointer.unpack_from(statement, memory.layout.plan_tree)[0]
    [below] = memory.cells([(lists.subplans, MAX_CHAIN)])
    changed = find_changed(memory, [root, *below], numbered)
    return _Changes(
        tuple(changed.commands),
        tuple((command, numbered[place]) for command, place in changed.whole),
        tuple((command, numbered[place]) for command, place in changed.bare),
        tuple(changed.unclear),
        tuple(numbered.values())
        if any(each in CHANGING.values() for each in changed.commands)
        else (),
        changed.plain,
        tuple(
            (command, entries[place - 1] if 0 < place <= len(entries) else 0, whole)
            for command, place, whole in changed.nodes
        ),
    )


def _command(layout: PlanLayout, statement: bytes) -> str:
    number = _int.unpack_from(statement, 4)[0]
    if layout.merge and number == 5:
        return MERGE
    if number == (6 if layout.merge else 5):
        return UTILITY
    name = COMMANDS.get(number)
    if name is None:
        raise ValueError(f"command {number}")
    return name


def _largest(numbers: Sequence[float]) -> float:
    return max(each for each in numbers if math.isfinite(each))


def _parts(memory: PlanMemory, statement: bytes) -> tuple[bytes, _Lists]:
    """The plan's top node, and the lists of the statement."""
    layout = memory.layout
    places = [layout.range_table, layout.permissions, layout.results]
    places += [layout.relations, layout.subplans, layout.items]
    heads = [_pointer.unpack_from(statement, place)[0] if place else 0 for place in places]
    spans = [(_pointer.unpack_from(statement, layout.plan_tree)[0], TREE_BYTES)]
    spans += [(head, memory.list_bytes) for head in heads if head]
    tree, *raws = memory.read(spans)
    found = iter(raws)
    return tree, _Lists(*(memory.list_at(head, next(found)) if head else NIL for head in heads))


def _relations(
    memory: PlanMemory,
    lists: _Lists,
    below: int,
    rows: list[float],
    reads: dict[int, None],
    writes: dict[int, None],
) -> tuple[bool, dict[int, int], list[int]]:
    """Adds what one statement touches, and how many rows the node ``below`` gives; whether that is
    all of it, what it writes by place in the range table, and the relations of that table."""
    most = MAX_CHAIN if memory.layout.linked else MAX_ENTRIES
    complete = max(lists.entries.count, lists.permissions.count, lists.results.count) <= most
    wanted = [(lists.entries, most), (lists.permissions, most), (lists.results, most)]
    if not complete:
        # The list of oids is short to read, and better than nothing.
        wanted.append((lists.relations, most if memory.layout.linked else MAX_RELATIONS))
    entries, permissions, results, *oids = memory.cells(wanted)
    spans = [(each, memory.layout.entry_bytes) for each in entries]
    spans += [(each, PERMISSION_BYTES) for each in permissions]
    if below:
        spans.append((below, TREE_BYTES))
    raws = memory.read(spans)
    if below:
        rows += _double.unpack_from(raws.pop(), TREE_ROWS)
    targets = {result & 0xFFFFFFFF for result in results}
    unasked = [relation & 0xFFFFFFFF for relation in (oids[0] if oids else ())]
    asking = list(_entries(memory.layout, raws[: len(entries)], raws[len(entries) :]))
    numbered = dict.fromkeys(targets, 0)
    for index, (relation, asks) in enumerate(asking, 1):
        if index in targets:
            numbered[index] = relation
        if relation and (asks is Asks.WRITE or index in targets):
            writes[relation] = None
        elif relation and asks is Asks.READ:
            reads[relation] = None
        elif relation:
            unasked.append(relation)
    # Partitions, and what a rewrite rule knows as OLD and NEW: no second use of a target.
    reads.update(dict.fromkeys(each for each in unasked if each not in writes))
    return complete, numbered, [relation for relation, _ in asking]


def _entries(
    layout: PlanLayout, entries: Sequence[bytes], permissions: Sequence[bytes]
) -> Iterator[tuple[int, Asks]]:
    """Of each entry of the range table its relation, 0 if it is none, and what the statement asks
    leave for: so a partitioned table or a view is known as a target, though the plan writes other
    relations."""
    for raw in entries:
        kind = _int.unpack_from(raw, layout.entry_kind)[0]
        relation = _oid.unpack_from(raw, layout.entry_relation)[0]
        number = _oid.unpack_from(raw, layout.entry_permission)[0]
        if kind not in (RELATION, SUBQUERY) or raw[layout.entry_relation_kind] == COMPOSITE:
            yield 0, Asks.NOTHING
        elif not layout.permissions:
            yield relation, _asks(number, raw, layout.entry_updated)
        elif 0 < number <= len(permissions):
            permission = permissions[number - 1]
            required = _pointer.unpack_from(permission, PERMISSION_REQUIRED)[0]
            yield relation, _asks(required, permission, PERMISSION_UPDATED)
        else:
            yield relation, Asks.NOTHING


def _asks(required: int, raw: bytes, updated: int) -> Asks:
    """FOR UPDATE asks for the right to UPDATE as well, but names no columns."""
    if required & INSERT_OR_DELETE:
        return Asks.WRITE
    if required & UPDATE and _pointer.unpack_from(raw, updated)[0]:
        return Asks.WRITE
    return Asks.READ if required else Asks.NOTHING
