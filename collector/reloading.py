"""Which parts of the configuration come into force without a restart, at SIGHUP."""

from __future__ import annotations

from config import CollectorConfig

RELOADABLE = ("approvals", "retention")
"""Sections whose parts can be told another one; the rest is wired at the start."""


def reloaded(old: CollectorConfig, new: CollectorConfig) -> tuple[CollectorConfig, list[str]]:
    """What is in force now, and the sections that differ and wait for a restart."""
    fresh = {name: getattr(new, name) for name in RELOADABLE}
    waiting = [
        name
        for name in type(old).model_fields
        if name not in RELOADABLE and getattr(old, name) != getattr(new, name)
    ]
    return old.model_copy(update=fresh), waiting
