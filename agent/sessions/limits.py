"""How much the tracker keeps at most; over a limit it lets go of the oldest and counts it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    sessions: int = 20_000
    pending_per_backend: int = 1_000
    waiting: int = 100_000
    """Ended statements and loose records that wait for the other source."""
    text_bytes: int = 64 << 20
    """Over this, new statements keep a prefix only."""
    audit_text_chars: int = 16 << 20
    """Of the audit records that no statement has (what a record is without its text counts as 500);
    over this, new ones keep a prefix, and over twice as much the oldest wait no longer.
    """
    short_text_bytes: int = 1024
    records_per_statement: int = 1_000
    nested_per_statement: int = 1_000
    """Of a running statement that wait for their audit records."""


DEFAULT_LIMITS = Limits()
