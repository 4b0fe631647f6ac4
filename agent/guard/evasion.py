"""A plan is told to keep its functions where they can be held.

JIT compiles expressions of expensive queries, and puts the code of small functions right into them:
such a call never comes to the function's own entry, where it would be held. A parallel worker is
never held at all, and what a function executes there is judged by nobody. Both are optimisations
that a plan asks for, so it may as well not ask.
"""

from __future__ import annotations

from collections.abc import Callable

from agent.guard.memory import read_memory, write_memory
from agent.probes.layouts import LAYOUTS

INLINE = 4
"""``PGJIT_INLINE``, in every version."""
FLAGS_BYTES = 4
BEFORE_TREE = 8
"""``PlannedStmt.jitFlags`` stands right before its ``planTree``."""
PARALLEL_BEFORE_TREE = 11
"""``PlannedStmt.parallelModeNeeded``; while it is false ``Gather`` starts no workers."""
BEHIND_RELATIONS = 8
"""``PlannedStmt.invalItems``: its functions and domains that did not come with the server."""
POINTER_BYTES = 8


def forbid_evasion(
    pid: int, version: int, planned: int, require_alive: Callable[[], None] = lambda: None
) -> None:
    """In the plan at ``planned`` of a held backend. ``require_alive`` raises OSError where the pid
    is not that backend's any more, and is asked between the look and the change.

    Raises OSError, and KeyError for a version whose layout is unknown.
    """
    layout = LAYOUTS[version]
    tree = planned + layout.planned_tree
    flags = int.from_bytes(read_memory(pid, tree - BEFORE_TREE, FLAGS_BYTES), "little")
    parallel = any(read_memory(pid, tree - PARALLEL_BEFORE_TREE, 1))
    functions = planned + layout.planned_relations + BEHIND_RELATIONS
    own = parallel and any(read_memory(pid, functions, POINTER_BYTES))
    require_alive()
    if flags & INLINE:
        changed = (flags & ~INLINE).to_bytes(FLAGS_BYTES, "little")
        write_memory(pid, tree - BEFORE_TREE, changed)
    if own:
        write_memory(pid, tree - PARALLEL_BEFORE_TREE, bytes(1))
