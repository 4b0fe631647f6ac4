"""Services, dashboards and partners: many statements of few shapes, a day at a time."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from random import Random

import polars as pl

from bench.world import rhythm, texts
from bench.world.book import Book
from bench.world.calendar import DAY_US, HOUR_US, MINUTE_US, Calendar
from bench.world.cast import profile_of
from bench.world.dice import bits, dice, normal, poisson, stream, uniform
from bench.world.drafts import BENIGN, DRAFT_SCHEMA, MESSAGES
from bench.world.identity import Identity

POOL = 6
"""Connections of a host."""
FOREVER_US = 1 << 62


@dataclass(frozen=True)
class Template:
    """A statement of a program. Rows are exp(mu + sigma * normal), at most ``cap``."""

    text: str
    weight: float
    mu: float = 0.0
    sigma: float = 0.0
    cap: int = 1
    row_bytes: int = 80
    writes: bool = False
    duration_us: float = 300.0


@dataclass(frozen=True)
class Era:
    """What a program consists of between two releases."""

    from_us: int
    templates: tuple[Template, ...]


@dataclass(frozen=True)
class Host:
    address: str
    since_us: int
    until_us: int = FOREVER_US


@dataclass(frozen=True)
class Disturbance:
    """What a distractor does to a machine's day."""

    from_us: int
    to_us: int
    factor: float = 1.0
    """Of its statements in that time."""
    error_share: float = 0.0
    sqlstate: str = "57014"
    slower: float = 1.0


@dataclass(frozen=True)
class Machine:
    who: Identity
    eras: tuple[Era, ...]
    hosts: tuple[Host, ...]
    disturbances: tuple[Disturbance, ...] = ()


def templates(rng: Random, who: Identity, count: int) -> tuple[Template, ...]:
    """Few shapes make most of the load, and some run once a week."""
    makers = _MAKERS[who.role]
    made = []
    for n in range(count):
        relation = rng.choice(who.relations)
        maker = rng.choices(list(makers), list(makers.values()))[0]
        weight = 1 / (n + 1) ** 1.3 if n < count * 0.8 else rng.uniform(0.00002, 0.0004)
        made.append(template(rng, maker, relation, weight))
    return tuple(made)


def template(rng: Random, maker: str, relation: texts.Relation, weight: float) -> Template:
    text = getattr(texts, maker)(rng, relation)
    base = {
        "point": Template(text, weight, 0.3, 0.5, 3),
        "page": Template(text, weight, rng.uniform(1.8, 3.0), 0.8, 20),
        "join": Template(text, weight, rng.uniform(0.8, 3.0), 1.0, 400, duration_us=900),
        "count": Template(text, weight, 0, 0, 1, duration_us=1500),
        "report": Template(text, weight, rng.uniform(2, 6.5), 0.5, 20_000, duration_us=90_000),
        "export": Template(
            text, weight * 0.02, rng.uniform(6.0, 9.5), 0.6, 60_000, duration_us=4e5
        ),
    }.get(maker, Template(text, weight, 0, 0, 1, writes=True, duration_us=500))
    return Template(
        base.text, base.weight, base.mu, base.sigma, min(base.cap, relation.rows),
        relation.row_bytes, base.writes, base.duration_us * rng.lognormvariate(0, 0.4),
    )  # fmt: skip


_MAKERS = {
    "service": {
        "point": 38, "page": 18, "join": 12, "count": 5, "insert": 9, "update": 15, "delete": 3,
    },
    "bi": {"report": 80, "page": 10, "count": 10},
    "partner": {"page": 30, "join": 25, "point": 20, "insert": 10, "update": 12, "export": 3},
}  # fmt: skip


