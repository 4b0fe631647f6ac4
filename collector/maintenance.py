"""Maintenance of the configuration as mutes of the gate; schedules are written as rules' are."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from analytics.gate import Mute
from config.schema import MaintenanceEntry
from rules.calendar import Opening
from rules.language.schedule import written_opening


class MaintenanceError(ValueError):
    """A window cannot be read; the message says which."""


def mutes(entries: Iterable[MaintenanceEntry]) -> tuple[Mute, ...]:
    """Raises MaintenanceError."""
    return tuple(_mute(entry) for entry in entries)


def _mute(entry: MaintenanceEntry) -> Mute:
    try:
        openings = tuple(
            written_opening(each.model_dump(by_alias=True)).opening(UTC) for each in entry.weekly
        )
    except ValueError as error:
        raise MaintenanceError(f"{entry.because!r}: {error}") from error

    def is_open(at_us: int) -> bool:
        return _is_open(entry, openings, datetime.fromtimestamp(at_us / 1e6, UTC))

    return Mute(entry.because, is_open, entry.identity, entry.database, entry.agent, entry.detector)


def _is_open(entry: MaintenanceEntry, openings: tuple[Opening, ...], at: datetime) -> bool:
    if entry.starts and at < entry.starts:
        return False
    if entry.ends and at >= entry.ends:
        return False
    return not openings or any(each.is_open(at) for each in openings)
