"""What the kernel counted instead of telling: read and emptied once a second.

The kernel adds to the entries of one epoch while those of the epoch before are read, so nothing is
counted into an entry that is on its way out.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct

from agent.probes.kernel import KernelMap
from agent.probes.layout import AGGREGATE, AGGREGATE_KEY, DURATION_CLASSES
from agent.sources.records import POSTGRES_EPOCH_US
from model.event import StatementsCounted
from model.session import BackendKey

ENTRIES = 16384
"""``AGGREGATES`` of the kernel program."""
FEW = 128
DURATIONS = Struct(f"<{DURATION_CLASSES}I")


def collect(
    aggregates: KernelMap,
    now_epoch: int,
    text: Callable[[int], bytes],
    offset_ns: int,
    *,
    all_epochs: bool = False,
) -> list[StatementsCounted]:
    """Entries of epochs before ``now_epoch``, which are gone from the map then; with
    ``all_epochs`` everything. ``offset_ns``: Unix time minus the kernel's monotonic clock."""
    found = [
        (key, value)
        for key, value in _entries(aggregates)
        if all_epochs or AGGREGATE_KEY.unpack(key)[3] != now_epoch
    ]
    aggregates.delete_all([key for key, _ in found])
    return [_counted(key, value, text, offset_ns) for key, value in found]


def _entries(aggregates: KernelMap) -> list[tuple[bytes, bytes]]:
    """Room for all of them is made only if there are many: mostly there is none."""
    few = aggregates.entries(AGGREGATE_KEY.size, AGGREGATE.size, FEW)
    if len(few) < FEW:
        return few
    return aggregates.entries(AGGREGATE_KEY.size, AGGREGATE.size, ENTRIES)


def _counted(
    key: bytes, value: bytes, text: Callable[[int], bytes], offset_ns: int
) -> StatementsCounted:
    session_us, pid, text_id, _, naming = AGGREGATE_KEY.unpack(key)
    count, rows, sent, duration_ns, first_ns, last_ns, durations = AGGREGATE.unpack(value)
    return StatementsCounted(
        backend=BackendKey(pid, session_us + POSTGRES_EPOCH_US),
        text=text(text_id),
        count=count,
        rows=rows,
        bytes_sent=sent,
        duration_us=duration_ns // 1000,
        first_at_us=(first_ns + offset_ns) // 1000,
        last_at_us=(last_ns + offset_ns) // 1000,
        durations=DURATIONS.unpack(durations),
        naming=naming,
    )
