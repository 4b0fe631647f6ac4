"""What a desk can find out of the server whose grants it keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent.approvals.suspects import OpenTransaction, Suspect, Suspects
from model.approval import Grant


@dataclass(frozen=True, slots=True)
class Eyes:
    look: Callable[[Grant], str]
    """The fingerprint of what a grant is about; empty where the catalog cannot be asked at all.
    Raises OSError when it cannot just now."""
    open_transactions: Callable[[Grant], list[OpenTransaction]]
    """Of the grant's database. Raises OSError."""
    pid_at_server: Callable[[int], int]
    """What the server calls a backend of this host; -1 where that has ended."""

    def review(self, grant: Grant, suspects: Suspects) -> list[Suspect]:
        """Those whose transaction is over: what they did, the catalog says from now on.

        Raises OSError.
        """
        suspected = suspects.of(grant.id)
        if not suspected:
            return []
        open_now = self.open_transactions(grant)
        over = []
        for old in suspected:
            new = old.seen(open_now, self.pid_at_server)
            suspects.replace(grant.id, old, new)
            if new.is_over:
                over.append(new)
        return over
