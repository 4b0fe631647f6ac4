"""ETL: runs at fixed minutes, the same statements in the same order, more at night."""

from __future__ import annotations

from functools import lru_cache

from bench.world import rhythm, texts
from bench.world.calendar import SECOND_US, Calendar
from bench.world.dice import dice
from bench.world.drafts import Page
from bench.world.identity import Identity
from bench.world.relations import Relation

Step = tuple[str, Relation, float]
"""Text, relation, mean of the logarithm of its rows."""


@lru_cache(maxsize=64)
def steps(seed: int, who: Identity) -> tuple[Step, ...]:
    rng = dice(seed, "steps", who.name)
    found: list[Step] = []
    for relation in who.relations:
        since = f"{texts.time_of(relation)} > $1"
        columns = ", ".join(texts.some_columns(rng, relation, 3))
        mu = rng.uniform(3, 7.5)
        found.append((f"SELECT {columns} FROM {relation.said} WHERE {since}", relation, mu))
        if who.home.database == "dw":
            found.append((texts.insert(rng, relation), relation, mu - 0.5))
            latest = f"SELECT max({texts.time_of(relation)}) FROM {relation.said}"
            found.append((latest, relation, 0))
    return tuple(found)


def etl_day(page: Page, calendar: Calendar, who: Identity, day: int) -> None:
    if who.user_name == "migrator":
        return
    rng = page.rng
    close = 2.5 if calendar.month_end(day) else 1.0
    busy = rhythm.share(calendar, "shop", day) * 1.004**day
    for hour in range(24):
        begin = calendar.at(day, hour) + int(who.traits["minute"] * 60 * SECOND_US)
        full = hour == 2 + int(who.traits["minute"]) % 2
        run(page, calendar, who, begin + rng.randint(0, 9 * SECOND_US), busy * close, full)


def run(
    page: Page, calendar: Calendar, who: Identity, at: int, scale: float, full: bool = False
) -> int:
    """One run; a full one loads a day again. Gives the moment of its end."""
    rng = page.rng
    seat = page.seat(who, at)
    now = float(at)
    for text, relation, mu in steps(calendar.seed, who):
        if not full and mu > 6.5 and rng.random() < 0.6:
            continue
        wide = scale * (14 if full else 1)
        rows = 1 if mu == 0 else min(relation.rows, rng.lognormvariate(mu, 0.5) * wide)
        took = 2_000 + rows * rng.uniform(2, 7)
        if rng.random() < 0.004:
            page.say(seat, now, text, sqlstate=rng.choice(("40001", "57014", "55P03")))
            now += 5 * SECOND_US
        page.say(seat, now, text, rows, relation.row_bytes, duration_us=took)
        now += took + rng.uniform(20_000, 900_000)
    if full and who.user_name == "etl_billing":
        relation = who.relations[0]
        text = f"COPY (SELECT * FROM {relation.said}) TO '/srv/exports/day.csv'"
        page.say(seat, now, text, relation.rows * 0.01, relation.row_bytes, duration_us=4e6)
    return int(now)
