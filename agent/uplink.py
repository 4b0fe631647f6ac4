"""Ships the spool to the collector over one stream, and brings commands back.

The spool forgets a batch when the collector says that it is durable there. Everything between is
repeated after a reconnect; the collector knows repeats by (agent, epoch, sequence).
"""

import queue
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import structlog

from agent.certificates import Renewal, problem
from agent.channel import Call, CertificateFiles, RpcError, StatusCode, open_channel
from agent.spool.spool import Spool, SpoolError
from agent.wire.batch import to_wire
from agent.witness import Witness
from protos.pgwarden.v1 import uplink_pb2 as pb
from protos.versions import OLDEST, PROTOCOL

log = structlog.get_logger(__name__)

WINDOW_BATCHES = 64
BATCHES_IN_A_ROW = 4
"""Then answers to commands and the status have their turn."""
WINDOW_BYTES = 4 * 1024 * 1024
"""That wait for an acknowledgement, and one batch more. gRPC keeps copies of them."""
STATUS_SECONDS = 5.0
ACK_TIMEOUT_SECONDS = 30.0
"""A stream that acknowledges nothing for so long, with batches under way, is given up."""
BACKOFF_SECONDS = (0.1, 10.0)
ASKED_AT_ONCE = 2
"""Questions that are answered beside everything else; more have to wait."""
STABLE_SECONDS = 5.0
"""A stream that lived so long resets the backoff."""

_PATH = "/pgwarden.v1.Uplink/Connect"


@dataclass(frozen=True, slots=True)
class Greeting:
    """Who we are, as the collector will record it. With TLS, the certificate is ``agent``'s."""

    agent: str
    version: str
    host: str
    boot_id: str
    instance: str = field(default_factory=lambda: secrets.token_hex(8))
    """Of this process: one that comes back after another one shows two agents with one name."""
    configuration: Mapping[str, str] = field(default_factory=dict)
    """A digest of each setting, by name (config/effective.py)."""


@dataclass(slots=True)
class UplinkCounters:
    """How its streams ended; only the uplink's threads write it."""

    reconnects: int = 0
    renewals: int = 0
    """Streams that we ended to go on with another certificate."""
    last_error: str = ""


@dataclass(slots=True)
class _Stream:
    """One connection's state: what was sent and waits for an acknowledgement."""

    epoch: int
    """The only one of which it sends."""
    outbox: "queue.SimpleQueue[pb.AgentMessage]" = field(default_factory=queue.SimpleQueue)
    greeted: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)
    renewed: threading.Event = field(default_factory=threading.Event)
    """Ended by us, for another certificate."""
    is_over: bool = False
    """Likewise, for the next epoch of the spool."""
    in_flight: dict[int, int] = field(default_factory=dict)
    """Bytes by sequence."""
    next_sequence: int = 1
    progress_at: float = field(default_factory=time.monotonic)


