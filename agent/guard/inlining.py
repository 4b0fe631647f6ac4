"""A plan is told not to put functions into its expressions.

JIT compiles expressions of expensive queries, and puts the code of small functions right into them:
such a call never comes to the function's own entry, where it would be held. It is an optimisation
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


def forbid_inlining(
    pid: int, version: int, planned: int, require_alive: Callable[[], None] = lambda: None
) -> None:
    """In the plan at ``planned`` of a held backend. ``require_alive`` raises OSError where the pid
    is not that backend's any more, and is asked between the look and the change.

    Raises OSError, and KeyError for a version whose layout is unknown.
    """
    place = planned + LAYOUTS[version].planned_tree - BEFORE_TREE
    flags = int.from_bytes(read_memory(pid, place, FLAGS_BYTES), "little")
    require_alive()
    if flags & INLINE:
        write_memory(pid, place, (flags & ~INLINE).to_bytes(FLAGS_BYTES, "little"))
