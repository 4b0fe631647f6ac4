"""How much of its limits everybody has used within the last hour. Pure: times are handed in.

Counted by the thread that sees statements end, read by the one that judges them. What is used up
changes in ``settle`` alone, so whoever calls it knows that an answer is another one from there on.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock

from model.session import OriginKind, Session
from rules.language.schema import Limit, Per

WINDOW_SECONDS = 3600.0
BUCKETS = 60
CAPACITY = 10_000
"""Pairs of limit and holder; with more, those that were longest quiet are forgotten."""

Key = tuple[str, str]
"""Id of the limit, and who it is counted for."""

Kept = tuple[str, str, list[tuple[int, int, int]]]
"""A key, and of each bucket its age in buckets, rows and statements; oldest first."""


@dataclass(frozen=True, slots=True)
class UsedUp:
    what: str
    """``rows`` or ``statements``."""
    used: int
    allowed: int
    since_us: int
    """Unix microseconds, as is ``free_at_us``."""
    free_at_us: int

    def sentence(self, at_us: int, window_seconds: float) -> str:
        hour = window_seconds == WINDOW_SECONDS
        last = "hour" if hour else f"{window_seconds:g} s"
        left_seconds = max(1, -(-(self.free_at_us - at_us) // 1_000_000))
        left = f"{-(-left_seconds // 60)} min" if left_seconds > 60 else f"{left_seconds} s"
        figures = f"{self.used:,} of {self.allowed:,} {self.what}"
        return f"{figures} in the last {last}; free again in {left}"


@dataclass(slots=True)
class _Count:
    buckets: deque[list[int]] = field(default_factory=deque)
    """Number of the bucket, rows, statements; oldest first."""
    rows: int = 0
    statements: int = 0

    def add(self, bucket: int, rows: int, statements: int) -> None:
        if not self.buckets or self.buckets[-1][0] != bucket:
            self.buckets.append([bucket, 0, 0])
        self.buckets[-1][1] += rows
        self.buckets[-1][2] += statements
        self.rows += rows
        self.statements += statements

    def drop_before(self, bucket: int) -> None:
        while self.buckets and self.buckets[0][0] < bucket:
            _, rows, statements = self.buckets.popleft()
            self.rows -= rows
            self.statements -= statements

    def free_after(self, column: int, used: int, allowed: int) -> int:
        """The bucket with which enough has gone for ``used`` to be below ``allowed``."""
        for bucket in self.buckets:
            used -= bucket[column]
            if used < allowed:
                return bucket[0]
        return self.buckets[-1][0] if self.buckets else 0


class Usage:
    """Safe to share between threads."""

    def __init__(self, window_seconds: float = WINDOW_SECONDS, capacity: int = CAPACITY) -> None:
        self.window_seconds = window_seconds
        self._bucket_us = max(1, int(window_seconds * 1_000_000) // BUCKETS)
        self._capacity = capacity
        self._counts: OrderedDict[Key, _Count] = OrderedDict()
        self._suspects: set[Key] = set()
        """Those that may have reached a limit: ``settle`` looks at no others."""
        self._limits: Mapping[str, Limit] = {}
        self._used_up: dict[Key, UsedUp] = {}
        self._lock = Lock()

    def count(
        self, limit: Limit, session: Session, rows: int, statements: int, monotonic_us: int
    ) -> None:
        key = limit.rule.id, holder(session, limit.per)
        bucket = monotonic_us // self._bucket_us
        with self._lock:
            counted = self._counts.get(key)
            if counted is None:
                counted = self._counts[key] = _Count()
            self._counts.move_to_end(key)
            counted.add(bucket, rows, statements)
            counted.drop_before(bucket - BUCKETS)
            if _reached(limit, counted) is not None:
                self._suspects.add(key)
            if len(self._counts) > self._capacity:
                self._evict()

    def settle(self, limits: Mapping[str, Limit], monotonic_us: int, now_us: int) -> bool:
        """Find out what is used up now; whether that is another answer than before."""
        with self._lock:
            if limits is not self._limits:
                self._limits = limits
                self._suspects.update(self._counts)
            if not self._suspects and not self._used_up:
                return False
            found: dict[Key, UsedUp] = {}
            for key in list(self._suspects):
                used = self._look(key, monotonic_us, now_us)
                if used is None:
                    self._suspects.discard(key)
                else:
                    found[key] = used
            changed = found.keys() != self._used_up.keys()
            self._used_up = found
        return changed

    def used_up(self, limit: Limit, session: Session) -> UsedUp | None:
        """As of the last ``settle``."""
        known = self._used_up
        return known.get((limit.rule.id, holder(session, limit.per))) if known else None

    def exhausted(self, session: Session) -> frozenset[str]:
        """Ids of the limits that this session's holders have used up, as of the last ``settle``."""
        known = self._used_up
        if not known:
            return frozenset()
        holders = {holder(session, per) for per in Per}
        return frozenset(limit for limit, who in known if who in holders)

    def dump(self, monotonic_us: int) -> list[Kept]:
        """For ``restore`` in another life of the program."""
        now = monotonic_us // self._bucket_us
        with self._lock:
            return [
                (*key, [(now - bucket, rows, statements) for bucket, rows, statements in c.buckets])
                for key, c in self._counts.items()
            ]

    def restore(self, kept: Iterable[Kept], monotonic_us: int, elapsed_us: int) -> None:
        """``elapsed_us``: since ``dump``. What is too old by now is left out."""
        now = monotonic_us // self._bucket_us
        older = max(0, elapsed_us) // self._bucket_us
        with self._lock:
            for limit, who, buckets in kept:
                counted = _Count()
                for age, rows, statements in buckets:
                    if age + older <= BUCKETS:
                        counted.add(now - age - older, rows, statements)
                if counted.buckets and len(self._counts) < self._capacity:
                    self._counts[limit, who] = counted
                    self._suspects.add((limit, who))

    def _look(self, key: Key, monotonic_us: int, now_us: int) -> UsedUp | None:
        limit, counted = self._limits.get(key[0]), self._counts.get(key)
        if limit is None or counted is None:
            return None
        now_bucket = monotonic_us // self._bucket_us
        counted.drop_before(now_bucket - BUCKETS)
        reached = _reached(limit, counted)
        if reached is None:
            return None
        what, used, allowed = reached
        last = counted.free_after(1 if what == "rows" else 2, used, allowed)
        free_in_us = (last + BUCKETS + 1) * self._bucket_us - monotonic_us
        known = self._used_up.get(key)
        since_us = known.since_us if known else now_us
        return UsedUp(what, used, allowed, since_us, now_us + free_in_us)

    def _evict(self) -> None:
        """Not one that is used up: nobody may get rid of a count by making many others."""
        for key in self._counts:
            if key not in self._suspects:
                del self._counts[key]
                return
        self._counts.popitem(last=False)


def holder(session: Session, per: Per) -> str:
    """Who a limit is counted for: the identity where its name is more than what a client says of
    itself at will (proven, or behind a pooler, where nothing else tells them apart), else the
    login."""
    identity = session.identity
    pooled = session.origin.kind is OriginKind.POOLER
    if per is Per.IDENTITY and identity.name and (identity.proven or pooled):
        return f"identity {identity.name}"
    return f"login {session.cluster} {session.user}"


def limits_by_id(limits: Iterable[Limit]) -> dict[str, Limit]:
    return {limit.rule.id: limit for limit in limits}


def _reached(limit: Limit, counted: _Count) -> tuple[str, int, int] | None:
    """What is used up, how much of it was used and how much allowed."""
    for what, used, allowed in (
        ("rows", counted.rows, limit.rows_per_hour),
        ("statements", counted.statements, limit.statements_per_hour),
    ):
        if allowed is not None and used >= allowed:
            return what, used, allowed
    return None
