"""First and abnormal pairs: user and peers with database, host, program, verb; and response size.

Points are added over a day, as products of user behaviour do: first for the user, more when it is
first for the peers too, and for everybody; something for what the user does in under one of a
hundred days' pairs; and for a response larger than any before.
"""

from __future__ import annotations

import polars as pl

from bench.detection.baselines.baseline import Points, rows_of
from bench.detection.baselines.terms import pairs
from bench.detection.candidate import Candidate
from bench.detection.scoring import DAY_US

KINDS = ("database", "client_address", "application_name", "operation", "relation")
FIRST_FOR_USER, FIRST_FOR_PEERS, FIRST_FOR_ALL = 5.0, 5.0, 5.0
ABNORMAL, ABNORMAL_SHARE = 2.0, 0.05
LARGER, LARGER_TIMES = 10.0, 2.0
LEARN_US = 3 * DAY_US
"""Everything is first for somebody who has just come; these days give no points."""


class FirstPairs:
    def __init__(self) -> None:
        self._days: dict[tuple[str, str, str], set[int]] = {}
        """Days on which somebody (or all peers, or everybody) was seen with a term."""
        self._active: dict[str, set[int]] = {}
        self._since: dict[str, int] = {}
        self._most: dict[str, int] = {}
        self._points = Points()

    def observe(self, batch: pl.DataFrame) -> list[Candidate]:
        found = [c for pair in pairs(batch, KINDS) if (c := self._pair(*pair)) is not None]
        found += self._sizes(batch)
        return sorted(found, key=lambda each: each.at_us)

    def _pair(self, who: str, peers: str, kind: str, term: str, at_us: int) -> Candidate | None:
        day = at_us // DAY_US
        since = self._since.setdefault(who, at_us)
        self._active.setdefault(who, set()).add(day)
        holders = ((who, FIRST_FOR_USER), (f"peers {peers}", FIRST_FOR_PEERS), ("", FIRST_FOR_ALL))
        points = sum(p for holder, p in holders if (holder, kind, term) not in self._days)
        mine = self._days.get((who, kind, term), set())
        seldom = mine and day not in mine and len(mine) < ABNORMAL_SHARE * len(self._active[who])
        points += ABNORMAL if seldom else 0.0
        for holder, _ in holders:
            self._days.setdefault((holder, kind, term), set()).add(day)
        if not points or at_us - since < LEARN_US:
            return None
        return self._points.add(who, at_us, points, f"{kind} {term}")

    def _sizes(self, batch: pl.DataFrame) -> list[Candidate]:
        rows = rows_of(batch).sort("bytes_sent", descending=True, nulls_last=True)
        most = rows.unique("identity", keep="first", maintain_order=True)
        found = []
        for who, at_us, size in most.select("identity", "at_us", "bytes_sent").iter_rows():
            before = self._most.get(who)
            self._most[who] = max(size or 0, before or 0)
            known = before is not None and at_us - self._since.get(who, at_us) >= LEARN_US
            if known and (size or 0) > LARGER_TIMES * max(before or 0, 1):
                found.append(self._points.add(who, at_us, LARGER, "response size"))
        return found
