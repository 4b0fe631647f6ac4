"""A world: who is in it, what happens, and the statements of it day by day."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import polars as pl

from bench.world import assistants, dbas, jobs, machines, people
from bench.world.calendar import BLOCK_DAYS
from bench.world.campaigns import Played, campaigns_of
from bench.world.dice import dice
from bench.world.distractors import Life, life_of
from bench.world.drafts import DRAFT_SCHEMA, Page
from bench.world.identity import Identity
from bench.world.labels import Campaign, Distractor
from bench.world.scene import Scene
from bench.world.stream import frames, ordered

__all__ = ["Identity", "World"]

_DAYS_OF_ROLES = {
    "analyst": people.analyst_day,
    "support": people.support_day,
    "dba": dbas.dba_day,
    "etl": jobs.etl_day,
    "ai_agent": assistants.assistant_day,
}


class World:
    """``days`` cuts: a longer world begins with the same statements.

    With ``campaigns=False`` the same statements come, but for those of campaigns.
    """

    def __init__(self, seed: int = 1, days: int = 30, campaigns: bool = True) -> None:
        self.seed, self.days = seed, days
        self._scene = Scene(seed)
        self._hostile = campaigns

    @property
    def identities(self) -> tuple[Identity, ...]:
        return self._scene.cast

    @property
    def start_us(self) -> int:
        return self._scene.calendar.start_us

    @property
    def end_us(self) -> int:
        return self._scene.calendar.at(self.days)

    @property
    def campaigns(self) -> tuple[Campaign, ...]:
        """Those that begin before the end; one that goes on after it is cut."""
        return self._played.labels

    @property
    def distractors(self) -> tuple[Distractor, ...]:
        return tuple(d for d in self._life.distractors if d.from_us < self.end_us)

    def batches(self) -> Iterator[pl.DataFrame]:
        """Frames of at most 10,000 rows, in order of time."""
        for _, frame in self.by_day():
            yield frame

    def by_day(self, first: int = 0) -> Iterator[tuple[int, pl.DataFrame]]:
        """(day, batch) from day ``first`` on: what is in memory is one day."""
        known = {who.name: who for who in self.identities} | self._played.met | self._life.met
        late = pl.DataFrame(schema=DRAFT_SCHEMA)
        # What began the evening before may end after midnight.
        for day in range(max(0, first - 1), self.days):
            begin, end = self._scene.calendar.at(day), self._scene.calendar.at(day + 1)
            drafts = pl.concat([late, *self._drafts(day)])
            late = drafts.filter(pl.col("at_us") >= end)
            if day < first:
                continue
            today = drafts.filter(pl.col("at_us").is_between(begin, end, closed="left"))
            for frame in frames(self._scene.book, known.values(), ordered(today)):
                yield day, frame

    def _drafts(self, day: int) -> Iterator[pl.DataFrame]:
        scene = self._scene
        for machine in self._life.machines:
            yield machines.day(scene.book, scene.calendar, machine, day)
        for who in self.identities:
            if who.role in _DAYS_OF_ROLES:
                page = Page(scene.book, dice(self.seed, "day", who.name, day))
                _DAYS_OF_ROLES[who.role](page, scene.calendar, who, day)
                yield page.frame()
        begin, end = scene.calendar.at(day), scene.calendar.at(day + 1)
        inside = pl.col("at_us").is_between(begin, end, closed="left")
        yield self._life.drafts.filter(inside)
        yield self._played.drafts.filter(inside)

    @property
    def _blocks(self) -> int:
        return -(-self.days // BLOCK_DAYS)

    @cached_property
    def _life(self) -> Life:
        return life_of(self._scene, self._blocks)

    @cached_property
    def _played(self) -> Played:
        if not self._hostile:
            return Played.nothing()
        return campaigns_of(self._scene, self._blocks, self.end_us)
