"""``collector.retention`` as what the store is told."""

from __future__ import annotations

from datetime import datetime

from collector.retention import Hold, Retention
from config.schema import RetentionSettings


def retention_of(settings: RetentionSettings) -> Retention:
    holds = (
        Hold(each.because, _us(each.starts), _us(each.ends), tuple(each.tables))
        for each in settings.hold
    )
    days_of = {str(table): days for table, days in settings.days_of.items()}
    return Retention(settings.days, days_of, settings.max_bytes, tuple(holds))


def _us(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000)
