"""How each agent guards, as it says itself: who disarms a guard leaves that in the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from collector.commands import AgentState

KIND = "guard_mode"
AGAIN_US = 60_000_000
"""So seldom one agent is noted: one that says another mode in each message fills no ledger."""
MAX_MODE = 16
"""``observe`` and ``enforce``; an agent may say anything."""

Note = tuple[str, dict[str, str | int]]
"""Kind and facts."""


class GuardModes:
    """Pure: states and the time in, notes out. The first one of an agent says what is so."""

    def __init__(self, known: Mapping[str, str] | None = None) -> None:
        """``known``: modes by agent that stand in the ledger already."""
        self._noted: dict[str, tuple[str, int]] = {
            agent: (mode, 0) for agent, mode in (known or {}).items() if mode
        }
        """The mode and when it was noted, by agent."""

    def observe(self, states: Iterable[AgentState], now_us: int) -> list[Note]:
        notes: list[Note] = []
        for state in states:
            name, mode = state.hello.agent, state.status.guard_mode[:MAX_MODE]
            was, at_us = self._noted.get(name, ("", now_us - AGAIN_US))
            if not mode or mode == was or now_us - at_us < AGAIN_US:
                continue
            self._noted[name] = (mode, now_us)
            notes.append((KIND, {"agent": name, "mode": mode, "was": was}))
        return notes