def day(book: Book, calendar: Calendar, machine: Machine, number: int) -> pl.DataFrame:
    """A day's rows, in no order."""
    who = machine.who
    profile = profile_of(who)
    rng = dice(calendar.seed, "machine", who.name, number)
    growth = (1 + who.traits["growth"]) ** number
    expected = who.per_day * growth * rhythm.share(calendar, profile, number)
    count = poisson(rng, expected * rng.lognormvariate(0, 0.06))
    at = rhythm.times(calendar, profile, number, count, who.name)
    moments = _disturbed(at, machine.disturbances, calendar, number, who)
    parts = []
    for n, era in enumerate(machine.eras):
        until = machine.eras[n + 1].from_us if n + 1 < len(machine.eras) else None
        chosen = moments.filter(pl.col("at_us") >= era.from_us)
        if until is not None:
            chosen = chosen.filter(pl.col("at_us") < until)
        if not chosen.is_empty():
            parts.append(_statements(book, calendar, machine, era, chosen, number))
    return pl.concat(parts) if parts else pl.DataFrame(schema=DRAFT_SCHEMA)


def _disturbed(
    at: pl.Series,
    disturbances: tuple[Disturbance, ...],
    calendar: Calendar,
    number: int,
    who: Identity,
) -> pl.DataFrame:
    """``at_us`` with copies where there is more load, and what goes wrong there."""
    frame = pl.DataFrame({"at_us": at}).with_columns(
        bad=pl.lit(0.0), slower=pl.lit(1.0), sqlstate=pl.lit("57014")
    )
    begin = calendar.at(number)
    for n, trouble in enumerate(disturbances):
        if trouble.to_us < begin or trouble.from_us >= begin + DAY_US:
            continue
        inside = pl.col("at_us").is_between(trouble.from_us, trouble.to_us)
        state = pl.lit(trouble.sqlstate)
        frame = frame.with_columns(
            bad=pl.when(inside).then(trouble.error_share).otherwise("bad"),
            slower=pl.when(inside).then(trouble.slower).otherwise("slower"),
            sqlstate=pl.when(inside).then(state).otherwise("sqlstate"),
        )
        extra = frame.filter(inside)
        for copy in range(int(trouble.factor) - 1):
            purpose = stream(calendar.seed, who.name, number, n, copy)
            shift = uniform(pl.int_range(pl.len(), dtype=pl.UInt64), purpose) * 120 - 60
            moved = pl.col("at_us") + (shift * 1e6).cast(pl.Int64)
            frame = pl.concat([frame, extra.with_columns(at_us=moved)])
    return frame.filter(pl.col("at_us").is_between(begin, begin + DAY_US - 1))


def _statements(
    book: Book,
    calendar: Calendar,
    machine: Machine,
    era: Era,
    moments: pl.DataFrame,
    number: int,
) -> pl.DataFrame:
    who = machine.who
    shapes = _shapes(book, era.templates)
    counter = pl.col("n").cast(pl.UInt64)

    def purpose(name: str) -> int:
        return stream(calendar.seed, who.name, number, era.from_us, name)

    drawn = moments.sort("at_us").with_row_index("n").with_columns(
        pick=uniform(counter, purpose("pick")),
        z=normal(counter, purpose("rows")),
        slow=normal(counter, purpose("slow")),
        luck=uniform(counter, purpose("luck")),
        which=uniform(counter, purpose("which")),
        fat=uniform(counter, purpose("fat")),
        key=bits(counter, purpose("key")),
        slot=uniform(counter, purpose("slot")),
    )  # fmt: skip
    index = shapes["until"].search_sorted(drawn["pick"], side="right").clip(0, shapes.height - 1)
    full = pl.concat([drawn, shapes[index]], how="horizontal")
    full = _with_errors(full)
    good = pl.col("sqlstate") == "00000"
    rows = (pl.col("mu") + pl.col("sigma") * pl.col("z")).exp().cast(pl.Int64)
    return (
        _with_sessions(full, machine, era, calendar.seed)
        .with_columns(
            rows=pl.when(good).then(pl.min_horizontal(rows, "cap")).otherwise(0),
            who=pl.lit(who.name),
            place=pl.lit(who.home.database),
            application_name=pl.lit(who.application_name),
            campaign=pl.lit(BENIGN, dtype=pl.Int16),
        )
        .with_columns(
            bytes_sent=pl.when(pl.col("writes"))
            .then(60)
            .otherwise(90 + pl.col("rows") * pl.col("row_bytes") * (0.6 + 0.4 * pl.col("fat")))
            .cast(pl.Int64),
            duration_us=(
                (pl.col("base_us") + pl.col("rows") * 1.2)
                * (pl.col("slow") * 0.45).exp()
                * pl.col("slower")
            ).cast(pl.Int64),
            error_message=pl.col("sqlstate").replace_strict(MESSAGES, return_dtype=pl.String),
        )
        .select(pl.col(name).cast(kind) for name, kind in DRAFT_SCHEMA.items())
    )


