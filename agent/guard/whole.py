"""Which relations a plan changes as a whole: what a DELETE or UPDATE without a WHERE comes to.

A text shows whether there is a WHERE; a rewrite rule, or a function whose body is SQL itself, has
no text. In the plan a relation is changed as a whole if a scan without a condition leads to the
node that changes it, through nothing that drops rows: a join with a condition does, a join without
one does not.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from agent.guard.plan_memory import PlanMemory
from agent.probes.plan_layouts import PlanLayout

NODE_BYTES = 128
"""PostgreSQL gives each node so much room at least."""
MAX_ROOTS = 64
MAX_NODES = 512
MAX_DEPTH = 32
CONDITION, LEFT, RIGHT = 56, 64, 72
"""Of a Plan: ``qual``, ``lefttree``, ``righttree``. All versions agree, on those below as well."""
OPERATION, TARGET = 104, 112
"""``ModifyTable.operation``, ``nominalRelation``."""
SCANNED, INDEX_CONDITION = 104, 120
"""``Scan.scanrelid``, ``IndexScan.indexqual``."""
CONSTANT_CONDITION = 104
"""``Result.resconstantqual``."""
JOIN_CONDITION, PARAMETERS = 112, 120
"""``Join.joinqual``, ``NestLoop.nestParams``."""
CHANGING = {2: "update", 4: "delete"}
MERGE = 5
OTHER = {3: "insert", MERGE: "merge"}

_pointer = struct.Struct("<Q")
_number = struct.Struct("<i")


@dataclass(slots=True)
class Changed:
    """What the nodes do that change relations."""

    commands: dict[str, None] = field(default_factory=dict)
    whole: dict[tuple[str, int], None] = field(default_factory=dict)
    """Command and place in the range table of what it changes without a condition."""
    bare: dict[tuple[str, int], None] = field(default_factory=dict)
    """Of these what is scanned from end to end: a partial index stands for a condition. Also what
    one condition for all rows lets be scanned so: no row is chosen, though the statement may be."""
    unclear: dict[str, None] = field(default_factory=dict)
    """Commands of which nobody can say: a foreign table, a plan that is too large."""
    nodes: list[tuple[str, int, bool]] = field(default_factory=list)
    """Command, place of what it was told to change (the parent of partitions), and whether it may
    have no condition: each node by itself."""
    plain: bool = True
    """All that was looked at is one scan: what the kernel takes into ``touched``."""

    def note_bare(self, command: str, places: Mapping[int, bool]) -> None:
        """``places``: whether each is read from end to end."""
        found = [place for place, sequential in places.items() if sequential]
        self.bare.update(dict.fromkeys((command, place) for place in found))


def find_changed(memory: PlanMemory, roots: Sequence[int], targets: Collection[int]) -> Changed:
    """``roots``: the plan and its subplans; ``targets``: places of what is written. One read for
    each level of the plan. What cannot be read is unclear."""
    try:
        return _changed(memory, [root for root in roots if root], targets)
    except (OSError, struct.error, ValueError, OverflowError):
        names = dict.fromkeys(CHANGING.values())
        return Changed(unclear=names, plain=False)


def _changed(memory: PlanMemory, roots: list[int], targets: Collection[int]) -> Changed:
    changed, layout = Changed(), memory.layout
    if len(roots) > MAX_ROOTS:
        changed.unclear.update(dict.fromkeys(CHANGING.values()))
        roots = roots[:MAX_ROOTS]
        changed.plain = False
    raws = memory.read([(root, NODE_BYTES) for root in roots])
    for index, (root, raw) in enumerate(zip(roots, raws, strict=True)):
        if _int_at(raw, 0) != layout.node_result + 2:
            continue  # no ModifyTable
        operation = _int_at(raw, OPERATION)
        command = CHANGING.get(operation)
        changed.commands[command or OTHER.get(operation, "update")] = None
        if operation == MERGE:
            # Whether its clauses choose rows stands in the text; here, whether its ON does.
            changed.plain = False
            found, gated = _scanned(memory, _inputs(memory, root, raw), targets)
            changed.note_bare("merge", (found or {}) | gated)
        if command is None:
            continue
        inputs = _inputs(memory, root, raw)
        changed.plain &= index == 0 and _is_scan(memory, inputs)
        found, gated = _scanned(memory, inputs, targets)
        changed.nodes.append((command, _int_at(raw, TARGET), found is None or bool(found)))
        if found is None:
            changed.unclear[command] = None
        else:
            changed.whole.update(dict.fromkeys((command, place) for place in found))
            changed.note_bare(command, found | gated)
    return changed


def _inputs(memory: PlanMemory, root: int, raw: bytes) -> list[int]:
    if not memory.layout.changed_parts:
        return [_pointer_at(raw, LEFT)]
    [head] = memory.read([(root + memory.layout.changed_parts, 8)])
    return _list_at(memory, [_pointer_at(head, 0)])


def _is_scan(memory: PlanMemory, inputs: Sequence[int]) -> bool:
    if len(inputs) != 1:
        return False
    [raw] = memory.read([(inputs[0], NODE_BYTES)])
    return _Node(memory.layout, raw).is_target_scan


def _scanned(
    memory: PlanMemory, nodes: list[int], targets: Collection[int]
) -> tuple[dict[int, bool] | None, dict[int, bool]]:
    """Targets that are scanned without a condition, and whether from end to end; None if no way to
    a target was understood. Then those that a condition stands before which is no row's own."""
    found: dict[int, bool] = {}
    gated: dict[int, bool] = {}
    ways = [(node, found) for node in nodes]
    understood, left = False, MAX_NODES
    for _ in range(MAX_DEPTH):
        left -= len(ways)
        if not ways or left < 0:
            break
        below: list[tuple[int, dict[int, bool]]] = []
        raws = memory.read([(node, NODE_BYTES) for node, _ in ways])
        for (_, place), raw in zip(ways, raws, strict=True):
            match _Node(memory.layout, raw):
                case _Node(is_target_scan=True) as scan if scan.place in targets:
                    understood = True
                    if not scan.has_condition:
                        place[scan.place] = scan.is_sequential
                case _Node(is_gate=True) as node:
                    understood = True
                    below += [(each, gated) for each in node.below()]
                case _Node(drops_rows=True):
                    understood = True
                case node:
                    below += [(each, place) for each in node.below()]
                    lists = list(node.lists())
                    below += [(each, place) for each in _list_at(memory, lists)] if lists else []
        ways = below
    if any(place is found for _, place in ways) and not found:
        return None, gated
    return (found if understood else None), gated


