"""Settings that the server works out from others: they follow what somebody set, and nobody sets
them. The difference is in the setting that they follow."""

from __future__ import annotations

from collections.abc import Iterable

from collector.drift.baseline import Facts, Scope
from model.catalog import CatalogKind

COMPUTED = frozenset(
    (
        "commit_timestamp_buffers", "huge_pages_status", "num_os_semaphores", "shared_memory_size",
        "shared_memory_size_in_huge_pages", "subtransaction_buffers", "transaction_buffers",
        "wal_buffers",
    )
)  # fmt: skip
_BY_ITSELF = ("default", "override")
"""Sources of a value that nobody set; what stands in a file is somebody's decision."""


def accepting(scope: Scope, accepted: Facts, observed: Facts, changed: Iterable[str]) -> Facts:
    """``accepted`` with what the server worked out anew. ``changed``: names whose value is another
    one than at the last look."""
    if scope.kind is not CatalogKind.SETTING:
        return accepted
    anew = {
        name: observed[name]
        for name in COMPUTED.intersection(changed)
        if name in accepted and name in observed
        if all(side[name].detail.startswith(_BY_ITSELF) for side in (accepted, observed))
    }
    return {**accepted, **anew} if anew else accepted
