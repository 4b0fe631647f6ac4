"""Time zones and windows as they are written, in a rule file or in the configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo
from difflib import get_close_matches
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml

from rules.calendar import DAY_MINUTES, DAYS, Opening
from rules.language.document import Document

WINDOW_FIELDS = ("days", "from", "to", "timezone")
NAME = re.compile(r"[a-z_][a-z0-9_-]{0,63}")
CLOCK = re.compile(r"([01][0-9]|2[0-4]):([0-5][0-9])")


@dataclass(frozen=True, slots=True)
class WrittenOpening:
    """Without a zone of its own, that of the rule set counts."""

    days: frozenset[str]
    opens: int
    closes: int
    zone: tzinfo | None

    def opening(self, zone: tzinfo) -> Opening:
        return Opening(self.days, self.opens, self.closes, self.zone or zone)


def zone_of(text: str) -> tzinfo:
    """Raises ValueError with a sentence."""
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        message = f"the time zone {text!r} is unknown on this host; write it like Europe/Berlin"
        raise ValueError(message) from None


def day_of(text: str) -> str:
    if text in DAYS:
        return text
    close = get_close_matches(text, DAYS, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(DAYS)}"
    raise ValueError(f"the day {text!r} is unknown; {hint}")


def minute_of(text: str) -> int:
    """Of the day; 24:00 is its end."""
    match = CLOCK.fullmatch(text)
    minute = int(match[1]) * 60 + int(match[2]) if match else DAY_MINUTES + 1
    if minute > DAY_MINUTES:
        raise ValueError(f'{text!r} is no time of day; write it like "01:30"')
    return minute


def written_opening(values: Mapping[str, object]) -> WrittenOpening:
    """From the configuration. Raises ValueError with a sentence."""
    given = values.get("days") or DAYS
    days = frozenset(day_of(str(day)) for day in given)  # type: ignore[attr-defined] # a list
    opens, closes = minute_of(str(values.get("from"))), minute_of(str(values.get("to")))
    if opens == closes:
        raise ValueError("it opens and closes at the same time")
    zone = values.get("timezone")
    return WrittenOpening(days, opens, closes, zone_of(str(zone)) if zone else None)


def read_zone(document: Document, node: yaml.Node | None) -> tzinfo | None:
    if node is None:
        return None
    try:
        return zone_of(document.text(node, "timezone"))
    except ValueError as error:
        document.problem(node, f"timezone: {error}")
        return None


def read_openings(document: Document, name: str, node: yaml.Node) -> tuple[WrittenOpening, ...]:
    """One mapping, or a list of them."""
    items = [node] if isinstance(node, yaml.MappingNode) else document.sequence(node, "a window")
    return tuple(found for each in items if (found := _opening(document, f"windows.{name}", each)))


def _opening(document: Document, what: str, node: yaml.Node) -> WrittenOpening | None:
    fields = document.mapping(node, what, WINDOW_FIELDS)
    if not fields:
        return None
    days = set(DAYS)
    if "days" in fields:
        days = set()
        for each in document.sequence(fields["days"], "days"):
            try:
                days.add(day_of(document.text(each, "a day")))
            except ValueError as error:
                document.problem(each, f"{what}: {error}")
        if not days and not document.problems:
            document.problem(fields["days"], f"{what}: it never opens: days is empty")
    minutes = [_minute(document, what, fields, name, node) for name in ("from", "to")]
    opens, closes = minutes
    if opens is None or closes is None:
        return None
    if opens == closes:
        document.problem(node, f"{what}: it opens and closes at the same time")
        return None
    return WrittenOpening(
        frozenset(days), opens, closes, read_zone(document, fields.get("timezone"))
    )


def _minute(
    document: Document, what: str, fields: Mapping[str, yaml.Node], name: str, node: yaml.Node
) -> int | None:
    if name not in fields:
        document.problem(node, f"{what}: the field {name!r} is missing")
        return None
    try:
        return minute_of(document.text(fields[name], name))
    except ValueError as error:
        document.problem(fields[name], f"{what}: {name}: {error}")
        return None
