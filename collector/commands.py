"""The agents that are connected now, and orders on their way to them."""

import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from collector.submission import Owner
from collector.twins import Twins
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


class Sent(NamedTuple):
    """A command on its way to an agent; its result comes into ``answers``."""

    agent: str
    id: str
    answers: "queue.SimpleQueue[pb.CommandResult]"


@dataclass(frozen=True, slots=True)
class AgentState:
    """What is known of an agent, from its connection or from before the collector started."""

    hello: pb.Hello
    connected: bool
    last_seen_us: int
    status: pb.Status
    acked_sequence: int = 0
    awaited_since_us: int = 0
    """When this collector started, for an agent that has not connected since."""

    @property
    def missed_since_us(self) -> int:
        """From when on its silence counts: while no collector ran nobody could hear it."""
        return max(self.last_seen_us, self.awaited_since_us)


class Agents:
    """Thread-safe. An agent's newest stream replaces its older one."""

    def __init__(
        self,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        on_order: Callable[[str, pb.Command, pb.CommandResult], None] = lambda *_: None,
        on_twins: Callable[[dict[str, str | int]], None] = lambda _: None,
    ) -> None:
        """``on_order`` hears of each order and of what came of it; ``on_twins`` of two agents with
        one name."""
        self._now_us = now_us
        self._on_order = on_order
        self._on_twins = on_twins
        self._twins = Twins()
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
            twins = self._twins.observe(stream.hello, self._now_us())
        if twins is not None:
            self._on_twins(twins)
        return older

    def expect(self, states: Iterable[AgentState]) -> None:
        """Of before the start."""
        with self._lock:
            self._states |= {state.hello.agent: state for state in states}

    def retire(self, agent: str) -> str:
        """It is no longer missed, until it connects again. Returns why not; empty: it is done."""
        with self._lock:
            if agent in self._streams:
                return f"agent {agent!r} is connected: stop it first"
            known = self._states.pop(agent, None)
        return "" if known is not None else f"no agent {agent!r} is known"

    def twins(self) -> dict[str, str]:
        """A sentence for each name that two agents have now."""
        with self._lock:
            return self._twins.now(self._now_us())

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
            old = self._states.get(agent)
            if old is None:
                return  # retired meanwhile
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
        result = self._result(self._send(agent, command), deadline_seconds)
        self._on_order(agent, command, result)
        return result

    def _send(self, agent: str, command: pb.Command) -> Sent:
        command.id = command.id or uuid.uuid4().hex
        sent = Sent(agent, command.id, queue.SimpleQueue())
        with self._lock:
            stream = self._streams.get(agent)
            if stream is not None:
                self._waiting[sent.id] = (agent, sent.answers)
        if stream is not None:
            stream.outbox.put(pb.CollectorMessage(command=command))
        else:
            sent.answers.put(_failed(sent, f"agent {agent!r} is not connected"))
        return sent

    def _result(
        self, sent: Sent, deadline_seconds: float, since: float | None = None
    ) -> pb.CommandResult:
        """``since``: when the deadline began, if not now."""
        waited = 0.0 if since is None else time.monotonic() - since
        try:
            return sent.answers.get(timeout=max(0.0, deadline_seconds - waited))
        except queue.Empty:
            silent = f"agent {sent.agent!r} did not answer within {deadline_seconds:g} s"
            return _failed(sent, silent)
        finally:
            with self._lock:
                self._waiting.pop(sent.id, None)

    def ask_all(
        self, kind: str, deadline_seconds: float = DEADLINE_SECONDS
    ) -> dict[str, pb.CommandResult]:
        """The same question to every agent that is known; what they answer until the deadline,
        which is one for all, however many are silent. Nothing is changed by it, so nobody hears of
        it as of an order."""
        began = time.monotonic()
        with self._lock:
            agents = sorted(self._states)
        asked = [self._send(agent, pb.Command(kind=kind)) for agent in agents]
        return {sent.agent: self._result(sent, deadline_seconds, began) for sent in asked}

    def ask(self, agent: str, question: pb.Command) -> Sent:
        """A question that changes nothing; ``answer`` must be called for it."""
        return self._send(agent, question)

    def answer(self, sent: Sent) -> pb.CommandResult:
        """What has come of it until now; one that comes later is let go."""
        return self._result(sent, 0)

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


def _failed(sent: Sent, why: str) -> pb.CommandResult:
    return pb.CommandResult(id=sent.id, outcome="failed", message=why)
