"""Where identities come from: addresses, networks and programs, and how often any were new.

Kept for each identity and for its peers (all of its kind on one server): what they used before,
and on how many days something new came. A new place is the stranger the farther it is from what is
known, in LEVELS; the rate of days with such a level or a stranger one, by the start of today,
filled up from the peers, gives the bits. So a service that scales out on every other day does not
surprise by another host, and one that never moved does.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from analytics import keyed
from analytics.said import NEVER_EVICTED

KEY = ("agent", "cluster", "subject", "item")
"""``subject``: ``of NAME`` an identity, ``all KIND`` its peers, ``from ADDRESS``, '' an agent's
clock. ``item``: '' the subject itself, else what it used, with its sort in front."""
LEVELS = (
    "an address in a network that it uses",
    "an address of a network that is new for it, which others of its kind use",
    "an address of a network that none of its kind uses",
    "an address that is known from people",
    "another program",
    "a program that none of its kind uses",
    "a program that people use",
    "a login that never worked on this server",
    "a login of nobody that is known, which never worked on this server",
)
ADDRESS_LEVELS, PROGRAM_LEVELS = 4, 3
FIRST_LOGIN_LEVEL = ADDRESS_LEVELS + PROGRAM_LEVELS
LEVEL = pl.Array(pl.Int32, len(LEVELS))
PRIOR_RATES = (0.06, 0.04, 0.02, 0.004, 0.04, 0.015, 0.003, 0.01, 0.00003)
"""Days with this level or a stranger one, of all days, before anything is known."""
KINDS = ("human", "service", "ai_agent", "unknown")
YOUNG_DAYS = 7
"""On a server that is watched since fewer days everybody is new."""
PRIOR_DAYS = 20.0
PEER_DAYS = 10.0
SETTLING_DAYS = 2.0
"""A newcomer's places are new because it is: that fades with this time constant."""
VALUES: dict[str, pl.DataType | type[pl.DataType]] = {
    "count": pl.Int64,
    "first_us": pl.Int64,
    "last_us": pl.Int64,
    "day": pl.Int64,
    "odd": pl.Int64,
    "firsts": pl.Float64,
    "lived": pl.Float64,
    "past": LEVEL,
    "today": LEVEL,
    "address_bits": pl.Float64,
    "program_bits": pl.Float64,
    "login_bits": pl.Float64,
    "said": pl.Float64,
    "roles": pl.Float64,
    "tries": pl.Float64,
    "failed_days": pl.Float64,
    "failed_roles": pl.Float64,
    "failed_tries": pl.Float64,
}
"""``past``: days with each level before ``day`` (of peers: summed), ``today``: of today; ``lived``:
days that were watched, by the start of ``day``; ``firsts``: sum of the members' first days."""
TOOLS = (
    r"^(psql|pgadmin|dbeaver|datagrip|tableplus|pgcli|navicat|heidisql|postico|beekeeper|adminer)"
)
NOWHERE = {"agent": pl.lit(""), "cluster": pl.lit("")}
"""Rows of what an identity does on any server."""
VISIT = ("agent", "cluster", "identity", "client_address", "application_name", "late")


@dataclass(frozen=True)
class Moved:
    scored: pl.DataFrame
    """Unknown visits with levels, ``novelty`` (bits) and what is known of their peers."""
    after: pl.DataFrame
    """Rows to put."""


def visits(rows: pl.DataFrame) -> pl.DataFrame:
    """The first row of each (identity, address, program), with the names that are compared."""
    firsts = rows.unique(VISIT, keep="first", maintain_order=True)
    address = pl.col("client_address")
    network = (
        pl.when(address.str.contains(":", literal=True))
        .then(address.str.extract(r"^((?:[0-9a-fA-F]*:){1,4})"))
        .otherwise(address.str.replace(r"\.\d+$", ""))
    )
    # Of pod and session names only the part that is the same for all of a program's.
    program = (
        pl.col("application_name")
        .str.to_lowercase()
        .str.replace_all(r"[0-9a-f]*[0-9][0-9a-f]*", "#")
        .str.replace_all(r"-[a-z0-9#]{5}$", "-#")
        .str.slice(0, 64)
    )
    return firsts.with_columns(
        subject=pl.lit("of ") + pl.col("identity"),
        address=pl.lit("address ") + address,
        network=pl.lit("network ") + network.fill_null("").str.replace(r"^$", "local"),
        program=pl.lit("program ") + program,
    ).with_columns(
        item=pl.concat_str(pl.lit("visit "), "client_address", pl.lit(" "), "program"),
    )


