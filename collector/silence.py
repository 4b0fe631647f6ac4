"""Agents that are not heard any more: the gap in the record begins here, and the ledger says so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from collector.commands import AgentState

SILENT_US = 20_000_000
"""An agent says every five seconds that it lives."""

SILENT = "agent_silent"
HEARD = "agent_heard"

Gap = tuple[str, dict[str, str | int]]
"""Kind and facts of a note for the ledger."""


class Silences:
    """Pure: states and the time in, notes out, one at the beginning and one at the end of a gap."""

    def __init__(self, silent: Mapping[str, int] | None = None) -> None:
        """``silent``: those of whose gap the ledger has the beginning already."""
        self.silent: dict[str, int] = dict(silent or {})
        """Since when, Unix microseconds, by agent."""

    def observe(self, states: Iterable[AgentState], now_us: int) -> list[Gap]:
        notes: list[Gap] = []
        states = [*states]
        for retired in self.silent.keys() - {state.hello.agent for state in states}:
            del self.silent[retired]
        for state in states:
            name, is_silent = state.hello.agent, now_us - state.missed_since_us > SILENT_US
            if is_silent and name not in self.silent:
                self.silent[name] = state.last_seen_us
                notes.append((SILENT, {**_place(state), "since_us": state.last_seen_us}))
            elif not is_silent and name in self.silent and not state.awaited_since_us:
                since_us = self.silent.pop(name)
                facts = {**_place(state), "since_us": since_us, "until_us": state.last_seen_us}
                notes.append((HEARD, facts))
        return notes


def _place(state: AgentState) -> dict[str, str | int]:
    """The boot tells a restart of the host from one of the agent; epoch and sequence say which
    batches were here then."""
    return {
        "agent": state.hello.agent,
        "boot_id": state.hello.boot_id,
        "epoch": state.hello.epoch,
        "sequence": state.acked_sequence,
    }
