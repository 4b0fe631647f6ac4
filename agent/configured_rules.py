"""The rules that the configuration asks for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from config import schema
from rules import DEFAULT_PACKS, RuleSet, TunedException, Tuning


def load_rules(settings: schema.Rules, files: Sequence[Path] = ()) -> RuleSet:
    """Those of ``files``, else of the configured packs. Raises RuleError."""
    packs = files or settings.packs or [DEFAULT_PACKS]
    return RuleSet.load(packs, settings.vars, tuning(settings))


def tuning(settings: schema.Rules) -> Tuning:
    return Tuning(
        exceptions=tuple(
            TunedException(each.rule, each.when, each.because, each.until)
            for each in settings.exceptions
        ),
        actions=settings.actions,
        data_classes=settings.data_classes,
        windows={
            name: [opening.model_dump(by_alias=True) for opening in openings]
            for name, openings in settings.windows.items()
        },
        timezone=settings.timezone,
    )