def _shapes(book: Book, chosen: tuple[Template, ...]) -> pl.DataFrame:
    total = sum(t.weight for t in chosen)
    return pl.DataFrame(
        {
            "shape": [book.number(t.text) for t in chosen],
            "until": [t.weight / total for t in chosen],
            "mu": [float(t.mu) for t in chosen],
            "sigma": [float(t.sigma) for t in chosen],
            "cap": [t.cap for t in chosen],
            "row_bytes": [t.row_bytes for t in chosen],
            "writes": [t.writes for t in chosen],
            "base_us": [float(t.duration_us) for t in chosen],
        }
    ).with_columns(pl.col("until").cum_sum())


def _with_errors(full: pl.DataFrame) -> pl.DataFrame:
    """What ordinary programs get wrong, and the retry after a rollback."""
    which, luck = pl.col("which"), pl.col("luck")
    usual = (
        pl.when(pl.col("writes"))
        .then(
            pl.when(which < 0.62).then(pl.lit("23505"))
            .when(which < 0.75).then(pl.lit("23503"))
            .when(which < 0.93).then(pl.lit("40001"))
            .when(which < 0.98).then(pl.lit("55P03"))
            .otherwise(pl.lit("40P01"))
        )
        .otherwise(pl.lit("57014"))
    )  # fmt: skip
    share = pl.when(pl.col("writes")).then(0.003).otherwise(0.00008)
    marked = full.with_columns(
        sqlstate=pl.when(luck < share)
        .then(usual)
        .when(luck < share + pl.col("bad"))
        .then(pl.col("sqlstate"))
        .otherwise(pl.lit("00000"))
    )
    again = marked.filter(pl.col("sqlstate").str.starts_with("40")).with_columns(
        at_us=pl.col("at_us") + 20_000 + (which * 100_000).cast(pl.Int64),
        sqlstate=pl.lit("00000"),
        key=pl.col("key") + 1,
    )
    return pl.concat([marked, again])


def _with_sessions(full: pl.DataFrame, machine: Machine, era: Era, seed: int) -> pl.DataFrame:
    """Pooled connections are renewed every few hours and at each release."""
    name = machine.who.name
    life = int(dice(seed, "life", name).uniform(2, 8) * HOUR_US)
    phase = stream(seed, "phase", name) % life
    since = (pl.col("at_us") - phase) // life * life + phase
    chosen = []
    for first, last in _host_spans(machine.hosts):
        addresses = [h.address for h in machine.hosts if h.since_us <= first < h.until_us]
        here = full.filter((pl.col("at_us") >= first) & (pl.col("at_us") < last))
        if not here.is_empty():
            seat = (pl.col("slot") * (len(addresses) * POOL)).cast(pl.Int64)
            chosen.append(
                here.with_columns(
                    seat=seat,
                    client_address=pl.lit(pl.Series(addresses)).gather(seat // POOL),
                )
            )
    return pl.concat(chosen).with_columns(
        session_us=pl.max_horizontal(since, pl.lit(era.from_us)),
        session=bits(
            (pl.col("seat") + since // MINUTE_US * 1000).cast(pl.UInt64),
            stream(seed, "session", name, era.from_us),
        ),
    )


def _host_spans(hosts: tuple[Host, ...]) -> list[tuple[int, int]]:
    """Times between which the hosts are the same."""
    starts = sorted({host.since_us for host in hosts} | {host.until_us for host in hosts})
    return list(itertools.pairwise(starts))
