"""Which parts of the configuration come into force without a restart, at SIGHUP."""

from __future__ import annotations

import hashlib

from config import CollectorConfig
from config.schema import CollectorApprovals

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


def digest(config: CollectorConfig) -> str:
    """Of what is in force, however it was written; secrets count as set or not set."""
    return hashlib.sha256(config.model_dump_json().encode()).hexdigest()


def certificates_of(approvals: CollectorApprovals) -> frozenset[str]:
    """Names of certificates that may decide about requests."""
    return frozenset(each.certificate for each in approvals.approvers if each.certificate)
