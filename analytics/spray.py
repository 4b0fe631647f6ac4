"""Failed logins by address: of how many roles, how often, and who worked from there afterwards.

People mistype and services keep an old password, so failures have a heavy tail: the chance of N
times as many as usual falls with a power of N, faster for roles than for attempts at one role.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from analytics import keyed, places, said
from analytics.places import KEY, Moved

LOGIN_STATES = ("28P01", "28000")
ROLES_POWER, TRIES_POWER = 3.0, 1.2
USUAL_ROLES, USUAL_TRIES = 1.0, 4.0
"""In a day of an address on which any login fails."""
KNOWN_PLACE_BITS = 1.0
"""An identity that always came from here is less suspect after failures of others."""


@dataclass(frozen=True)
class Sprayed:
    trials: pl.DataFrame
    """Each failed login with the address's count of today, ``score`` and ``said``."""
    after: pl.DataFrame
    """Rows to put."""
    earlier: pl.DataFrame
    """Of the addresses of this batch, what failed there today before it."""

    def nothing_failed(self) -> bool:
        return self.trials.is_empty() and not (self.earlier["tries"] > 0).any()


def failed() -> pl.Expr:
    return (pl.col("operation") == "login") & pl.col("sqlstate").is_in(LOGIN_STATES)


def observe(state: pl.DataFrame, trials: pl.DataFrame, visits: pl.DataFrame) -> Sprayed:
    """``trials``: failed logins of one day of each agent; ``visits``: who worked from where."""
    asked = pl.concat([_place(trials), _place(visits)]).unique(maintain_order=True)
    known = _opened(keyed.get(state, asked.select(*KEY), list(_OF_ADDRESS)), asked)
    if trials.is_empty():
        empty = trials.with_columns(score=pl.lit(0.0), said=pl.lit(0.0))
        return Sprayed(empty, places.filled(known.select(KEY).clear()), known)
    counted = _counted(state, trials, known)
    ended = counted.group_by("agent", "cluster", "subject", maintain_order=True).agg(
        pl.col("roles", "tries", "said", "failed_days", "failed_roles", "failed_tries").last(),
        pl.col("day").last(), item=pl.lit(""), last_us=pl.col("at_us").max(),
    )  # fmt: skip
    tried = counted.group_by("agent", "cluster", "subject", "item", maintain_order=True).agg(
        pl.col("day").last(), last_us=pl.col("at_us").max()
    )
    after = pl.concat([places.filled(ended), places.filled(tried)])
    return Sprayed(counted, after, known)


_OF_ADDRESS = (
    "day", "roles", "tries", "said", "failed_days", "failed_roles", "failed_tries",
)  # fmt: skip