class _Node:
    """One node of a plan. What is none of the known ones is looked through."""

    def __init__(self, layout: PlanLayout, raw: bytes) -> None:
        self._raw = raw
        self._parts = layout.append_parts
        self._from_result = _int_at(raw, 0) - layout.node_result
        self._from_scan = _int_at(raw, 0) - layout.node_scan
        self._loops = _int_at(raw, 0) == layout.node_join
        self._matches = _int_at(raw, 0) in layout.node_matches

    @property
    def place(self) -> int:
        return _int_at(self._raw, SCANNED)

    @property
    def is_target_scan(self) -> bool:
        """SeqScan, IndexScan, BitmapHeapScan, TidScan, TidRangeScan."""
        return self._from_scan in (0, 2, 5, 6, 7)

    @property
    def is_sequential(self) -> bool:
        return self._from_scan == 0

    @property
    def has_condition(self) -> bool:
        if self._from_scan == 2 and _pointer_at(self._raw, INDEX_CONDITION):
            return True
        return self._from_scan >= 5 or bool(_pointer_at(self._raw, CONDITION))

    @property
    def is_gate(self) -> bool:
        """A Result that lets all rows pass or none."""
        return (
            self._from_result == 0
            and not _pointer_at(self._raw, CONDITION)
            and bool(_pointer_at(self._raw, CONSTANT_CONDITION))
        )

    @property
    def drops_rows(self) -> bool:
        """A join with a condition, or a Result whose condition is the same for all rows."""
        places: tuple[int, ...]
        if self._loops:
            places = (CONDITION, JOIN_CONDITION, PARAMETERS)
        elif self._from_result == 0:
            places = (CONDITION, CONSTANT_CONDITION)
        else:
            return self._matches
        return any(_pointer_at(self._raw, place) for place in places)

    def below(self) -> Iterator[int]:
        for place in (LEFT, RIGHT):
            if address := _pointer_at(self._raw, place):
                yield address

    def lists(self) -> Iterator[int]:
        """Append and MergeAppend."""
        if self._from_result in (3, 4) and (address := _pointer_at(self._raw, self._parts)):
            yield address


def _list_at(memory: PlanMemory, addresses: Sequence[int]) -> list[int]:
    """The nodes of Lists; too many are as if there were none."""
    raws = memory.read([(each, memory.list_bytes) for each in addresses])
    heads = [memory.list_at(each, raw) for each, raw in zip(addresses, raws, strict=True)]
    cells = memory.cells([(head, MAX_NODES) for head in heads if head.count <= MAX_NODES])
    return [node for each in cells for node in each if node]


def _pointer_at(raw: bytes, place: int) -> int:
    return int(_pointer.unpack_from(raw, place)[0])


def _int_at(raw: bytes, place: int) -> int:
    return int(_number.unpack_from(raw, place)[0])
