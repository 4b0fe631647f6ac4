"""Ordinary life that is loud: what people and jobs do once in a while, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from bench.world import chores, operations, people
from bench.world.act import Act
from bench.world.calendar import BLOCK_DAYS, Calendar
from bench.world.dice import dice
from bench.world.drafts import DRAFT_SCHEMA, Page
from bench.world.identity import Identity
from bench.world.labels import Distractor
from bench.world.life import INCIDENTS, incident, machines_of
from bench.world.machines import Machine
from bench.world.scene import Scene


@dataclass(frozen=True)
class Chore:
    """Something that happens so many times in a block to somebody of these roles."""

    kind: str
    roles: tuple[str, ...]
    times: tuple[int, int]
    play: Callable[[Act], str]
    hours: tuple[float, float] = (9.0, 17.0)
    any_day: bool = False


CHORES = (
    Chore("migration", ("migrator",), (3, 5), operations.migration, (9, 22)),
    Chore("backfill", ("etl",), (1, 3), operations.backfill, (7, 20)),
    Chore("pg_dump", ("dba",), (1, 2), operations.one_dump, (9, 23)),
    Chore("index_build", ("dba",), (2, 3), operations.index_build, (17, 23)),
    Chore("tuning", ("dba",), (2, 3), operations.tuning),
    Chore("cleanup", ("dba", "service", "etl"), (2, 4), operations.cleanup, (1, 20), True),
    Chore("access_review", ("dba",), (1, 1), operations.access_review),
    Chore("password_rotation", ("service", "etl"), (2, 3), operations.password_rotation, (8, 18)),
    Chore("new_service", ("dba",), (1, 2), operations.new_service),
    Chore("resync", ("crm_sync", "search_indexer", "partner"), (1, 3), operations.resync, (0, 23)),
    Chore("break_glass", ("service",), (1, 2), operations.break_glass, (8, 23), True),
    Chore("password_expiry", ("dba",), (1, 1), operations.password_expiry, (7, 8)),
    Chore("new_database", ("analyst", "etl", "bi", "ai_agent"), (2, 4), chores.new_database),
    Chore("new_project", ("analyst",), (2, 4), chores.new_project),
    Chore("one_off_export", ("analyst", "dba", "support"), (2, 3), chores.one_off_export),
    Chore("deadline", ("analyst",), (2, 3), chores.deadline, (20.5, 23.5)),
    Chore("travel", ("analyst", "dba"), (2, 3), chores.travel, (5, 9)),
    Chore("agent_release", ("ai_agent",), (1, 3), chores.agent_release, (9, 17)),
    Chore("config_change", ("analyst",), (4, 7), chores.config_change),
)


@dataclass(frozen=True)
class Life:
    machines: tuple[Machine, ...]
    distractors: tuple[Distractor, ...]
    drafts: pl.DataFrame
    met: dict[str, Identity]


def life_of(scene: Scene, blocks: int) -> Life:
    machines, told = machines_of(scene, blocks)
    parts = [pl.DataFrame(schema=DRAFT_SCHEMA)]
    met: dict[str, Identity] = {}
    for block in range(blocks):
        told += _calendar(scene.calendar, scene.cast, block)
        played = [_incident(scene, block, number) for number in range(INCIDENTS)]
        for chore in CHORES:
            rng = dice(scene.seed, chore.kind, block)
            times = range(rng.randint(*chore.times))
            played += [_chore(scene, chore, block, number) for number in times]
        for page, distractor in played:
            parts.append(page.frame())
            told.append(distractor)
            met |= page.met
    told.sort(key=lambda d: (d.from_us, d.kind, d.identities))
    return Life(machines, tuple(told), pl.concat(parts), met)


def _calendar(calendar: Calendar, everybody: tuple[Identity, ...], block: int) -> list[Distractor]:
    """Holiday, month end, new colleagues, new tools: made elsewhere, told here."""
    told = []
    for day in range(block * BLOCK_DAYS, (block + 1) * BLOCK_DAYS):
        begin, end = calendar.at(day), calendar.at(day + 1)
        if calendar.holiday(day):
            told.append(Distractor("holiday", (), begin, end, "few people, more customers"))
        if calendar.month_end(day):
            names = tuple(
                w.called for w in everybody if w.user_name == "finance" or w.role == "etl"
            )
            told.append(Distractor("month_end", names, begin, end, "long runs, large exports"))
        hired = tuple(w.called for w in everybody if 0 < w.first_day == day)
        if hired:
            told.append(Distractor("new_hire", hired, begin, end, "first day"))
    for who in everybody:
        day, tool = people.tool_switch(calendar, who, block)
        if tool:
            begin = calendar.at(block * BLOCK_DAYS + day)
            until = calendar.at((block + 1) * BLOCK_DAYS)
            told.append(Distractor("new_tool", (who.called,), begin, until, tool))
    return told


def _incident(scene: Scene, block: int, number: int) -> tuple[Page, Distractor]:
    name, at, until = incident(scene, block, number)
    service = scene.named(name)
    rng = dice(scene.seed, "on call", block, number)
    page = Page(scene.book, rng)
    act = Act(scene, page, rng.choice(scene.role("dba")), at, 0.5)
    reason = operations.on_call(act, service, until)
    return page, _told("incident", page, reason)


def _chore(scene: Scene, chore: Chore, block: int, number: int) -> tuple[Page, Distractor]:
    rng = dice(scene.seed, chore.kind, block, number)
    candidates = [w for w in scene.cast if w.user_name in chore.roles or w.role in chore.roles]
    who, day = candidates[0], block * BLOCK_DAYS
    for _ in range(200):
        who = rng.choice(candidates)
        day = block * BLOCK_DAYS + rng.randint(0, BLOCK_DAYS - 1)
        at_work = who.kind != "human" or people.at_work(scene.calendar, who, day)
        if chore.any_day or (at_work and not scene.calendar.free(day)):
            break
    page = Page(scene.book, rng)
    act = Act(scene, page, who, scene.calendar.at(day, rng.uniform(*chore.hours)), rng.random())
    reason = chore.play(act)
    return page, _told(chore.kind, page, reason)


def _told(kind: str, page: Page, reason: str) -> Distractor:
    names = tuple(dict.fromkeys(who.called for who in page.met.values()))
    times = page.columns["at_us"]
    return Distractor(kind, names, min(times), max(times), reason)  # type: ignore[type-var]