def _place(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(
        "agent", "cluster", subject=pl.lit("from ") + pl.col("client_address"), item=pl.lit(""),
        new_day="day",
    )  # fmt: skip


def _opened(known: pl.DataFrame, asked: pl.DataFrame) -> pl.DataFrame:
    """Today's counts are 0 at the start of a day; the day before becomes the past."""
    rows = known.with_columns(asked["new_day"])
    turned = pl.col("day").is_null() | (pl.col("day") != pl.col("new_day"))
    past = {
        "failed_days": (pl.col("tries") > 0).cast(pl.Float64),
        "failed_roles": pl.col("roles"),
        "failed_tries": pl.col("tries"),
    }
    values = [name for name in _OF_ADDRESS if name != "day"]
    return rows.with_columns(pl.col(values).fill_null(0.0)).with_columns(
        *(
            pl.when(turned).then(pl.col(name) + more).otherwise(name).alias(name)
            for name, more in past.items()
        ),
        *(
            pl.when(turned).then(0.0).otherwise(name).alias(name)
            for name in ("roles", "tries", "said")
        ),
        day="new_day",
    )


def _counted(state: pl.DataFrame, trials: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    subject = ["agent", "cluster", "subject"]
    rows = trials.with_columns(
        subject=pl.lit("from ") + pl.col("client_address"),
        item=pl.lit("failed as ") + pl.col("user_name"),
    )
    tried_day = keyed.get(state, rows.select(KEY), ["day"])["day"]
    again = pl.int_range(pl.len()).over(*KEY) > 0
    rows = rows.with_columns(
        new_role=(
            (tried_day.is_null() | (tried_day != rows["day"])) & ~rows.select(again).to_series()
        )
    )
    before = known.drop("item", "day", "new_day")
    return (
        rows.join(before, on=subject, how="left", maintain_order="left")
        .with_columns(
            roles=pl.col("roles") + pl.col("new_role").cast(pl.Float64).cum_sum().over(subject),
            tries=pl.col("tries") + pl.int_range(1, pl.len() + 1).over(subject),
        )
        .with_columns(score=bits())
    )


def bits() -> pl.Expr:
    """Of the failures of an address so far today, against its days with failures."""
    days = pl.col("failed_days") + 1.0
    roles = (pl.col("failed_roles") + USUAL_ROLES) / days
    tries = (pl.col("failed_tries") + USUAL_TRIES) / days
    by_roles = ROLES_POWER * (pl.col("roles") / roles.clip(lower_bound=1.0)).log10()
    by_tries = TRIES_POWER * (pl.col("tries") / tries.clip(lower_bound=USUAL_TRIES)).log10()
    return pl.max_horizontal(by_roles, by_tries).clip(0.0, 40.0).fill_nan(0.0)


def with_success(visits: pl.DataFrame, sprayed: Sprayed, moved: Moved) -> pl.DataFrame:
    """Visits with ``score``: how new the place is, and what failed there earlier today."""
    subject = ["agent", "cluster", "subject"]
    base = visits.with_columns(
        identity_subject="subject", subject=pl.lit("from ") + pl.col("client_address")
    )
    before = sprayed.earlier.select(
        *subject, "roles", "tries", "failed_days", "failed_roles", "failed_tries"
    )
    rows = base.join(before, on=subject, how="left", maintain_order="left")
    if not sprayed.trials.is_empty():
        tried = sprayed.trials.select(*subject, "row", roles_now="roles", tries_now="tries")
        rows = rows.sort("row").join_asof(
            tried.sort("row"), on="row", by=subject, check_sortedness=False
        )
        rows = rows.with_columns(
            roles=pl.coalesce("roles_now", "roles"), tries=pl.coalesce("tries_now", "tries")
        )
    rows = rows.with_columns(spray=bits(), subject="identity_subject")
    novel = moved.scored
    if novel.is_empty():
        return _plain(rows)
    more = novel.select(
        "row", "novelty", "lived", "first_us", "members", "address_level", "program_level",
        "address_have", "program_have", "address_bits", "program_bits", "kind",
        "login_level", "login_bits",
    )  # fmt: skip
    return _plain(rows.join(more, on="row", how="left", maintain_order="left"))


def _plain(rows: pl.DataFrame) -> pl.DataFrame:
    lacking = {
        "novelty": 0.0, "lived": 99.0, "first_us": 0, "members": 0,
        "address_level": 0, "program_level": 0, "address_have": 0, "program_have": 0,
        "address_bits": 0.0, "program_bits": 0.0, "kind": "", "login_level": 0, "login_bits": 0.0,
    }  # fmt: skip
    rows = rows.with_columns(
        pl.lit(value).alias(name) for name, value in lacking.items() if name not in rows.columns
    ).with_columns(pl.col(name).fill_null(value) for name, value in lacking.items())
    guessed = (
        pl.when(pl.col("met"))
        .then(pl.col("spray") - KNOWN_PLACE_BITS)
        .otherwise("spray")
        .clip(lower_bound=0.0)
    )
    return rows.with_columns(score=pl.col("novelty") + guessed)


def with_said(after: pl.DataFrame, news: pl.DataFrame) -> pl.DataFrame:
    """Addresses' rows with what was said of them today."""
    return said.with_said(after, news.with_columns(item=pl.lit("")))
