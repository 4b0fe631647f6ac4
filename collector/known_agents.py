"""Which agents there are, over restarts of the collector: one that does not come back is missed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import structlog
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from collector.agent_settings import AgentSettings
from collector.commands import Agents, AgentState
from collector.guard_modes import GuardModes
from collector.silence import Silences
from protos.pgwarden.v1 import uplink_pb2 as pb

SAVE_SECONDS = 30.0
"""So old may be what is said of an agent after a crash of the collector."""

log = structlog.get_logger(__name__)


class Roster:
    """Agents as they come, go, fall silent and change how they work. Kept in ``file``; without it
    those of the ledger count, and a power cut may take it."""

    def __init__(
        self,
        file: Path,
        agents: Agents,
        of_ledger: Iterable[str],
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        """``of_ledger``: names of all agents that have ever sent anything."""
        self._file = file
        self._agents = agents
        self._now_us = now_us
        self._save_at = 0.0
        self._saved: list[tuple[str, bool, bool]] = []
        """Each agent's name, whether it was connected, and silent."""
        states = self._read(of_ledger)
        agents.expect(state for state, _ in states)
        self._silences = Silences({s.hello.agent: since for s, since in states if since})
        self._guard_modes = GuardModes(
            {state.hello.agent: state.status.guard_mode for state, _ in states}
        )

        self._settings = AgentSettings(
            {state.hello.agent: state.hello.configuration for state, _ in states}
        )

    def turn(self, note: Callable[..., None]) -> None:
        """Call it often: it writes where somebody came or went, else now and then. ``note``: see
        ``Store.note``."""
        states = self._agents.states()
        seen = states, self._now_us()
        for watch in (self._silences, self._guard_modes, self._settings):
            for kind, facts in watch.observe(*seen):
                note(kind, **facts)
        silent = self._silences.silent
        now = [(s.hello.agent, s.connected, s.hello.agent in silent) for s in states]
        if now != self._saved or time.monotonic() >= self._save_at:
            self._saved, self._save_at = now, time.monotonic() + SAVE_SECONDS
            self.save()

    def save(self) -> None:
        silent = self._silences.silent
        part = self._file.with_name(f"{self._file.name}.part")
        try:
            self._file.parent.mkdir(exist_ok=True)
            told = [_written(state, silent) for state in self._agents.states()]
            part.write_text(json.dumps(told, indent=1))
            part.replace(self._file)
        except OSError as error:
            log.warning("agents.not_kept", file=str(self._file), problem=str(error))

    def _read(self, of_ledger: Iterable[str]) -> list[tuple[AgentState, int]]:
        """None connected; and since when those are silent of whom the ledger says so."""
        now_us = self._now_us()
        try:
            return [_read(entry, now_us) for entry in json.loads(self._file.read_bytes())]
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, ParseError) as error:
            log.warning("agents.not_read", file=str(self._file), problem=str(error))
        return [(_unknown(agent, now_us), 0) for agent in sorted({*of_ledger})]


def _unknown(agent: str, now_us: int) -> AgentState:
    hello = pb.Hello(agent=agent)
    return AgentState(hello, False, now_us, pb.Status(), awaited_since_us=now_us)


def _read(entry: dict[str, Any], now_us: int) -> tuple[AgentState, int]:
    hello = ParseDict(entry["hello"], pb.Hello(), ignore_unknown_fields=True)
    status = ParseDict(entry["status"], pb.Status(), ignore_unknown_fields=True)
    seen_us, sequence = int(entry["last_seen_us"]), int(entry["acked_sequence"])
    state = AgentState(hello, False, seen_us, status, sequence, awaited_since_us=now_us)
    return state, int(entry["silent_since_us"])


def _written(state: AgentState, silent: Mapping[str, int]) -> dict[str, Any]:
    return {
        "hello": MessageToDict(state.hello, preserving_proto_field_name=True),
        "status": MessageToDict(state.status, preserving_proto_field_name=True),
        "last_seen_us": state.last_seen_us,
        "acked_sequence": state.acked_sequence,
        "silent_since_us": silent.get(state.hello.agent, 0),
    }
