"""The state at a start, and its saving: a damaged file is set aside, and that is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import structlog

from collector.drift import drift_file, rebuilding, state
from collector.drift.state import DamagedStateError, State
from model.finding import Finding

log = structlog.get_logger(__name__)


def load(folder: Path, record: Callable[[int], State], now_us: int) -> State:
    """The saved state, or where there is none ``record``'s, with a finding that says so.

    A file that was set aside has another in its place before this returns. Raises DriftStateError.
    """
    is_kept = state.is_kept(folder)
    try:
        if is_kept:
            return state.load(folder)
    except DamagedStateError as error:
        # Not the error's own text: it may quote a value.
        log.error("drift.state_damaged", folder=str(folder), error=type(error.__cause__).__name__)
    found = record(now_us)
    if not is_kept and not found.known:
        return found
    aside = state.set_aside(folder, now_us) if is_kept else ""
    told = rebuilding.told(found, now_us, aside)
    found.findings[told.id] = told
    state.save(folder, found)
    return found


def save(folder: Path, now: State, now_us: int) -> list[Finding]:
    """A file that went bad meanwhile is set aside and written anew, which is said. Raises
    DriftStateError."""
    try:
        state.save(folder, now)
        return []
    except DamagedStateError:
        aside = state.set_aside(folder, now_us)
        log.error("drift.state_damaged", folder=str(folder), kept_as=aside)
        now.stored = drift_file.Stored()
        state.save(folder, now)
        return [rebuilding.told_while_running(now_us, aside)]
