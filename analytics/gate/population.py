"""How many identities are active: what a budget for each hundred of them is counted by."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from analytics.findings import DAY_US

MOST = 200_000
"""More are counted as so many."""


@dataclass(frozen=True)
class Population:
    day: int = 0
    known: frozenset[int] = frozenset()
    """Hashes of those that were active on ``day``."""

    def with_(self, statements: pl.DataFrame, at_us: int) -> Population:
        """``statements``: columns of the view. A name that was only claimed counts for nobody."""
        day = at_us // DAY_US
        if 0 <= self.day - day <= 1:
            day = self.day  # a little late; by more the clock was wrong before
        claimed = pl.col("operation").fill_null("") == "login"
        who = (
            statements.filter(~claimed)
            .select(
                "agent",
                "cluster",
                identity=pl.when(pl.col("identity_name").fill_null("") == "")
                .then("user_name")
                .otherwise("identity_name"),
            )
            .unique()
        )
        seen = set(who.hash_rows(1).to_list())
        known = self.known if day == self.day else frozenset[int]()
        if seen <= known or len(known) >= MOST:
            return Population(day, known)
        return Population(day, known | seen)
