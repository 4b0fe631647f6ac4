"""How strange a place is (LEVELS), and the bits of it: how seldom a day brings such a one."""

from __future__ import annotations

import polars as pl

from analytics import keyed
from analytics.places.rows import KEY, LEVELS

ADDRESS_LEVELS, PROGRAM_LEVELS = 4, 3
FIRST_LOGIN_LEVEL = ADDRESS_LEVELS + PROGRAM_LEVELS
PRIOR_RATES = (0.06, 0.04, 0.02, 0.004, 0.04, 0.015, 0.003, 0.01, 0.00003)
"""Days with this level or a stranger one, of all days, before anything is known."""
KINDS = ("human", "service", "ai_agent", "unknown")
YOUNG_DAYS = 7
"""On a server that is watched since fewer days everybody is new."""
PRIOR_DAYS = 20.0
PEER_DAYS = 10.0
SETTLING_DAYS = 2.0
"""A newcomer's places are new because it is: that fades with this time constant."""
TOOLS = (
    r"^(psql|pgadmin|dbeaver|datagrip|tableplus|pgcli|navicat|heidisql|postico|beekeeper|adminer)"
)


def server_days(state: pl.DataFrame, unknown: pl.DataFrame, day_us: int) -> pl.DataFrame:
    """For how many ``server_days`` anybody is known on each server."""
    servers = unknown.group_by("agent", "cluster", maintain_order=True).agg(pl.col("day").first())
    keys = pl.concat(
        servers.select("agent", "cluster", subject=pl.lit(f"all {kind}"), item=pl.lit(""))
        for kind in KINDS
    )
    first = keyed.get(state, keys, ["first_us"]).group_by("agent", "cluster").agg(
        pl.col("first_us").min()
    )  # fmt: skip
    since = pl.col("day") - (pl.col("first_us") / day_us).floor()
    return servers.join(first, on=["agent", "cluster"], how="left").select(
        "agent", "cluster", server_days=since.fill_null(0).cast(pl.Int64)
    )


def levels_of(
    unknown: pl.DataFrame, edges: pl.DataFrame, own: pl.DataFrame, servers: pl.DataFrame
) -> pl.DataFrame:
    """``address_level``, ``program_level`` and ``login_level`` of each visit, 0 for the known."""
    rows = unknown
    for name in ("address", "network", "program"):
        met = edges.filter("strange").select(
            "agent", "cluster", "subject", "row", pl.col("item").alias(name),
            pl.lit(value=True).alias(f"new_{name}"), pl.col("kind_have").alias(f"{name}_have"),
            pl.col("people_have").alias(f"{name}_people"),
        )  # fmt: skip
        rows = rows.join(
            met, on=["agent", "cluster", "subject", "row", name], how="left", maintain_order="left"
        )
    fresh = own.select("agent", "cluster", "subject", "newcomer", settled="first_us")
    rows = rows.join(
        fresh, on=["agent", "cluster", "subject"], how="left", maintain_order="left"
    ).with_columns(
        pl.col("new_address", "new_network", "new_program").fill_null(value=False),
        pl.col(
            "address_have", "address_people", "program_have", "program_people", "network_have",
        ).fill_null(0),
    )  # fmt: skip
    program = pl.col("identity_kind").is_in(("service", "ai_agent"))
    personal = program & (pl.col("address_have") == 0) & (pl.col("address_people") > 0)
    tool = pl.col("program").str.contains(TOOLS.replace("^", "^program ")) | (
        pl.col("program_people") > 0
    )
    # The very first visit: the identity is what is new, not its address.
    arrived = pl.col("newcomer") & (pl.col("row") == pl.col("row").first().over(KEY[:3]))
    address = (
        pl.when(~pl.col("new_address") | arrived).then(0)
        .when(personal).then(4)
        .when(~pl.col("new_network")).then(1)
        .when((pl.col("address_have") > 0) | (pl.col("network_have") > 0)).then(2)
        .otherwise(3)
    )  # fmt: skip
    kind_has = pl.col("program_have") > 0
    named = (
        pl.when(~pl.col("new_program") | arrived).then(0)
        .when(program & tool & ~kind_has).then(3)
        .when(~kind_has).then(2)
        .otherwise(1)
    )  # fmt: skip
    old = pl.col("server_days") >= YOUNG_DAYS
    nobody = pl.col("identity_kind").is_in(("unknown", ""))
    login = pl.when(~arrived | ~old).then(0).when(nobody).then(2).otherwise(1)
    return rows.join(
        servers, on=["agent", "cluster"], how="left", maintain_order="left"
    ).with_columns(address_level=address, program_level=named, login_level=login)


