"""What is not over yet in a session: its open transaction, and a string that is being answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from collector.drift.changes import Change, Effect, ended_us
from collector.drift.one_string import ROLLBACK, OneString

Row = Mapping[str, Any]


@dataclass(slots=True)
class Session:
    pending: list[Effect] = field(default_factory=list)
    """Of the open transaction."""
    begun: bool = False
    """Its BEGIN came, where nothing says whether a transaction is open."""
    unsure: list[Effect] = field(default_factory=list)
    """Taken for committed by themselves, because nothing said that they were not."""
    transaction: int = 0
    savepoints: list[tuple[str, int]] = field(default_factory=list)
    """Name, and how many were pending then."""
    prepared: dict[str, Change] = field(default_factory=dict)
    """What SQL's PREPARE prepared, by name."""
    string: Told | None = None
    """Of several statements, that the server is answering."""


@dataclass(slots=True)
class Told:
    """A string of several statements of which each is told by itself, with the text of all."""

    text: str
    string: OneString
    effects: dict[int, list[Effect]] = field(default_factory=dict)
    """By its transactions."""
    count: int = 0
    """Of those that were told."""


def undo_to(session: Session, name: str) -> None:
    """A savepoint that is not known is older than all that is pending."""
    keep = 0
    for at in range(len(session.savepoints) - 1, -1, -1):
        if session.savepoints[at][0] == name:
            keep = session.savepoints[at][1]
            del session.savepoints[at + 1 :]
            break
    for effect in session.pending[keep:]:
        effect.undone = True
    del session.pending[keep:]


def last_that_counts(string: OneString) -> int:
    """What ran within some statement of it may have been in this transaction."""
    counting = [at for at, how in enumerate(string.ends) if how != ROLLBACK and string.of(at)]
    return counting[-1] if counting else 0


def fail(told: Told, row: Row) -> None:
    """A statement of it failed: what its transaction did before is undone, and the rest did not
    run. In a transaction that stays open, for a savepoint, its end says so."""
    if (row.get("transaction") or "")[1:2] in ("T", "E"):
        return
    failed_in = told.string.where[told.count]
    for transaction, effects in told.effects.items():
        if transaction >= failed_in:
            for effect in effects:
                effect.undone = True
    told.count = len(told.string.statements)


def as_other(effect: Effect, other: Effect | None, row: Row, how: str) -> None:
    """It ran in the same transaction as ``other``."""
    if other is not None:
        effect.committed_us, effect.undone = other.committed_us, other.undone
        effect.transaction = other.transaction
    else:
        effect.committed_us, effect.undone = ended_us(row), how == ROLLBACK


def goes_on(row: Row, string: OneString, *, open_before: bool) -> bool:
    """Its last transaction is still open when it is over."""
    status = row.get("transaction") or ""
    if status[1:2].strip("?"):
        return status[1:2] in ("T", "E")
    return string.begins or (open_before and not string.first_end)
