"""Two processes that speak as one agent: a cloned host, or a state_dir that was copied."""

from __future__ import annotations

from dataclasses import dataclass, field

from protos.pgwarden.v1 import uplink_pb2 as pb

TWINS = "agent_twice"
"""Kind of the note for the ledger."""
PAST_US = 600_000_000
"""So long after both were last heard nothing is said of them any more."""
REMEMBERED = 8
"""Processes of one agent: a clone comes back within seconds."""


@dataclass(frozen=True, slots=True)
class _Place:
    host: str
    boot_id: str


@dataclass(slots=True)
class _Known:
    processes: dict[str, _Place] = field(default_factory=dict)
    """The one that came last is the last."""
    sentence: str = ""
    at_us: int = 0


class Twins:
    """Pure. A process that has ended does not come back, so one that does after another one came
    lives beside it. Each new stream ends the other's: they come back as long as both live."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def observe(self, hello: pb.Hello, now_us: int) -> dict[str, str | int] | None:
        """A new stream; facts for a note where it is the first that shows two agents."""
        known = self._known.setdefault(hello.agent, _Known())
        # An agent says what it likes: what is kept of it has an end.
        here = _Place(hello.host[:255], hello.boot_id[:64])
        process = hello.instance[:64] or f"{here.host} {here.boot_id}"
        *_, last = known.processes or [process]
        is_back = process in known.processes and process != last
        other = known.processes.get(last, here)
        known.processes.pop(process, None)
        known.processes[process] = here
        for oldest in list(known.processes)[:-REMEMBERED]:
            del known.processes[oldest]
        if not is_back:
            return None
        is_new = not known.sentence or now_us - known.at_us > PAST_US
        known.at_us = now_us
        known.sentence = (
            f"two agents have this name, on {here.host} and {other.host}:"
            " give one of them another agent.name and an empty agent.state_dir"
        )
        return _facts(hello.agent, here, other) if is_new else None

    def now(self, now_us: int) -> dict[str, str]:
        """A sentence for each agent that is there twice."""
        return {
            agent: known.sentence
            for agent, known in self._known.items()
            if known.sentence and now_us - known.at_us <= PAST_US
        }


def _facts(agent: str, here: _Place, other: _Place) -> dict[str, str | int]:
    return {
        "agent": agent,
        "host": here.host,
        "boot_id": here.boot_id,
        "other_host": other.host,
        "other_boot_id": other.boot_id,
    }