def score(levels: pl.DataFrame, own: pl.DataFrame, peers: pl.DataFrame) -> pl.DataFrame:
    mine = own.select(
        "agent", "cluster", "subject", "kind", "lived", "first_us", "said",
        own_past="past", own_address="address_bits", own_program="program_bits",
        own_login="login_bits", servers="servers", abroad_days="abroad_days",
    )  # fmt: skip
    theirs = peers.select(
        "agent", "cluster", above="subject", peer_past="past", peer_days="lived", members="count"
    )
    rows = levels.join(
        mine, on=["agent", "cluster", "subject"], how="left", maintain_order="left"
    ).with_columns(above=pl.lit("all ") + pl.col("kind"))
    rows = rows.join(theirs, on=["agent", "cluster", "above"], how="left", maintain_order="left")
    address = _bits(pl.col("address_level") - 1)
    program = _bits(pl.col("program_level") - 1 + ADDRESS_LEVELS)
    login = _login_bits(pl.col("login_level") - 1 + FIRST_LOGIN_LEVEL)
    subject = ["agent", "cluster", "subject"]
    return rows.with_columns(
        address_now=pl.when(pl.col("address_level") > 0).then(address).otherwise(0.0),
        program_now=pl.when(pl.col("program_level") > 0).then(program).otherwise(0.0),
        login_now=pl.when(pl.col("login_level") > 0).then(login).otherwise(0.0),
    ).with_columns(
        **{
            f"{sort}_bits": pl.max_horizontal(
                pl.col(f"{sort}_now").cum_max().over(subject), f"own_{sort}"
            )
            for sort in ("address", "program", "login")
        }
    ).with_columns(
        novelty=pl.when(pl.col("address_now") + pl.col("program_now") + pl.col("login_now") > 0)
        .then(pl.col("address_bits") + pl.col("program_bits") + pl.col("login_bits"))
        .otherwise(0.0)
    )  # fmt: skip


def _usual(at: pl.Expr) -> pl.Expr:
    """How often a day of a peer has such a level."""
    prior = pl.lit(pl.Series([list(PRIOR_RATES)], dtype=pl.Array(pl.Float64, len(LEVELS)))).first()
    return (pl.col("peer_past").arr.get(at) + PRIOR_DAYS * prior.arr.get(at)) / (
        pl.col("peer_days") + PRIOR_DAYS
    )


def _login_bits(level: pl.Expr) -> pl.Expr:
    """How seldom a day of anybody brings somebody new. A newcomer has no days of its own here, but
    those on other servers: who moves from one to the next surprises less, who never did more."""
    usual = _usual(level.clip(lower_bound=0))
    moves = pl.col("servers").fill_null(0)
    own = ((moves - 1).clip(lower_bound=0) + PEER_DAYS * usual) / (
        pl.col("abroad_days") + PEER_DAYS
    )
    rate = pl.when(moves > 0).then(own).otherwise(usual)
    return -(1 - (-rate).exp()).log10()


def _bits(level: pl.Expr) -> pl.Expr:
    """Of a day with this level or a stranger one."""
    at = level.clip(lower_bound=0)
    usual = _usual(at)
    settling = (-pl.col("lived") / SETTLING_DAYS).exp()
    rate = (pl.col("own_past").arr.get(at) + PEER_DAYS * usual + settling) / (
        pl.col("lived") + PEER_DAYS
    )
    return -(1 - (-rate).exp()).log10()
