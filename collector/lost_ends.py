"""Sessions whose end nobody told: they ended while no agent ran, or the row was lost.

Their agent is asked, now and then and soon after it has come. What it finds to be gone gets its end
here, for the row is here: at the moment at which that was noticed, as the agent's clock has it. The
session may have sent statements up to then, so no earlier moment is known to be behind them all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from collector.commands import Agents, AgentState, Sent
from collector.sessions import LiveSessions
from protos.pgwarden.v1 import uplink_pb2 as pb

ENDED = "ended"
"""The kind of command that asks."""
SOURCE, REASON = "sessions", "session_end_unseen"
"""Of the row in ``losses``: as an agent counts those that it misses itself."""
FIRST_SECONDS = 8.0
"""After an agent has come: it says every five seconds how much it has not yet sent."""
AGAIN_SECONDS = 10.0
"""Who was gone is asked about again so soon: the row of an end may have been on its way."""
EVERY_SECONDS = 60.0
ANSWER_SECONDS = 10.0
"""An agent without one by then is asked anew the next time."""
MOST = 5_000
"""Sessions in a question; where there are more the next one goes on behind them."""
BEHIND_BATCHES = 64
"""An agent with so much in its spool may be about to tell the end itself."""

Append = Callable[[str, Sequence[Mapping[str, Any]]], None]
Key = tuple[int, int]
"""Pid, and start in Unix microseconds."""


@dataclass(slots=True)
class _Agent:
    instance: str
    due: float
    sent: Sent | None = None
    asked: list[Key] = field(default_factory=list)
    behind: int = 0
    """So many sessions have been asked about in this round through all of them."""
    gone: set[Key] = field(default_factory=set)
    """At the last look: they are asked about once more."""

    @property
    def has_answered(self) -> bool:
        return self.sent is not None and not self.sent.answers.empty()


class LostEnds:
    """``append`` queues rows of the collector's own."""

    def __init__(self, agents: Agents, sessions: LiveSessions, append: Append) -> None:
        self._agents = agents
        self._sessions = sessions
        self._append = append
        self._known: dict[str, _Agent] = {}

    def turn(self, now: float) -> None:
        """Call it often; ``now``: seconds of a clock that only goes on. It waits for nobody."""
        twins = self._agents.twins()  # one of them knows nothing of the other's processes
        states = {
            each.hello.agent: each
            for each in self._agents.states()
            if each.connected and each.hello.agent not in twins
        }
        for name in self._known.keys() - states.keys():
            self._let_go(self._known.pop(name))
        for name, state in states.items():
            known = self._known.get(name)
            if known is None or known.instance != state.hello.instance:
                if known is not None:
                    self._let_go(known)
                known = self._known[name] = _Agent(state.hello.instance, now + FIRST_SECONDS)
            if known.has_answered or now >= known.due:
                self._look(name, state, known, now)

    def _let_go(self, known: _Agent) -> None:
        if known.sent is not None:
            self._agents.answer(known.sent)

    def _look(self, name: str, state: AgentState, known: _Agent, now: float) -> None:
        if known.sent is None:
            known.due = now + ANSWER_SECONDS
            if state.status.spool_batches > BEHIND_BATCHES or not self._ask(name, known):
                known.gone.clear()
                known.due = now + EVERY_SECONDS
            return
        result, known.sent = self._agents.answer(known.sent), None
        known.due = now + EVERY_SECONDS
        if result.outcome == "done":
            self._take(name, known, _chosen(known.asked, result.message), result.at_us)
            if known.gone:
                known.due = now + AGAIN_SECONDS

    def _ask(self, name: str, known: _Agent) -> bool:
        """False where there is nothing to ask."""
        rows = self._sessions.unended(name)
        if known.gone:
            rows = _of(rows, known.gone)
        else:
            first = known.behind if known.behind < len(rows) else 0
            rows = rows.slice(first, MOST)
            known.behind = first + len(rows)
        known.asked = _keys(rows)
        if not known.asked:
            return False
        unended = pb.Unended(
            pid=[pid for pid, _ in known.asked],
            backend_started_at_us=[started_us for _, started_us in known.asked],
            cluster=rows["cluster"].fill_null(""),
        )
        known.sent = self._agents.ask(name, pb.Command(kind=ENDED, unended=unended))
        return True

    def _take(self, name: str, known: _Agent, gone: set[Key], at_us: int) -> None:
        over, known.gone = gone & known.gone, gone - known.gone
        ended = _of(self._sessions.unended(name), over)
        if ended.is_empty():
            return  # their ends have come
        # As numbers: an agent may name moments that Python has no date for. And not before what is
        # known of a session: the agent's clock may have been set back.
        rows = ended.with_columns(pl.selectors.datetime().cast(pl.Int64))
        at = pl.max_horizontal(pl.lit(at_us, pl.Int64), "seen_at")
        self._append("sessions", rows.with_columns(ended_at=at, seen_at=at).to_dicts())
        loss = {"agent": name, "source": SOURCE, "reason": REASON, "count": len(ended)}
        self._append("losses", [{"occurred_at": at_us, **loss}])


def _keys(rows: pl.DataFrame) -> list[Key]:
    return rows.select("pid", pl.col("backend_started_at").cast(pl.Int64)).rows()


def _of(rows: pl.DataFrame, keys: set[Key]) -> pl.DataFrame:
    return rows.filter(pl.Series([key in keys for key in _keys(rows)], dtype=pl.Boolean))


def _chosen(asked: Sequence[Key], message: str) -> set[Key]:
    """Those whose places stand in an answer; what cannot be read names none."""
    try:
        places = json.loads(message)
    except ValueError:
        return set()
    if not isinstance(places, list):
        return set()
    return {asked[each] for each in places if type(each) is int and 0 <= each < len(asked)}
