"""Days of the world: 0 is a Monday. Its date and the holiday depend on the seed."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from functools import cached_property

from bench.world.dice import dice

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
BLOCK_DAYS = 30
"""Campaigns and distractors are planned for blocks of so many days, whatever was asked for."""
QUIET_DAYS = 7
"""Days of history, without a campaign."""
_FIRST_MONDAY = datetime.date(2026, 1, 5)


@dataclass(frozen=True)
class Calendar:
    seed: int

    @cached_property
    def first(self) -> datetime.date:
        weeks = dice(self.seed, "first day").randrange(44)
        return _FIRST_MONDAY + datetime.timedelta(weeks=weeks)

    @cached_property
    def start_us(self) -> int:
        moment = datetime.datetime.combine(self.first, datetime.time(), datetime.UTC)
        return int(moment.timestamp()) * SECOND_US

    def at(self, day: int, hours: float = 0.0) -> int:
        return self.start_us + day * DAY_US + int(hours * HOUR_US)

    def day_of(self, at_us: int) -> int:
        return (at_us - self.start_us) // DAY_US

    def date(self, day: int) -> datetime.date:
        return self.first + datetime.timedelta(days=day)

    def weekend(self, day: int) -> bool:
        return day % 7 >= 5

    def holiday(self, day: int) -> bool:
        """One weekday in each block, not in its first eight days."""
        block, rest = divmod(day, BLOCK_DAYS)
        return rest == dice(self.seed, "holiday", block).choice(self._weekdays(block))

    def free(self, day: int) -> bool:
        return self.weekend(day) or self.holiday(day)

    def month_end(self, day: int) -> bool:
        """The last two days of a month and the first."""
        return self.date(day + 1).day in (1, 2) or self.date(day + 2).day == 1

    def _weekdays(self, block: int) -> list[int]:
        days = range(8, BLOCK_DAYS - 2)
        return [d for d in days if not self.weekend(block * BLOCK_DAYS + d)]
