"""Analysts and support people: tasks of some statements, pauses, slips, exports, late evenings."""

from __future__ import annotations

from functools import lru_cache
from random import Random

from bench.world import texts
from bench.world.calendar import BLOCK_DAYS, HOUR_US, SECOND_US, Calendar
from bench.world.cast import vpn_address
from bench.world.dice import dice, poisson, zipf_pick
from bench.world.drafts import Page, Seat
from bench.world.identity import Identity
from bench.world.relations import Relation, of, relations

LEARNT_DAYS = 6
"""So long a text from a day is used again."""


def at_work(calendar: Calendar, who: Identity, day: int) -> bool:
    """Not on a free day (mostly), not on vacation, not ill, and hired."""
    if day < who.first_day:
        return False
    rng = dice(calendar.seed, "at work", who.name, day)
    if calendar.free(day):
        return rng.random() < (0.3 if who.role == "support" else 0.04)
    block, rest = divmod(day, BLOCK_DAYS)
    holidays = dice(calendar.seed, "vacation", who.name, block)
    begin, length = holidays.randint(0, 40), holidays.randint(2, 7)
    return not begin <= rest < begin + length and rng.random() > 0.03


def address_of(calendar: Calendar, who: Identity, day: int) -> str:
    """The desk, or what the VPN gives this day."""
    rng = dice(calendar.seed, "address", who.name, day)
    return who.addresses[0] if rng.random() < 0.6 else vpn_address(rng)


def tool_of(calendar: Calendar, who: Identity, day: int) -> str:
    """Some people change their tool once in a while."""
    block, rest = divmod(day, BLOCK_DAYS)
    tool = who.application_name
    for earlier in range(block + 1):
        switch, new = tool_switch(calendar, who, earlier)
        if new and (earlier < block or rest >= switch):
            tool = new
    return tool


def tool_switch(calendar: Calendar, who: Identity, block: int) -> tuple[int, str]:
    """Day in the block, and the new tool; empty if there is none."""
    rng = dice(calendar.seed, "tool", who.name, block)
    if who.role != "analyst" or rng.random() > 0.25:
        return 0, ""
    return rng.randint(8, 25), rng.choice(("DBeaver 26.0", "Beekeeper", "pgcli", "notebook 2"))


def moments(rng: Random, calendar: Calendar, who: Identity, day: int, count: int) -> list[int]:
    """Begins of tasks of a working day, around noon fewer."""
    hours = []
    while len(hours) < count:
        hour = who.start_hour + rng.betavariate(1.3, 1.4) * 9.2
        if not 12.2 < hour < 13.0 or rng.random() < 0.2:
            hours.append(hour)
    if rng.random() < who.traits["late"]:
        evening = rng.uniform(19.5, 22.8)
        hours += [evening + rng.uniform(0, 1.3) for _ in range(rng.randint(2, 5))]
    return sorted(calendar.at(day, hour) for hour in hours)


