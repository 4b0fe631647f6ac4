"""What identities met today: the rows of those, of their peers, and of what they used."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from analytics import keyed
from analytics.places.levels import ADDRESS_LEVELS, FIRST_LOGIN_LEVEL, levels_of, score, server_days
from analytics.places.rows import KEY, LEVEL, LEVELS, NOWHERE, filled, none

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
    levels = levels_of(unknown, edges, own, server_days(state, unknown, day_us))
    scored = score(levels, own.join(elsewhere, on=KEY[:3], how="left"), peers)
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
    past, today = (pl.col(name).fill_null(none()) for name in ("past", "today"))
    more = pl.concat_list(pl.col(f"l{n}").cast(pl.Int32) for n in range(len(LEVELS)))
    opened = known.with_columns(
        past=pl.when(changed).then((past + today).cast(LEVEL)).otherwise(past),
        today=pl.when(changed).then(none()).otherwise(today),
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
    past, today = (pl.col(name).fill_null(none()) for name in ("past", "today"))
    start = pl.col("new_day") - pl.coalesce("first_us", "met_us") / day_us
    opened = own.with_columns(
        newcomer=pl.col("day").is_null(),
        past=pl.when(turned).then((past + today).cast(LEVEL)).otherwise(past),
        today=pl.when(turned).then(none()).otherwise(today),
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
