"""The agents that are connected now, and orders on their way to them."""

import queue
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from collector.submission import Owner
from protos.pgwarden.v1 import uplink_pb2 as pb

DEADLINE_SECONDS = 10.0
SNAPSHOT = "snapshot"
"""The kind of command that asks for a whole snapshot of the catalog."""


@dataclass(slots=True)
class AgentStream:
    """One agent's open stream; ``outbox`` is what goes down to it, None ends it."""

    hello: pb.Hello
    outbox: "queue.SimpleQueue[pb.CollectorMessage | None]" = field(
        default_factory=queue.SimpleQueue
    )
    owner: Owner = field(default_factory=Owner)

    def end(self) -> None:
        self.owner.broken = True
        self.outbox.put(None)


@dataclass(frozen=True, slots=True)
class AgentState:
    """What is known of an agent that has connected since the collector started."""

    hello: pb.Hello
    connected: bool
    last_seen_us: int
    status: pb.Status
    acked_sequence: int = 0


class Agents:
    """Thread-safe. An agent's newest stream replaces its older one."""

    def __init__(
        self,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        on_order: Callable[[str, pb.Command, pb.CommandResult], None] = lambda *_: None,
    ) -> None:
        """``on_order`` hears of each order and of what came of it."""
        self._now_us = now_us
        self._on_order = on_order
        self._lock = threading.Lock()
        self._streams: dict[str, AgentStream] = {}
        self._states: dict[str, AgentState] = {}
        self._waiting: dict[str, tuple[str, queue.SimpleQueue[pb.CommandResult]]] = {}

    def connected(self, stream: AgentStream) -> AgentStream | None:
        """Register; returns the stream it replaces, which the caller ends."""
        agent = stream.hello.agent
        with self._lock:
            older = self._streams.get(agent)
            self._streams[agent] = stream
            known = self._states.get(agent)
            status = known.status if known else pb.Status()
            self._states[agent] = AgentState(stream.hello, True, self._now_us(), status)
        return older

    def disconnected(self, stream: AgentStream) -> None:
        agent = stream.hello.agent
        with self._lock:
            if self._streams.get(agent) is not stream:
                return
            del self._streams[agent]
            old = self._states[agent]
            self._states[agent] = AgentState(
                old.hello, False, self._now_us(), old.status, old.acked_sequence
            )
            orphaned = [waiter for name, waiter in self._waiting.values() if name == agent]
        for waiter in orphaned:
            waiter.put(pb.CommandResult(outcome="failed", message=f"agent {agent} disconnected"))

    def heard(
        self, agent: str, status: pb.Status | None = None, acked_sequence: int | None = None
    ) -> None:
        with self._lock:
            old = self._states[agent]
            self._states[agent] = AgentState(
                old.hello,
                old.connected,
                self._now_us(),
                status or old.status,
                old.acked_sequence if acked_sequence is None else acked_sequence,
            )

    def states(self) -> list[AgentState]:
        with self._lock:
            return sorted(self._states.values(), key=lambda state: state.hello.agent)

    def order(
        self, agent: str, command: pb.Command, deadline_seconds: float = DEADLINE_SECONDS
    ) -> pb.CommandResult:
        """Send a command and wait for what came of it; every failure is a result too."""
        result = self._order(agent, command, deadline_seconds)
        self._on_order(agent, command, result)
        return result

    def _order(self, agent: str, command: pb.Command, deadline_seconds: float) -> pb.CommandResult:
        command.id = command.id or uuid.uuid4().hex
        answers: queue.SimpleQueue[pb.CommandResult] = queue.SimpleQueue()
        with self._lock:
            stream = self._streams.get(agent)
            if stream is None:
                message = f"agent {agent!r} is not connected"
                return pb.CommandResult(id=command.id, outcome="failed", message=message)
            self._waiting[command.id] = (agent, answers)
        stream.outbox.put(pb.CollectorMessage(command=command))
        try:
            return answers.get(timeout=deadline_seconds)
        except queue.Empty:
            message = f"agent {agent!r} did not answer within {deadline_seconds:g} s"
            return pb.CommandResult(id=command.id, outcome="failed", message=message)
        finally:
            with self._lock:
                self._waiting.pop(command.id, None)

    def answered(self, agent: str, result: pb.CommandResult) -> None:
        """A result counts only from the agent that was asked; a late one is let go."""
        with self._lock:
            asked, answers = self._waiting.get(result.id, ("", None))
        if answers is not None and asked == agent:
            answers.put(result)

    def want_snapshot(self, agent: str, cluster: str, database: str) -> None:
        """Of all databases where ``database`` is empty. Nobody waits: what comes of it is a
        snapshot, and one that does not come is asked for again."""
        with self._lock:
            stream = self._streams.get(agent)
        if stream is not None:
            command = pb.Command(
                id=uuid.uuid4().hex, kind=SNAPSHOT, cluster=cluster, database=database
            )
            stream.outbox.put(pb.CollectorMessage(command=command))

    def tell(self, agent: str, message: pb.CollectorMessage) -> None:
        """To one agent if it is connected; nobody waits for it."""
        with self._lock:
            stream = self._streams.get(agent)
        if stream is not None:
            stream.outbox.put(message)

    def tell_all(self, message: pb.CollectorMessage) -> None:
        """To every agent that is connected now; nobody waits for it."""
        with self._lock:
            streams = list(self._streams.values())
        for stream in streams:
            stream.outbox.put(message)

    def end_all(self) -> None:
        with self._lock:
            streams = list(self._streams.values())
        for stream in streams:
            stream.end()
