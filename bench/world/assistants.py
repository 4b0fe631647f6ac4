"""AI agents: a question becomes a burst of statements, many of them new, some of them wrong."""

from __future__ import annotations

from functools import lru_cache
from random import Random

from bench.world import rhythm, texts
from bench.world.calendar import SECOND_US, Calendar
from bench.world.dice import dice, poisson, zipf_pick
from bench.world.drafts import Page
from bench.world.identity import Identity
from bench.world.people import rows_of
from bench.world.relations import Relation


def assistant_day(page: Page, calendar: Calendar, who: Identity, day: int) -> None:
    rng = page.rng
    share = rhythm.share(calendar, "office", day)
    wanted = poisson(rng, who.per_day * share * 1.01**day * rng.lognormvariate(0, 0.25))
    begins = rhythm.times(calendar, "office", day, max(1, wanted // 9), who.name).sort()
    for begin in begins.to_list():
        question(page, calendar, who, day, begin)


def question(page: Page, calendar: Calendar, who: Identity, day: int, at: int) -> int:
    rng = page.rng
    seat = page.seat(who, at, client_address=rng.choice(who.addresses))
    now = float(at)
    relation = zipf_pick(rng, who.relations, 0.6)
    if rng.random() < 0.35:
        text = (
            "SELECT column_name, data_type FROM information_schema.columns"
            f" WHERE table_name = '{relation.name}'"
        )
        page.say(seat, now, text, len(relation.columns), 40)
        now += rng.uniform(1, 6) * SECOND_US
    for _ in range(max(1, int(rng.lognormvariate(1.9, 0.5)))):
        text, about = _text(calendar.seed, who, day, rng)
        if rng.random() < who.traits["errors"]:
            wrong, state = texts.misspelt(rng, text)
            state = "42501" if rng.random() < 0.02 else state
            page.say(seat, now, wrong, sqlstate=state)
            now += rng.uniform(1, 8) * SECOND_US
        page.say(seat, now, text, min(1000, rows_of(rng, text, about)), about.row_bytes)
        now += rng.lognormvariate(1.3, 0.8) * SECOND_US
    return int(now)


def _text(seed: int, who: Identity, day: int, rng: Random) -> tuple[str, Relation]:
    if rng.random() < who.traits["new_shapes"] * 2:
        return rng.choice(_new_texts(seed, who, day))
    return zipf_pick(rng, _library(seed, who), 0.7)


@lru_cache(maxsize=4096)
def _new_texts(seed: int, who: Identity, day: int) -> list[tuple[str, Relation]]:
    rng = dice(seed, "new texts", who.name, day)
    count = max(2, round(who.per_day * who.traits["new_shapes"] * 0.8))
    return [_write(rng, zipf_pick(rng, who.relations, 0.8)) for _ in range(min(count, 25))]


@lru_cache(maxsize=64)
def _library(seed: int, who: Identity) -> list[tuple[str, Relation]]:
    rng = dice(seed, "library", who.name)
    return [_write(rng, zipf_pick(rng, who.relations, 0.8)) for _ in range(rng.randint(25, 60))]


def _write(rng: Random, relation: Relation) -> tuple[str, Relation]:
    maker = rng.choice(
        (texts.report, texts.report, texts.page, texts.join, texts.look, texts.count)
    )
    text = maker(rng, relation).replace("$1", "'42'")
    return (text if "LIMIT" in text else f"{text} LIMIT {rng.choice((50, 100, 200))}"), relation
