"""Wall-clock time as rules see it: the hour, the day, and the windows that are open. Pure.

All of it changes at full minutes only (zones differ from UTC by whole minutes, windows open and
close at them), so one look at each minute is enough to notice every change, a clock that jumped and
the ends of summer time included.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, tzinfo
from typing import TypeAlias

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MINUTES = 24 * 60
MINUTE_US = 60_000_000
Day: TypeAlias = date


@dataclass(frozen=True, slots=True)
class Moment:
    """What rules can see of a minute; fields that no rule looks at are empty."""

    hour: int = -1
    weekday: str = ""
    date: str = ""
    windows: tuple[str, ...] = ()
    """Names of those that are open."""
    today: Day | None = None
    """Set where an exception has a last day."""


NO_MOMENT = Moment()


@dataclass(frozen=True, slots=True)
class Opening:
    """One line of a window. Minutes count from midnight by the zone's wall clock; where ``closes``
    is not after ``opens`` it closes on the next day, and ``days`` are those on which it opens."""

    days: frozenset[str]
    opens: int
    closes: int
    zone: tzinfo

    def is_open(self, at: datetime) -> bool:
        local = at.astimezone(self.zone)
        minute = local.hour * 60 + local.minute
        today = DAYS[local.weekday()] in self.days
        if self.opens < self.closes:
            return today and self.opens <= minute < self.closes
        yesterday = DAYS[local.weekday() - 1] in self.days
        return (today and minute >= self.opens) or (yesterday and minute < self.closes)


@dataclass(frozen=True, slots=True)
class Calendar:
    zone: tzinfo = UTC
    """The zone of hour, weekday, date and the last days of exceptions."""
    windows: Mapping[str, tuple[Opening, ...]] = field(default_factory=dict)

    def moment(self, at_us: int, wanted: Collection[str]) -> Moment:
        """``at_us``: Unix microseconds. ``wanted``: names of a Moment's fields."""
        at = datetime.fromtimestamp(at_us // 1_000_000, UTC)
        local = at.astimezone(self.zone)
        seen = Moment(
            hour=local.hour,
            weekday=DAYS[local.weekday()],
            date=local.date().isoformat(),
            windows=self._open(at) if "windows" in wanted else (),
            today=local.date(),
        )
        unseen = {name: getattr(NO_MOMENT, name) for name in Moment.__slots__ if name not in wanted}
        return replace(seen, **unseen)

    def _open(self, at: datetime) -> tuple[str, ...]:
        return tuple(
            name
            for name, openings in self.windows.items()
            if any(opening.is_open(at) for opening in openings)
        )