def split(state: pl.DataFrame, visited: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """All visits with ``met`` (the pair was met before), and those not met yet today."""
    keys = visited.select(*KEY)
    known = keyed.get(state, keys, ["day"])["day"]
    marked = visited.with_columns(met_day=known)
    stale = pl.col("met_day").is_null() | (pl.col("met_day") != pl.col("day"))
    return (
        marked.with_columns(met=pl.col("met_day").is_not_null()),
        marked.filter(stale).unique(KEY, keep="first", maintain_order=True),
    )


def observe(state: pl.DataFrame, unknown: pl.DataFrame, day_us: int) -> Moved:
    """``unknown``: visits of one day of each agent, each pair once, in order of arrival."""
    if unknown.is_empty():
        return Moved(unknown, filled(unknown.select(KEY)))
    subjects = unknown.group_by("agent", "cluster", "subject", maintain_order=True).agg(
        item=pl.lit(""),
        kind=pl.col("identity_kind").first(),
        named=(pl.col("identity_name") != "").any(),
        new_day=pl.col("day").first(),
        met_us=pl.col("at_us").first(),
        seen_us=pl.col("at_us").max(),
    )
    known = keyed.get(state, subjects)
    own, peers = _opened(known, _peers(state, known, day_us), day_us)
    edges = _edges(state, unknown)
    elsewhere = _elsewhere(state, own, day_us)
    levels = _levels(unknown, edges, own, _server_days(state, unknown, day_us))
    scored = _scored(levels, own.join(elsewhere, on=KEY[:3], how="left"), peers)
    after = _after(unknown, edges, own, peers, scored)
    return Moved(scored, pl.concat([after, _everywhere(edges, own, elsewhere)]))


def _elsewhere(state: pl.DataFrame, own: pl.DataFrame, day_us: int) -> pl.DataFrame:
    """Of each identity on how many other ``servers`` it works, since how many days."""
    known = keyed.get(state, own.select(KEY).with_columns(**NOWHERE), ["count", "first_us"])
    before = pl.col("newcomer").cast(pl.Int64).cum_sum() - pl.col("newcomer").cast(pl.Int64)
    told = own.select(*KEY[:3], "named", "newcomer", "new_day", "met_us").with_columns(
        known["count"].fill_null(0).alias("servers"),
        pl.coalesce(known["first_us"], pl.col("met_us")).alias("abroad_us"),
    )
    days_known = pl.col("new_day") - (pl.col("abroad_us") / day_us).floor()
    return told.select(
        *KEY[:3],
        "abroad_us",
        servers=pl.when("named").then(pl.col("servers") + before.over("subject")).otherwise(0),
        abroad_days=days_known.clip(lower_bound=0.0),
    )


def _everywhere(edges: pl.DataFrame, own: pl.DataFrame, elsewhere: pl.DataFrame) -> pl.DataFrame:
    """Rows of what those whom an identity rule knows use on any server, and on how many."""
    used = (
        edges.filter(pl.col("named") & pl.col("new"))
        .unique(["subject", "item"], keep="first", maintain_order=True)
        .select(*KEY, count=pl.lit(1, pl.Int64), first_us="since_us", last_us="seen_us")
        .with_columns(**NOWHERE)
    )
    arrived = (
        own.join(elsewhere, on=KEY[:3], how="left", maintain_order="left")
        .filter(pl.col("named") & pl.col("newcomer"))
        .group_by("subject", maintain_order=True)
        .agg(
            count=pl.col("servers").max() + 1,
            first_us=pl.col("abroad_us").min(),
            last_us=pl.col("seen_us").max(),
        )
        .with_columns(**NOWHERE, item=pl.lit(""))
        .select(*KEY, "count", "first_us", "last_us")
    )
    return pl.concat([filled(used), filled(arrived)])


def _peers(state: pl.DataFrame, own: pl.DataFrame, day_us: int) -> pl.DataFrame:
    """The peers' rows for today; what their members end with today counts from tomorrow on."""
    turned = pl.col("day").is_not_null() & (pl.col("day") != pl.col("new_day"))
    groups = own.group_by("agent", "cluster", subject=pl.lit("all ") + pl.col("kind")).agg(
        pl.col("new_day").first(), pl.col("seen_us").max(),
        *(
            pl.col("today").arr.get(n).filter(turned).sum().alias(f"l{n}")
            for n in range(len(LEVELS))
        ),
        item=pl.lit(""),
        joined=pl.col("day").is_null().sum().cast(pl.Int64),
        first_days=(pl.col("met_us") / day_us).filter(pl.col("day").is_null()).sum(),
    )  # fmt: skip
    known = keyed.get(state, groups)
    changed = pl.col("day").is_null() | (pl.col("day") != pl.col("new_day"))
    count, firsts = pl.col("count").fill_null(0), pl.col("firsts").fill_null(0.0)
    past, today = (pl.col(name).fill_null(_none()) for name in ("past", "today"))
    more = pl.concat_list(pl.col(f"l{n}").cast(pl.Int32) for n in range(len(LEVELS)))
    opened = known.with_columns(
        past=pl.when(changed).then((past + today).cast(LEVEL)).otherwise(past),
        today=pl.when(changed).then(_none()).otherwise(today),
        lived=pl.when(changed)
        .then((count * pl.col("new_day") - firsts).clip(lower_bound=0.0))
        .otherwise("lived"),
        day="new_day",
        more=more.list.to_array(len(LEVELS)),
    )
    return opened.with_columns(
        today=(pl.col("today") + pl.col("more")).cast(LEVEL),
        count=count + pl.col("joined"),
        firsts=firsts + pl.col("first_days"),
        first_us=pl.coalesce("first_us", "seen_us"),
        last_us=pl.max_horizontal("last_us", "seen_us"),
    )


def _opened(
    own: pl.DataFrame, peers: pl.DataFrame, day_us: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    turned = pl.col("day").is_null() | (pl.col("day") != pl.col("new_day"))
    past, today = (pl.col(name).fill_null(_none()) for name in ("past", "today"))
    start = pl.col("new_day") - pl.coalesce("first_us", "met_us") / day_us
    opened = own.with_columns(
        newcomer=pl.col("day").is_null(),
        past=pl.when(turned).then((past + today).cast(LEVEL)).otherwise(past),
        today=pl.when(turned).then(_none()).otherwise(today),
        lived=pl.when(turned).then(start.clip(lower_bound=0.0)).otherwise("lived"),
        first_us=pl.coalesce("first_us", "met_us"),
        last_us=pl.max_horizontal("last_us", "seen_us"),
        day="new_day",
        **{
            name: pl.when(turned).then(0.0).otherwise(name)
            for name in ("address_bits", "program_bits", "login_bits", "said")
        },
    )
    return opened, peers


def _edges(state: pl.DataFrame, unknown: pl.DataFrame) -> pl.DataFrame:
    """Each thing that an identity used, first row; ``new`` for it, and who used it before that."""
    base = ("agent", "cluster", "subject", "row", "at_us", "identity_kind", "identity_name")
    used = pl.concat(unknown.select(*base, item=name) for name in ("address", "network", "program"))
    firsts = (
        used.sort("row", maintain_order=True)
        .group_by(KEY, maintain_order=True)
        .agg(
            pl.col("row", "at_us", "identity_kind").first(),
            named=pl.col("identity_name").first() != "",
            seen_us=pl.col("at_us").max(),
        )
    )
    anywhere = keyed.get(state, firsts.select(KEY).with_columns(**NOWHERE), ["first_us"])
    since = keyed.get(state, firsts.select(KEY), ["first_us"])["first_us"]
    edges = firsts.with_columns(
        since.fill_null(firsts["at_us"]).alias("since_us"),
        anywhere["first_us"].is_not_null().alias("elsewhere"),
        new=since.is_null(),
        above=pl.lit("all ") + pl.col("identity_kind"),
    ).with_columns(
        # A person has the same desk and the same tools, whichever server they work on.
        strange=pl.col("new")
        & ~(
            pl.col("named")
            & (pl.col("elsewhere") | (pl.int_range(pl.len()).over("subject", "item") > 0))
        )
    )
    kinds, people = (
        edges.select("agent", "cluster", "item", subject=subject).select(KEY)
        for subject in (pl.col("above"), pl.lit("all human"))
    )
    thing = ("agent", "cluster", "item")
    human = pl.col("new") & (pl.col("identity_kind") == "human")
    return edges.with_columns(
        kind_before=keyed.get(state, kinds, ["count"])["count"].fill_null(0),
        people_before=keyed.get(state, people, ["count"])["count"].fill_null(0),
    ).with_columns(
        kind_have=pl.col("kind_before") + _earlier(pl.col("new"), (*thing, "above")),
        people_have=pl.col("people_before") + _earlier(human, thing),
    )


def _earlier(flag: pl.Expr, over: tuple[str, ...]) -> pl.Expr:
    return (flag.cast(pl.Int64).cum_sum() - flag.cast(pl.Int64)).over(list(over))


def _server_days(state: pl.DataFrame, unknown: pl.DataFrame, day_us: int) -> pl.DataFrame:
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


def _levels(
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


def _scored(levels: pl.DataFrame, own: pl.DataFrame, peers: pl.DataFrame) -> pl.DataFrame:
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


def _after(
    unknown: pl.DataFrame,
    edges: pl.DataFrame,
    own: pl.DataFrame,
    peers: pl.DataFrame,
    scored: pl.DataFrame,
) -> pl.DataFrame:
    subject = ["agent", "cluster", "subject"]
    reached = scored.group_by(subject, maintain_order=True).agg(
        pl.col("address_bits", "program_bits", "login_bits").last(),
        *(
            (pl.col("address_level") >= n + 1).any().cast(pl.Int32).alias(f"l{n}")
            for n in range(ADDRESS_LEVELS)
        ),
        *(
            (pl.col("program_level") >= n + 1 - ADDRESS_LEVELS).any().cast(pl.Int32).alias(f"l{n}")
            for n in range(ADDRESS_LEVELS, FIRST_LOGIN_LEVEL)
        ),
        *(
            (pl.col("login_level") >= n + 1 - FIRST_LOGIN_LEVEL).any().cast(pl.Int32).alias(f"l{n}")
            for n in range(FIRST_LOGIN_LEVEL, len(LEVELS))
        ),
    )
    mine = (
        own.drop("address_bits", "program_bits", "login_bits")
        .join(reached, on=subject, how="left", maintain_order="left")
        .with_columns(
            today=pl.concat_list(
                pl.max_horizontal(pl.col("today").arr.get(n), f"l{n}") for n in range(len(LEVELS))
            ).list.to_array(len(LEVELS))
        )
    )
    used = edges.select(*KEY, count=pl.lit(1, pl.Int64), first_us="since_us", last_us="seen_us")
    shared = edges.group_by("agent", "cluster", "item", subject="above").agg(
        count=pl.col("kind_before").first() + pl.col("new").sum().cast(pl.Int64),
        last_us=pl.col("seen_us").max(),
    )
    met = unknown.select(*KEY, "day", last_us="at_us")
    return pl.concat(filled(part) for part in (mine, peers, used, shared, met))


def filled(rows: pl.DataFrame) -> pl.DataFrame:
    """KEY and VALUES, with zeros where ``rows`` do not say."""
    columns = rows.columns
    plain = [
        pl.lit(0, kind).alias(name)
        for name, kind in VALUES.items()
        if name not in columns and kind != LEVEL
    ]
    levels = [_none().alias(name) for name in ("past", "today") if name not in columns]
    return (
        rows.with_columns(*plain, *levels)
        .with_columns(
            pl.col(name).cast(kind).fill_null(_none() if kind == LEVEL else 0)
            for name, kind in VALUES.items()
        )
        .select(*KEY, *VALUES)
    )


def said_today(state: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """``rows`` with ``said`` of their identities, whose day has begun in ``state``."""
    keys = rows.select("agent", "cluster", "subject", item=pl.lit(""))
    return rows.with_columns(keyed.get(state, keys, ["said"])["said"].fill_null(0.0))


def with_said(state: pl.DataFrame, news: pl.DataFrame) -> pl.DataFrame:
    """Identities' rows with what they have said today, to be put."""
    keys = news.select("agent", "cluster", "subject", "news", item=pl.lit(""))
    return filled(keyed.get(state, keys).with_columns(said="news"))


def clocks(state: pl.DataFrame) -> pl.DataFrame:
    """Of the agents; a clock is the row of no subject."""
    known = state.filter(pl.col("subject") == "")
    return known.unique("agent", keep="last", maintain_order=True).select("agent", "day", "odd")


def clock_rows(clocks: pl.DataFrame) -> pl.DataFrame:
    nobody = {name: pl.lit("") for name in KEY[1:]}
    return filled(clocks.with_columns(**nobody, last_us=pl.lit(NEVER_EVICTED)))


def _none() -> pl.Expr:
    return pl.lit(pl.Series([[0] * len(LEVELS)], dtype=LEVEL)).first()
