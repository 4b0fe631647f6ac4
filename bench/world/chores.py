"""Loud work of people and AI agents: projects, exports for an auditor, nights before a deadline."""

from __future__ import annotations

from bench.world import people, texts
from bench.world.act import Act
from bench.world.calendar import BLOCK_DAYS, HOUR_US
from bench.world.campaigns.tampering import CONFIGURATION
from bench.world.cast import outside_address, vpn_address
from bench.world.dice import dice, zipf_pick
from bench.world.drafts import Seat
from bench.world.relations import Relation, of, place, relation


def new_project(act: Act) -> str:
    """Relations that somebody never used, for some days; first a right is missing."""
    tables = act.unknown(act.who.home.database)[: act.rng.randint(3, 7)]
    days = act.rng.randint(3, 8)
    first = act.day
    seat = act.seat()
    for target in tables[: act.rng.randint(0, 2)]:
        act.say(seat, texts.look(act.rng, target), sqlstate="42501")
        act.wait(20, 200)
    count = 0
    for day in range(first, first + days):
        if day > first and not people.at_work(act.calendar, act.who, day):
            continue
        if day > first:
            act.now = act.calendar.at(day, act.who.start_hour + act.rng.uniform(0.2, 5))
        seat = act.seat()
        for _ in range(act.rng.randint(4, 20)):
            _ask(act, seat, act.rng.choice(tables))
            count += 1
    return f"{count} queries on {len(tables)} relations in {days} days"


def new_database(act: Act) -> str:
    """Somebody is given another database, looks around in it and uses it from then on."""
    home = act.who.home.database
    name = act.rng.choice([n for n in ("shop", "billing", "dw", "ml") if n != home])
    tables = act.rng.sample(of(name), act.rng.randint(2, 6))
    days = act.rng.randint(2, 10)
    first = act.day
    for day in range(first, first + days):
        if day > first:
            if act.calendar.free(day):
                continue
            act.now = act.calendar.at(day, max(6.0, act.who.start_hour) + act.rng.uniform(0.2, 6))
        seat = act.seat(place(name))
        if day == first:
            act.look_around(seat, act.rng.randint(1, 6))
        for _ in range(act.rng.randint(3, 15)):
            _ask(act, seat, act.rng.choice(tables))
    return f"{name} for {days} days"


def _ask(act: Act, seat: Seat, target: Relation) -> None:
    maker = act.rng.choice((texts.report, texts.look, texts.report, texts.join, texts.export))
    text = maker(act.rng, target).replace("$1", "'x'")
    rows = people.rows_of(act.rng, text, target)
    if maker is texts.export:
        rows = act.rng.lognormvariate(6, 1.5)
    act.say(seat, text, rows, target)
    act.wait(15, 400)


def one_off_export(act: Act) -> str:
    """Asked for by an auditor or a customer: more than this person ever took."""
    target = zipf_pick(act.rng, act.who.relations, 0.3)
    factor = act.rng.uniform(1.5, 5)
    rows = act.who.usual_most_rows * factor
    act.say(act.seat(), texts.export(act.rng, target), rows, target)
    return f"{min(rows, target.rows):,.0f} rows of {target.said}, asked for"


def deadline(act: Act) -> str:
    """One to three nights with usual queries."""
    nights = act.rng.randint(1, 3)
    first, hour = act.day, (act.now - act.calendar.at(act.day)) / HOUR_US
    saved = people.library(act.scene.seed, act.who)
    for night in range(nights):
        act.now = act.calendar.at(first + night, hour)
        seat = act.seat(client_address=vpn_address(act.rng))
        end = act.now + act.rng.uniform(0.7, 3.5) * HOUR_US
        while act.now < end:
            text, target = zipf_pick(act.rng, saved, 0.7)
            act.say(seat, text, people.rows_of(act.rng, text, target), target)
            act.wait(20, 500)
    return f"{nights} nights"


def travel(act: Act) -> str:
    """From a hotel, some hours earlier than usual."""
    days, address = act.rng.randint(1, 4), outside_address(act.rng)
    first = act.day
    shift = act.rng.uniform(-4, -1)
    for day in range(first, first + days):
        act.now = act.calendar.at(day, act.who.start_hour + shift)
        seat = act.seat(client_address=address)
        for _ in range(act.rng.randint(8, 40)):
            _usual(act, seat)
    return f"{days} days from {address}"


def _usual(act: Act, seat: Seat) -> None:
    if act.who.role == "analyst":
        text, target = zipf_pick(act.rng, people.library(act.scene.seed, act.who), 0.7)
    else:
        target = zipf_pick(act.rng, act.who.relations)
        text = texts.look(act.rng, target)
    act.say(seat, text, people.rows_of(act.rng, text, target), target)
    act.wait(15, 300)


def agent_release(act: Act) -> str:
    """A new prompt: from now on an AI agent uses some relations more."""
    tables = act.unknown(act.who.home.database)[: act.rng.randint(2, 4)]
    shapes = [
        (texts.report(act.rng, t).split(" LIMIT ")[0] + " LIMIT 100", t)
        for t in tables
        for _ in range(5)
    ]
    end = act.calendar.at((act.day // BLOCK_DAYS + 1) * BLOCK_DAYS)
    pause = act.rng.uniform(500, 2500)
    while act.now < end:
        hour = (act.now - act.calendar.at(act.day)) / HOUR_US
        if 7.5 < hour < 18.5 and not act.calendar.free(act.day):
            text, target = act.rng.choice(shapes)
            rows = min(100, people.rows_of(act.rng, text, target))
            act.say(act.seat(), text, rows, target)
        act.wait(pause * 0.2, pause * 1.8)
    return f"{', '.join(t.said for t in tables)} from now on"


def config_change(act: Act) -> str:
    """Flags and prices that product owners change: always the same two people."""
    owners = [w for w in act.scene.cast if w.role == "analyst"][:2]
    act.who = act.rng.choice(owners)
    owned = dice(act.scene.seed, "owned").sample(CONFIGURATION, 4)
    database, name, change = act.rng.choice(owned)
    target = relation(database, name)
    seat = act.seat(target.place)
    act.say(seat, f"SELECT * FROM {target.said} WHERE id = 7", 1, target)
    act.wait(10, 100)
    act.say(seat, f"UPDATE {target.said} SET {change} WHERE id = 7", 1, target)
    return f"{target.said}"