def analyst_day(page: Page, calendar: Calendar, who: Identity, day: int) -> None:
    rng = page.rng
    if not at_work(calendar, who, day):
        return
    share = 0.25 if calendar.free(day) else 1.0
    # Finance closes the month.
    if who.user_name == "finance" and calendar.month_end(day):
        share *= 1.8
    wanted = poisson(rng, who.per_day * share * rng.lognormvariate(0, 0.35))
    begins = moments(rng, calendar, who, day, max(1, wanted // 7))
    address = address_of(calendar, who, day)
    tool = tool_of(calendar, who, day)
    _password_slips(page, who, begins[0], address)
    seat = page.seat(who, begins[0], client_address=address, application_name=tool)
    _introspect(page, seat, begins[0])
    for n, begin in enumerate(begins):
        if n and rng.random() < 0.12:
            seat = page.seat(who, begin, client_address=address, application_name=tool)
            _introspect(page, seat, begin)
        at = begin
        for _ in range(rng.randint(3, 11)):
            at = _query(page, calendar, who, day, seat, at)


GRAPHICAL = ("DBeaver 25.2", "DBeaver 26.0", "DataGrip", "Beekeeper")
ASKED_BY_TOOLS = (
    "SELECT current_schema(), session_user, version()",
    "SELECT n.oid, n.nspname FROM pg_catalog.pg_namespace n",
    "SELECT c.oid, c.relname, c.relkind, c.reltuples FROM pg_catalog.pg_class c",
    "SELECT a.attname, a.atttypid FROM pg_catalog.pg_attribute a WHERE a.attrelid = 4711",
    "SELECT t.typname FROM pg_catalog.pg_type t",
    "SELECT r.rolname FROM pg_catalog.pg_roles r",
    "SELECT datname FROM pg_catalog.pg_database WHERE datallowconn",
    "SELECT conname FROM pg_catalog.pg_constraint WHERE conrelid = 4711",
    "SELECT proname FROM pg_catalog.pg_proc WHERE pronamespace = 2200",
)


def _introspect(page: Page, seat: Seat, at: int) -> None:
    """Graphical tools read the catalog whenever they connect."""
    if seat.application_name not in GRAPHICAL:
        return
    moment = seat.since_us
    for text in ASKED_BY_TOOLS[: page.rng.randint(4, len(ASKED_BY_TOOLS))]:
        moment += page.rng.randint(2_000, 30_000)
        page.say(seat, moment, text, page.rng.lognormvariate(3.5, 1), 90)


def _scratch(page: Page, who: Identity, seat: Seat, at: int) -> None:
    """A table of one's own for an hour."""
    rng = page.rng
    name = f"sandbox.tmp_{who.name.split('.')[0]}_{rng.randint(1, 4)}"
    relation = zipf_pick(rng, who.relations)
    rows = min(relation.rows, rng.lognormvariate(8, 1.5))
    page.say(seat, at, f"CREATE TABLE {name} AS SELECT * FROM {relation.said}", rows)
    page.say(seat, at + 40 * SECOND_US, f"SELECT * FROM {name} LIMIT 100", min(rows, 100))
    page.say(seat, at + rng.randint(60, 900) * SECOND_US, f"DROP TABLE {name}")


def _query(page: Page, calendar: Calendar, who: Identity, day: int, seat: Seat, at: int) -> int:
    """One query and what its author does about a slip; gives the moment of the next."""
    rng = page.rng
    pause = int(rng.lognormvariate(3.3, 1.0) * SECOND_US) + SECOND_US
    if rng.random() < 0.003:
        refused = rng.choice([r for r in relations() if r.place == who.home])
        page.say(seat, at, texts.look(rng, refused), sqlstate="42501")
        return at + pause
    if who.home.database == "dw" and rng.random() < 0.006:
        _scratch(page, who, seat, at)
        return at + pause
    closing = who.user_name == "finance" and calendar.month_end(day)
    if rng.random() < who.traits["exports"] * (2 if closing else 1):
        relation = zipf_pick(rng, who.relations, 0.7)
        text = texts.export(rng, relation)
        mu = who.traits["scale"] + (2.0 if closing else 1.0)
        rows = min(relation.rows, rng.lognormvariate(mu, who.traits["spread"]))
        page.say(seat, at, text, rows, relation.row_bytes)
        return at + pause
    text, relation = _text(calendar, who, day, rng)
    if rng.random() < 0.035:
        wrong, state = texts.misspelt(rng, text)
        page.say(seat, at, wrong, sqlstate=state)
        at += int(rng.uniform(4, 40) * SECOND_US)
    if "GROUP BY" in text and rng.random() < 0.004:
        page.say(seat, at, text, sqlstate=rng.choice(("22012", "22P02", "57014")))
        at += int(rng.uniform(10, 90) * SECOND_US)
    page.say(seat, at, text, rows_of(rng, text, relation), relation.row_bytes)
    return at + pause


def rows_of(rng: Random, text: str, relation: Relation) -> float:
    if "LIMIT " in text:
        return min(int(text.rsplit("LIMIT ", 1)[1].split()[0]), relation.rows)
    if "GROUP BY" in text:
        return min(relation.rows, rng.lognormvariate(3.2, 1.4))
    return min(relation.rows, rng.lognormvariate(1.5, 1.6))


def _text(calendar: Calendar, who: Identity, day: int, rng: Random) -> tuple[str, Relation]:
    if rng.random() < who.traits["new_shapes"]:
        return rng.choice(_new_texts(calendar.seed, who, day))
    if rng.random() < 0.2:
        lately = max(who.first_day, day - rng.randint(1, LEARNT_DAYS), 0)
        return rng.choice(_new_texts(calendar.seed, who, lately))
    return zipf_pick(rng, library(calendar.seed, who), 0.8)


@lru_cache(maxsize=4096)
def _new_texts(seed: int, who: Identity, day: int) -> list[tuple[str, Relation]]:
    """What somebody thinks of on a day; now and then it is about a relation that is new to them."""
    rng = dice(seed, "new texts", who.name, day)
    found = []
    wander = rng.random() < who.traits["wander"]
    elsewhere = rng.choice(of(who.home.database))
    for n in range(max(2, round(who.per_day * who.traits["new_shapes"] * 0.4))):
        relation = elsewhere if wander and n < 2 else zipf_pick(rng, who.relations)
        found.append((_write(rng, relation), relation))
    return found


@lru_cache(maxsize=256)
def library(seed: int, who: Identity) -> list[tuple[str, Relation]]:
    """Saved queries."""
    rng = dice(seed, "library", who.name)
    chosen = [zipf_pick(rng, who.relations, 0.6) for _ in range(rng.randint(18, 45))]
    return [(_write(rng, relation), relation) for relation in chosen]


def _write(rng: Random, relation: Relation) -> str:
    kind = rng.random()
    if kind < 0.6:
        return texts.report(rng, relation)
    if kind < 0.8:
        return texts.look(rng, relation)
    if kind < 0.9:
        return texts.join(rng, relation, "4711")
    return texts.count(rng, relation, "'open'")


def _password_slips(page: Page, who: Identity, at: int, address: str) -> None:
    rng = page.rng
    if rng.random() < 0.03:
        seat = page.seat(who, at, client_address=address)
        for n in range(rng.choice((1, 1, 2, 3))):
            page.fail_login(seat, at - (60 - 12 * n) * SECOND_US)


@lru_cache(maxsize=16)
def tickets(seed: int) -> tuple[list[tuple[str, Relation]], ...]:
    """Screens of the back office: each runs the same few statements for everybody."""
    rng = dice(seed, "back office")
    tables = of("shop", "crm")[:7] + of("shop", "public")[:4]
    screens = []
    for _ in range(9):
        screen = []
        for _ in range(rng.randint(2, 6)):
            relation = zipf_pick(rng, tables, 0.5)
            maker = rng.choice((texts.point, texts.page, texts.page, texts.join, texts.count))
            screen.append((maker(rng, relation), relation))
        screens.append(screen)
    for relation in (tables[1], tables[2], tables[3], tables[1]):
        writer = rng.choice((texts.update, texts.insert))
        screens.append([(writer(rng, relation), relation)])
    return tuple(screens)


def support_day(page: Page, calendar: Calendar, who: Identity, day: int) -> None:
    rng = page.rng
    if not at_work(calendar, who, day):
        return
    wanted = poisson(rng, who.per_day * rng.lognormvariate(0, 0.2))
    screens = tickets(calendar.seed)
    weights = [1 / (n + 1) ** 0.7 for n in range(len(screens))]
    address = address_of(calendar, who, day)
    begins = moments(rng, calendar, who, day, max(2, wanted // 6))
    _password_slips(page, who, begins[0], address)
    seat = page.seat(who, begins[0], client_address=address)
    for begin in begins:
        at = begin
        for screen in rng.choices(screens, weights, k=rng.randint(1, 3)):
            for text, relation in screen:
                rows = rng.randint(0, 20) if "LIMIT" in text else rng.randint(1, 6)
                page.say(seat, at, text, rows, relation.row_bytes)
                at += int(rng.uniform(0.002, 0.05) * SECOND_US)
            at += int(rng.lognormvariate(3.6, 0.7) * SECOND_US)
        if rng.random() < 0.02:
            seat = page.seat(who, at + HOUR_US // 60, client_address=address)