class Uplink:
    """``on_command`` runs on the uplink's thread and should be quick; its result is sent back. For
    kinds that are ``questions`` it runs beside that, so that they may take long: orders and
    acknowledgements do not wait for them.

    ``status`` fills the liveness report, all but its time and the spool's figures.
    """

    def __init__(
        self,
        spool: Spool,
        address: str,
        greeting: Greeting,
        on_command: Callable[[pb.Command], pb.CommandResult],
        status: Callable[[], pb.Status] = pb.Status,
        tls: CertificateFiles | None = None,
        backoff_seconds: tuple[float, float] = BACKOFF_SECONDS,
        ack_timeout_seconds: float = ACK_TIMEOUT_SECONDS,
        on_rules: Callable[[pb.Rules], None] = lambda rules: None,
        witness: Witness | None = None,
        questions: frozenset[str] = frozenset(),
    ) -> None:
        open_channel(address, tls).close()  # a wrong address or certificate fails now, not later
        self._spool = spool
        self._address = address
        self._greeting = greeting
        self._on_command = on_command
        self._questions = questions
        self._beside = ThreadPoolExecutor(ASKED_AT_ONCE, thread_name_prefix="uplink-question")
        self._on_rules = on_rules
        self._witness = witness
        self._status = status
        self._tls = tls
        self._backoff_seconds = backoff_seconds
        self._ack_timeout_seconds = ack_timeout_seconds
        self._wake = threading.Condition()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="uplink", daemon=True)
        self._call: Call | None = None
        self._stream: _Stream | None = None
        self.counters = UplinkCounters()
        self.connected = False

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Say that the spool has something new; without it the uplink looks every 200 ms."""
        with self._wake:
            self._wake.notify_all()

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """End the stream. What is not acknowledged stays in the spool.

        gRPC ends a channel only when what it has begun to write is written, and a collector that
        hangs reads nothing: then our thread is left behind, it ends with the process.
        """
        self._stopping.set()
        self.wake()
        if self._call is not None:
            self._call.cancel()  # type: ignore[no-untyped-call]
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)
        self._beside.shutdown(wait=False, cancel_futures=True)

    def drain(self, timeout_seconds: float, patience_seconds: float = float("inf")) -> bool:
        """Wait until the spool is empty; False when time runs out, or the collector says nothing
        for ``patience_seconds``."""
        began = time.monotonic()
        deadline = began + timeout_seconds
        while self._spool.depth and (now := time.monotonic()) < deadline:
            if now - self._heard_at(began) > patience_seconds:
                break
            self.wake()
            time.sleep(0.02)
        return not self._spool.depth

    def _heard_at(self, otherwise: float) -> float:
        """When the collector last answered, if it owes us an answer."""
        stream = self._stream
        waits = self.connected and stream is not None and bool(stream.in_flight)
        return stream.progress_at if waits and stream is not None else otherwise

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            if self._serve_once():
                continue
            if self._stopping.is_set():
                return
            failures = 0 if time.monotonic() - began > STABLE_SECONDS else failures + 1
            self.counters.reconnects += 1
            low, high = self._backoff_seconds
            ceiling = min(high, low * 2 ** min(failures, 20))
            self._stopping.wait(random.uniform(low, max(low, ceiling)))

    def _serve_once(self) -> bool:
        """One stream from connect to its end. Every failure of it ends in a reconnect; True if we
        ended it to go on at once."""
        self._stream = stream = _Stream(self._spool.epoch)
        renewal = Renewal(self._tls) if self._tls is not None else None
        try:
            # A new channel each time: renewed certificates are read, and no stale subchannel stays.
            with open_channel(self._address, self._tls) as channel:
                stream.epoch = self._spool.begin()
                connect = channel.stream_stream(_PATH, _serialize, pb.CollectorMessage.FromString)
                self._call = call = connect(self._messages(stream), wait_for_ready=False)
                guard = threading.Thread(
                    target=self._watch,
                    args=(stream, call, renewal),
                    name="uplink-watch",
                    daemon=True,
                )
                guard.start()
                for message in call:
                    self._receive(stream, message)
        except RpcError as error:
            if error.code() is not StatusCode.CANCELLED:  # that was us, for a reason told before
                self._note(self._told(error))
        except (OSError, SpoolError) as error:
            self._note(str(error))
        finally:
            self.connected = False
            stream.done.set()
            self.wake()
        self.counters.renewals += stream.renewed.is_set()
        return stream.renewed.is_set() or stream.is_over

    def _note(self, problem: str) -> None:
        if problem != self.counters.last_error:  # the same one comes back with every attempt
            log.warning("uplink.failed", collector=self._address, problem=problem)
        self.counters.last_error = problem

    def _told(self, error: RpcError) -> str:
        """A handshake that fails says little; our own files often say why."""
        told = f"{error.code().name}: {error.details()}"
        if self._tls is None or error.code() is not StatusCode.UNAVAILABLE:
            return told
        why = problem(self._tls)
        return f"{why} ({told})" if why else told

    def _receive(self, stream: _Stream, message: pb.CollectorMessage) -> None:
        kind = message.WhichOneof("message")
        stream.progress_at = time.monotonic()
        if kind == "ack":
            self._acknowledged(stream, message.ack)
        elif kind == "reject":
            self._rejected(stream, message.reject)
        elif kind == "rules":
            self._on_rules(message.rules)
        elif kind == "head" and self._witness is not None:
            answer = self._witness.observe(message.head)
            if answer is not None:
                stream.outbox.put(pb.AgentMessage(witnessed=answer))
                self.wake()
        elif kind == "command" and message.command.kind in self._questions:
            self._beside.submit(self._answer, stream, message.command)
        elif kind == "command":
            self._answer(stream, message.command)

    def _acknowledged(self, stream: _Stream, ack: pb.Ack) -> None:
        # The first word of a stream says how far the collector is in its epoch.
        known = ack.sequence if ack.epoch == stream.epoch else 0
        if self._spool.acknowledged(stream.epoch, known):
            raise SpoolError("the spool is older than the collector: new epoch, new stream")
        if not stream.greeted.is_set():
            stream.next_sequence = known + 1
            self.connected = True
            stream.greeted.set()
        with self._wake:
            for sequence in [number for number in stream.in_flight if number <= ack.sequence]:
                del stream.in_flight[sequence]
            self._wake.notify_all()

    def _rejected(self, stream: _Stream, reject: pb.Reject) -> None:
        if reject.epoch != stream.epoch:
            return
        self._spool.quarantine(reject.sequence, f"rejected: {reject.reason}")
        with self._wake:
            stream.in_flight.pop(reject.sequence, None)
            self._wake.notify_all()

    def _answer(self, stream: _Stream, command: pb.Command) -> None:
        stream.outbox.put(pb.AgentMessage(result=self._obey(command)))
        self.wake()

    def _obey(self, command: pb.Command) -> pb.CommandResult:
        try:
            result = self._on_command(command)
        except Exception as error:  # noqa: BLE001 - the stream outlives a failing command
            result = pb.CommandResult(outcome="failed", message=f"{type(error).__name__}: {error}")
        result.id = command.id
        result.at_us = result.at_us or time.time_ns() // 1000
        return result

    def _messages(self, stream: _Stream) -> Iterator["pb.AgentMessage | bytes"]:
        """What gRPC sends, pulled from its own thread; ends when the stream does."""
        me = self._greeting
        yield pb.AgentMessage(
            hello=pb.Hello(
                agent=me.agent,
                epoch=stream.epoch,
                version=me.version,
                host=me.host,
                boot_id=me.boot_id,
                instance=me.instance,
                configuration=me.configuration,
                acknowledged=self._spool.known_acknowledged(stream.epoch),
                spool_epoch=self._spool.born,
                protocol=PROTOCOL if self._witness is not None else OLDEST,
                oldest_protocol=OLDEST,
                witness_size=self._witness.size if self._witness is not None else 0,
            )
        )
        status_at = 0.0
        while not (stream.done.is_set() or self._stopping.is_set()):
            if stream.greeted.is_set() and time.monotonic() >= status_at:
                status_at = time.monotonic() + STATUS_SECONDS
                yield pb.AgentMessage(status=self._liveness())
            while not stream.outbox.empty():
                yield stream.outbox.get()
            sent = False
            for message in self._batches(stream):
                sent = True
                yield message
            if sent:
                continue
            if self._is_over(stream):
                stream.is_over = True
                return
            with self._wake:
                self._wake.wait(0.2)

    def _is_over(self, stream: _Stream) -> bool:
        """All of its epoch is with the collector, and what waits is of the next one."""
        if stream.in_flight or not stream.greeted.is_set():
            return False
        return self._spool.is_over(stream.epoch)

    def _batches(self, stream: _Stream) -> Iterator[bytes]:
        for _ in range(BATCHES_IN_A_ROW):
            if not (stream.greeted.is_set() and self._has_room(stream)):
                return
            # Read one at a time: each may have megabytes.
            batch = self._spool.next_of(stream.epoch, stream.next_sequence)
            if batch is None:
                return
            stream.next_sequence = batch.sequence + 1
            with self._wake:
                if not stream.in_flight:
                    stream.progress_at = time.monotonic()
                stream.in_flight[batch.sequence] = len(batch.body)
            yield to_wire(batch.body, stream.epoch, batch.sequence)

    def _has_room(self, stream: _Stream) -> bool:
        with self._wake:
            waiting = stream.in_flight
            return len(waiting) < WINDOW_BATCHES and sum(waiting.values()) <= WINDOW_BYTES

    def _liveness(self) -> pb.Status:
        status = self._status()
        status.at_us = time.time_ns() // 1000
        status.spool_batches = self._spool.depth
        status.spool_bytes = self._spool.bytes
        return status

    def _watch(self, stream: _Stream, call: Call, renewal: Renewal | None) -> None:
        """Give up a stream that neither greets nor acknowledges, as the peer hangs, or for which
        there is another certificate. What it did not acknowledge goes over the next one."""
        while not stream.done.wait(min(1.0, self._ack_timeout_seconds / 4)):
            if renewal is not None and renewal.is_ready():
                stream.renewed.set()
                call.cancel()  # type: ignore[no-untyped-call]
                return
            waiting = stream.is_over or bool(stream.in_flight) or not stream.greeted.is_set()
            if waiting and time.monotonic() - stream.progress_at > self._ack_timeout_seconds:
                self.counters.last_error = "no acknowledgement: the collector hangs"
                call.cancel()  # type: ignore[no-untyped-call]
                return


def _serialize(message: "pb.AgentMessage | bytes") -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()
