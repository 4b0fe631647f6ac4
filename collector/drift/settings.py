"""The section ``collector.drift`` as the words of this package."""

from __future__ import annotations

from collector.drift.declared import DeclaredFile, DeclaredState
from collector.drift.expectations import Expectations
from collector.drift.ignore import Ignored, IgnoreRule
from config.schema import Drift


def drift_expectations(settings: Drift) -> Expectations:
    return Expectations(
        Ignored(
            [
                IgnoreRule(
                    because=entry.because,
                    kind=str(entry.kind) if entry.kind else "",
                    name=entry.name,
                    database=entry.database,
                    cluster=entry.cluster,
                    until=entry.until,
                )
                for entry in settings.ignore
            ]
        ),
        DeclaredState(
            [DeclaredFile(entry.file, entry.cluster, entry.database) for entry in settings.declared]
        ),
    )
