"""A week of one number in the terminal: a line for each day, a block for each hour. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from rich.text import Text

BLOCKS = " ▁▂▃▄▅▆▇█"
DAYS = 7
HOUR = timedelta(hours=1)


def week(values: Mapping[datetime, float], at: datetime) -> list[Text]:
    """``values`` by the start of their hour, in the zone of ``at``; the hour of ``at`` is marked.

    Heights are relative to the highest hour of the week.
    """
    most = max(values.values(), default=0.0)
    first = at.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=DAYS - 1)
    moment = at.replace(minute=0, second=0, microsecond=0)
    lines = [Text(f"           {'0':<6}{'6':<6}{'12':<6}{'18':<6}", "dim")]
    for number in range(DAYS):
        day = first + timedelta(days=number)
        hours = [day + hour * HOUR for hour in range(24)]
        lines.append(_line(day, hours, [values.get(hour, 0.0) for hour in hours], most, moment))
    return lines


def _line(
    day: datetime, hours: Sequence[datetime], values: Sequence[float], most: float, moment: datetime
) -> Text:
    line = Text(f"{day:%a %d.%m.} ", "dim")
    for hour, value in zip(hours, values, strict=True):
        line.append(block(value, most), "bold red" if hour == moment else "cyan")
    if moment in hours:
        line.append(f" ◀ {moment:%H}h: {values[hours.index(moment)]:,.0f}", "bold red")
    return line


def block(value: float, most: float) -> str:
    """
    >>> "".join(block(value, 8) for value in (0, 0.1, 4, 8))
    ' ▁▄█'
    """
    if value <= 0 or most <= 0:
        return BLOCKS[0]
    return BLOCKS[max(1, round(value / most * (len(BLOCKS) - 1)))]
