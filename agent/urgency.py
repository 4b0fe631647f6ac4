"""Which statements have reserved room on their way to the collector, as agent/probes/urgency.bpf.h
says it in the kernel: all but reading, DML and the traffic of transactions. Pure.

Here the text has been read, so what a rule spoke of counts in the place of what was held (in
enforce mode that may be any text that comes for the first time), and what an urgent statement
cannot be understood without: the statement that ran it, and what ends its transaction or undoes a
part of it.
"""

from collections import OrderedDict
from typing import TypeAlias

from model.event import Protocol
from model.session import BackendKey
from model.statement import ParseStatus, Shape, Statement, StatementRun

EVERYDAY = frozenset(
    (
        "select", "insert", "update", "delete", "merge", "values", "copy", "explain", "fastpath",
        "begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release",
        "set", "reset", "set constraints", "show", "lock", "discard",
        "declare", "fetch", "move", "close", "prepare", "execute", "deallocate",
        "listen", "notify", "unlisten",
    )
)  # fmt: skip
"""First words; in doubt a statement is urgent."""
SAVEPOINTS = frozenset(("savepoint", "release", "rollback"))
OUTSIDE = frozenset(("program", "server_file"))
"""Flags of COPY that reaches beyond the database."""
REMEMBERED = 10_000

_Remembered: TypeAlias = OrderedDict[BackendKey | int, None]


class Urgency:
    """Asked once about each statement, in the order in which they are recorded."""

    def __init__(self) -> None:
        self._open: _Remembered = OrderedDict()
        """Backends with an urgent statement in their open transaction."""
        self._parents: _Remembered = OrderedDict()

    def of(self, statement: Statement | StatementRun, shape: Shape, rule: str = "") -> bool:
        """``rule``: the id of the one that decided."""
        urgent = bool(rule) or is_urgent(statement, shape)
        if not (urgent or self._open or self._parents):
            return False
        before, after = statement.transaction[:1], statement.transaction[1:]
        backend = statement.session.key
        if self._parents and isinstance(statement, Statement):
            urgent |= self._parents.pop(statement.id, self) is None
        if backend in self._open and not SAVEPOINTS.isdisjoint(shape.verbs):
            urgent = True
        if self._open and before not in ("", "I") and after == "I":
            urgent |= self._open.pop(backend, self) is None
        elif urgent and after != "I":
            _remember(self._open, backend)
        if urgent and isinstance(statement, Statement) and statement.parent_id:
            _remember(self._parents, statement.parent_id)
        return urgent


def is_urgent(statement: Statement | StatementRun, shape: Shape) -> bool:
    """By what it is alone."""
    if isinstance(statement, Statement) and statement.protocol is Protocol.STARTUP:
        return False  # whoever guesses passwords must not fill the room
    if shape.roles or not OUTSIDE.isdisjoint(shape.flags):
        return True
    if shape.verbs:
        return not EVERYDAY.issuperset(shape.verbs)
    if shape.operation:
        return shape.operation not in EVERYDAY
    return shape.status not in (ParseStatus.PARSED, ParseStatus.INVALID)


def _remember(known: _Remembered, key: BackendKey | int) -> None:
    known[key] = None
    while len(known) > REMEMBERED:
        known.popitem(last=False)
