"""Who lets backends go must not wait for the processor behind those that keep it busy."""

from __future__ import annotations

import os
from contextlib import suppress

NICENESS = -10
"""As the watchdogs have it. It takes CAP_SYS_NICE or a limit that allows it (``LimitNICE``)."""


def prefer(task: int) -> None:
    """A thread or process, by number. Where that is not allowed it stays as it is."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, task, NICENESS)
