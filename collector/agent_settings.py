"""What each agent was started with: who makes it see, guard or redact less leaves it on record.

As ``guard_modes.py``, for all other settings: which ones changed, by name, and no value.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping

from collector.commands import AgentState
from collector.guard_modes import AGAIN_US, Note

KIND = "agent_configuration"
MOST_NAMED = 20
"""Settings that one note names; the others are counted in it."""


class AgentSettings:
    """Pure: states and the time in, notes out. The first one of an agent says what is so."""

    def __init__(self, known: Mapping[str, Mapping[str, str]] | None = None) -> None:
        """``known``: digests by setting, by agent, that stand in the ledger already."""
        self._noted: dict[str, tuple[dict[str, str], int]] = {
            agent: (dict(settings), 0) for agent, settings in (known or {}).items() if settings
        }
        """The settings and when they were noted, by agent."""

    def observe(self, states: Iterable[AgentState], now_us: int) -> list[Note]:
        notes: list[Note] = []
        for state in states:
            name, settings = state.hello.agent, dict(state.hello.configuration)
            was, at_us = self._noted.get(name, ({}, now_us - AGAIN_US))
            if not settings or settings == was or now_us - at_us < AGAIN_US:
                continue
            self._noted[name] = (settings, now_us)
            facts: dict[str, str | int] = {"agent": name, "sha256": _digest(settings)}
            if was:
                facts |= {"was": _digest(was), "changed": _changed(was, settings)}
            notes.append((KIND, facts))
        return notes


def _digest(settings: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _changed(was: Mapping[str, str], settings: Mapping[str, str]) -> str:
    names = sorted(
        name for name in was.keys() | settings.keys() if was.get(name) != settings.get(name)
    )
    more = len(names) - MOST_NAMED
    return ", ".join([*names[:MOST_NAMED], *([f"and {more} more"] if more > 0 else [])])
