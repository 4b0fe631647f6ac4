"""Settings that nobody set, and that become other ones all the same.

What the server works out from others follows what somebody set: the difference is in the setting
that it follows. Those of a library are shown while it is loaded, which may be in our session alone
(by a trigger at login, a default expression): where their value is built in, nobody did anything.
"""

from __future__ import annotations

from collections.abc import Sequence

from collector.drift.baseline import Facts, Scope
from collector.drift.declaration.implicit import BUILT_IN_DETAIL
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


def accepting(scope: Scope, accepted: Facts, observed: Facts, changed: Sequence[str]) -> Facts:
    """``accepted`` with what the server worked out anew, and what libraries brought or took along.
    ``changed``: names whose value is another one than at the last look."""
    if scope.kind is not CatalogKind.SETTING:
        return accepted
    of_libraries = [name for name in changed if "." in name and "@" not in name]
    gone = {name for name in of_libraries if name not in observed and _is_built_in(accepted, name)}
    if gone:
        accepted = {name: fact for name, fact in accepted.items() if name not in gone}
    anew = {
        name: observed[name]
        for name in COMPUTED.intersection(changed)
        if name in accepted and name in observed
        if all(side[name].detail.startswith(_BY_ITSELF) for side in (accepted, observed))
    }
    anew |= {
        name: observed[name]
        for name in of_libraries
        if name not in accepted and _is_built_in(observed, name)
    }
    return {**accepted, **anew} if anew else accepted


def _is_built_in(facts: Facts, name: str) -> bool:
    return name in facts and facts[name].detail.startswith(BUILT_IN_DETAIL)
