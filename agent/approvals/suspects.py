"""Who may have changed what a grant is about, in a transaction that is not known to be over.

Until it is, nobody can say whether there is a change: the statement may fail, its transaction may
be rolled back. Then the catalog says it. Pure, and safe to share between threads: nothing waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from threading import Lock

EVERYBODY = 0
"""In the place of a pid: transactions that began before anybody looked at what they do."""
SLACK_US = 1_000_000


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    pid: int
    """0 of one that is prepared: no session holds it any more."""
    number: str
    """Given once as long as the server runs."""
    defines: bool
    """It may have defined something: it has written, or holds the lock for it if it is prepared."""
    prepared_us: int = 0
    """Unix microseconds."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """Compared by identity when it is cleared: the same backend may be suspected anew meanwhile."""

    pid: int
    """On this host."""
    since_us: int
    why: str = ""
    numbers: frozenset[str] | None = None
    """Transactions that may be the one; None: nobody has looked yet."""

    def seen(
        self, open_now: Iterable[OpenTransaction], pid_at_server: Callable[[int], int] = int
    ) -> Suspect:
        """The first look has the transaction in question if it is open at all, for later ones begin
        later; those of the first look that have ended since are over."""
        now = list(open_now)
        late = {each.number for each in now if each.prepared_us > self.since_us - SLACK_US}
        if self.numbers is not None:
            numbers = self.numbers & {each.number for each in now}
        elif self.pid == EVERYBODY:
            numbers = frozenset(each.number for each in now if each.defines)
        else:
            pid = pid_at_server(self.pid)
            numbers = frozenset(each.number for each in now if each.pid == pid)
        return replace(self, numbers=numbers | late)

    @property
    def is_over(self) -> bool:
        return self.numbers is not None and not self.numbers


@dataclass(slots=True)
class Suspects:
    _lock: Lock = field(default_factory=Lock)
    _of: dict[str, dict[int, Suspect]] = field(default_factory=dict)
    """By grant and pid."""

    def add(self, grant_id: str, suspect: Suspect) -> None:
        with self._lock:
            self._of.setdefault(grant_id, {})[suspect.pid] = suspect

    def of(self, grant_id: str) -> list[Suspect]:
        with self._lock:
            return list(self._of.get(grant_id, {}).values())

    def why(self, grant_id: str) -> str:
        """Why nobody knows whether there is a change; empty where there is no doubt."""
        with self._lock:
            return next((each.why for each in self._of.get(grant_id, {}).values()), "")

    def replace(self, grant_id: str, old: Suspect, new: Suspect | None) -> None:
        """Unless it is suspected anew meanwhile. None: no longer."""
        with self._lock:
            suspected = self._of.get(grant_id, {})
            if suspected.get(old.pid) is not old:
                return
            if new is not None:
                suspected[old.pid] = new
                return
            del suspected[old.pid]
            if not suspected:
                del self._of[grant_id]

    def drop(self, grant_id: str) -> None:
        with self._lock:
            self._of.pop(grant_id, None)
