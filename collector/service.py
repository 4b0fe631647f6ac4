"""The Uplink service: what agents speak to."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import grpc

from collector.bounds import cut_hello, cut_status
from collector.columns import PoisonError
from collector.commands import Agents, AgentStream
from collector.cosigning import Cosigning
from collector.intake import batch_number, decode_message
from collector.missing_batches import MissingBatches
from collector.peers import agent_name
from collector.segments import Accepted, Segments
from collector.submission import BatchId, Submission
from collector.weight import weight
from protos.pgwarden.v1 import uplink_pb2 as pb
from protos.versions import PROTOCOL, ProtocolError, spoken

MAX_POISON_FILES = 64
"""Rejected batches kept for a person to look at: a hostile agent must not fill the disk."""
POISON_PAUSE_SECONDS = 0.1
"""So long nothing more is read of a stream that sent what cannot even be queued."""

_log = logging.getLogger(__name__)


class UplinkService:
    """Give ``handler`` to a gRPC server. Messages are taken apart here, so that what is none can be
    answered; their rows are decoded by the next commit."""

    def __init__(
        self,
        segments: Segments,
        agents: Agents,
        quarantine: Path,
        greeting: Callable[[str], Sequence[pb.CollectorMessage]] = lambda agent: (),
        cosigning: Cosigning | None = None,
        missing: MissingBatches | None = None,
    ) -> None:
        """``greeting``: what an agent of this name hears as soon as it is connected."""
        self._greeting = greeting
        self._cosigning = cosigning
        self._missing = missing
        self._segments = segments
        self._agents = agents
        self._quarantine = quarantine
        self.rejected: Counter[str] = Counter()
        """Batches by agent."""
        self.not_kept = 0
        """Of those, as the disk took none."""

    def handler(self) -> "grpc.GenericRpcHandler[bytes, pb.CollectorMessage]":
        connect = grpc.stream_stream_rpc_method_handler(
            self.connect, lambda data: data, pb.CollectorMessage.SerializeToString
        )
        return grpc.method_handlers_generic_handler("pgwarden.v1.Uplink", {"Connect": connect})

    def connect(
        self, requests: Iterator[bytes], context: grpc.ServicerContext
    ) -> Iterator[pb.CollectorMessage]:
        hello = self._greet(requests, context)
        stream = AgentStream(hello)
        older = self._agents.connected(stream)
        if older is not None:
            self._segments.replace_owner(older.owner)
            older.end()
        context.add_callback(lambda: stream.outbox.put(None))
        durable = self._segments.durable_sequence(hello.agent, hello.epoch)
        self._agents.heard(hello.agent, acked_sequence=durable)
        # What an agent told another collector is no gap in this one's record.
        if self._missing is not None and self._segments.knows(hello.agent):
            stored = self._segments.durable_of_spool(hello.agent, hello.epoch, hello.spool_epoch)
            self._missing.heard(hello, stored, time.time_ns() // 1000)
        protocol = min(hello.protocol, PROTOCOL)
        for sequence, reason in self._segments.refused(hello.agent, hello.epoch, durable):
            yield _refusal(hello.epoch, sequence, reason)  # before what covers it
        ack = pb.Ack(epoch=hello.epoch, sequence=durable, protocol=protocol)
        yield pb.CollectorMessage(ack=ack)
        yield from self._greeting(hello.agent)
        if self._cosigning is not None:
            yield from self._cosigning.greet(hello)
        reader = threading.Thread(
            target=self._read, args=(requests, stream), name=f"read-{hello.agent}", daemon=True
        )
        reader.start()
        try:
            while (message := stream.outbox.get()) is not None:
                yield message
        finally:
            self._segments.replace_owner(stream.owner)
            self._agents.disconnected(stream)
            if self._cosigning is not None:
                self._cosigning.gone(hello)

    def _greet(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> pb.Hello:
        try:
            hello = decode_message(next(requests)).hello
        except (StopIteration, PoisonError):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the first message must be a Hello")
        name = agent_name(context)
        if not (0 < len(hello.agent) <= 200 and hello.agent.isprintable() and hello.epoch):
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, "Hello lacks a printable agent or epoch"
            )
        if name is not None and name != hello.agent:
            context.abort(
                grpc.StatusCode.PERMISSION_DENIED,
                f"the certificate is {name!r}'s, the Hello says {hello.agent!r}"
                if name
                else f"the certificate is no agent's: pgwarden pki issue agent {hello.agent}",
            )
        try:
            spoken(hello.protocol, hello.oldest_protocol)
        except ProtocolError as error:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        if self._segments.broken:
            context.abort(grpc.StatusCode.UNAVAILABLE, "the collector cannot write its ledger")
        return cut_hello(hello)

    def _read(self, requests: Iterator[bytes], stream: AgentStream) -> None:
        """Runs until the agent goes or the stream is ended; then the writer side ends too."""
        try:
            for data in requests:
                if not self._take(data, stream):
                    break
        except grpc.RpcError:
            pass  # the agent went away: what it was not told is sent again
        finally:
            stream.outbox.put(None)

    def _take(self, data: bytes, stream: AgentStream) -> bool:
        """One message; False ends the stream."""
        agent = stream.hello.agent
        try:
            message = decode_message(data)
        except PoisonError as error:
            number = batch_number(data)
            return number is not None and self._turn_away(stream, data, *number, str(error))
        kind = message.WhichOneof("message")
        if kind == "batch":
            return self._take_batch(data, message.batch, stream)
        if kind == "status":
            self._agents.heard(agent, status=cut_status(message.status))
        elif kind == "result":
            self._agents.answered(agent, message.result)
        elif kind == "witnessed" and self._cosigning is not None:
            self._cosigning.answered(agent, message.witnessed)
        return kind in ("status", "result", "witnessed")

    def _take_batch(self, data: bytes, batch: pb.Batch, stream: AgentStream) -> bool:
        hello = stream.hello
        if batch.epoch != hello.epoch or not batch.sequence:
            return False  # an agent starts a new stream with a new epoch; this one is confused
        try:
            rows = weight(batch, len(data))
        except PoisonError as error:
            return self._turn_away(stream, data, batch.epoch, batch.sequence, str(error))

        def settled(durable: bool) -> None:
            if not durable:
                stream.end()
                return
            self._agents.heard(hello.agent, acked_sequence=batch.sequence)
            ack = pb.Ack(epoch=batch.epoch, sequence=batch.sequence)
            stream.outbox.put(pb.CollectorMessage(ack=ack))

        def refused(reason: str) -> None:
            self._reject(stream, data, batch.epoch, batch.sequence, reason)

        number = BatchId(hello.agent, batch.epoch, batch.sequence)
        submission = Submission(
            {}, number, stream.owner, settled=settled, message=batch, refused=refused, weight=rows
        )
        return self._segments.submit(submission) is not Accepted.BROKEN

    def _turn_away(
        self, stream: AgentStream, data: bytes, epoch: int, sequence: int, reason: str
    ) -> bool:
        """On the stream's own thread, which may wait."""
        is_kept = self._is_remembered(BatchId(stream.hello.agent, epoch, sequence), reason)
        self._reject(stream, data, epoch, sequence, reason)
        time.sleep(POISON_PAUSE_SECONDS)
        return is_kept  # else nothing after it may be acknowledged on this stream

    def _is_remembered(self, batch: BatchId, reason: str) -> bool:
        try:
            self._segments.refuse(batch, reason)
        except OSError as error:
            _log.warning("a refusal of %s could not be kept: %s", batch.agent, error)
            return False
        return True

    def _reject(
        self, stream: AgentStream, data: bytes, epoch: int, sequence: int, reason: str
    ) -> None:
        self.rejected[stream.hello.agent] += 1
        try:
            self._keep(data, sequence)
        except OSError as error:  # it is for a person to look at, and nobody's acknowledgement
            self.not_kept += 1
            _log.warning("poison of %s could not be kept: %s", stream.hello.agent, error)
        stream.outbox.put(_refusal(epoch, sequence, reason))

    def _keep(self, data: bytes, sequence: int) -> None:
        self._quarantine.mkdir(exist_ok=True)
        if len(list(self._quarantine.glob("poison-*"))) < MAX_POISON_FILES:
            path = self._quarantine / f"poison-{time.time_ns()}-{sequence}.bin"
            try:
                path.write_bytes(data)
            except OSError:
                path.unlink(missing_ok=True)  # a part of it
                raise


def _refusal(epoch: int, sequence: int, reason: str) -> pb.CollectorMessage:
    reject = pb.Reject(epoch=epoch, sequence=sequence, reason=reason)
    return pb.CollectorMessage(reject=reject)
