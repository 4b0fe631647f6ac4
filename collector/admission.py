"""Certificates that TLS has accepted and we do not: revoked, or ended while a stream was open; and
calls that would leave no room for others: too many of one owner, too many of all, silent ones.

gRPC looks at a certificate once, when a connection is made, and in Python knows no revocation. So
each call is judged here when it begins, and again every second for as long as it is open.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import grpc
import structlog
from cryptography import x509

from collector.peers import TLS_1_3, Transport, certificate, owner, tls_version, transport
from collector.revocation import Revocations

log = structlog.get_logger(__name__)

SWEEP_SECONDS = 1.0
MOST_CALLS = 32
"""Open at once by one owner of certificates: each holds one of the server's threads."""
MOST_STREAMS = 4
"""Of those, calls that go on for as long as the caller likes. An agent has one, and for a moment
another one while it connects anew."""
MOST_AT_ONCE = 1024
"""Calls of everybody, the unix socket's left out: whoever operates the collector gets in."""
HELLO_SECONDS = 20.0
"""Until a call has said something. It was begun to say it; on a bad line that takes a while."""


@dataclass(slots=True, eq=False)
class _Open:
    context: grpc.ServicerContext
    certificate: x509.Certificate | None
    """None without TLS."""
    is_stream: bool
    is_local: bool
    owner: str
    """Empty without TLS."""
    speaks_by: float = field(default_factory=lambda: time.monotonic() + HELLO_SECONDS)
    """Infinite once it has."""

    def spoke(self) -> None:
        self.speaks_by = float("inf")


class Admission(grpc.ServerInterceptor):  # type: ignore[type-arg] # no generic when it runs
    """Every call of the server passes ``intercept_service``. Without TLS no owner is judged."""

    def __init__(
        self,
        revocations: Revocations | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        most_at_once: int = MOST_AT_ONCE,
    ) -> None:
        self._most_at_once = most_at_once
        self._revocations = revocations
        self._now = now
        self._lock = threading.Lock()
        self._open: dict[int, _Open] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="admission", daemon=True)
        self.ended = 0
        """Open calls that were ended for it."""

    @property
    def problem(self) -> str:
        return self._revocations.problem if self._revocations else ""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Any],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = continuation(handler_call_details)
        return handler and _judged(handler, self.admit)

    def admit(self, context: grpc.ServicerContext, is_stream: bool) -> _Open:
        """Aborts the call, or watches it until its end. ``is_stream``: the caller says when it
        ends."""
        how = transport(context)
        found = self._certified(context) if how is Transport.TLS else None
        whose = owner(found) if found else ""
        call = _Open(context, found, is_stream, how is Transport.UNIX, whose)
        with self._lock:
            why = self._no_room(call)
            if not why:
                self._open[id(call)] = call
        if why:
            log.warning("peer.too_many_calls", who=call.owner, why=why)
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, why)
        if not context.add_callback(lambda: self._closed(call)):
            self._closed(call)
        return call

    def _certified(self, context: grpc.ServicerContext) -> x509.Certificate:
        version = tls_version(context)
        if version != TLS_1_3:
            context.abort(
                grpc.StatusCode.UNAUTHENTICATED, f"{version} is too old: this collector speaks 1.3"
            )
        if self._revocations is not None:
            self._revocations.refresh()
        try:
            found = x509.load_pem_x509_certificate(certificate(context))
            found.extensions  # noqa: B018 - read here, so that who looks later need not expect it
        except ValueError as error:
            why = f"the certificate cannot be read: {error}"
            context.abort(grpc.StatusCode.UNAUTHENTICATED, why)
        if why := self._refusal(found):
            log.warning("peer.refused", why=why)
            context.abort(grpc.StatusCode.UNAUTHENTICATED, why)
        return found

    def _no_room(self, call: _Open) -> str:
        """Why this one is too many; within the lock."""
        if call.is_local:
            return ""
        if sum(not each.is_local for each in self._open.values()) >= self._most_at_once:
            return f"this collector serves {self._most_at_once} calls at once, and has them"
        if call.certificate is None:
            return ""
        theirs = [
            each.is_stream
            for each in self._open.values()
            if each.certificate is not None and each.owner == call.owner
        ]
        if len(theirs) >= MOST_CALLS:
            return f"{call.owner!r} has {MOST_CALLS} calls open already"
        if call.is_stream and sum(theirs) >= MOST_STREAMS:
            return f"{call.owner!r} has {MOST_STREAMS} streams open already"
        return ""

    def sweep(self) -> None:
        """End open calls whose certificate is not good any more, or that say nothing."""
        if self._revocations is not None:
            self._revocations.refresh()
        with self._lock:
            calls = list(self._open.values())
        for call in calls:
            why = self._refusal(call.certificate) if call.certificate else ""
            if time.monotonic() > call.speaks_by:
                why = f"{call.owner!r} began a call and said nothing for {HELLO_SECONDS:g} s"
            if why:
                log.warning("peer.ended", why=why)
                self.ended += 1
                self._closed(call)
                call.context.cancel()  # type: ignore[no-untyped-call]

    def _refusal(self, found: x509.Certificate) -> str:
        who = f"the certificate of {found.subject.rfc4514_string()!r}, {found.serial_number:x},"
        if self._revocations is not None and found in self._revocations:
            return f"{who} is revoked: pgwarden pki issue makes another"
        if self._now() >= found.not_valid_after_utc:
            ended = found.not_valid_after_utc.strftime("%Y-%m-%d %H:%M UTC")
            return f"{who} ended on {ended}: pgwarden pki rotate makes the next"
        return ""

    def _closed(self, call: _Open) -> None:
        with self._lock:
            self._open.pop(id(call), None)

    def _run(self) -> None:
        while not self._stopping.wait(SWEEP_SECONDS):
            self.sweep()


def _judged(handler: Any, admit: Callable[[grpc.ServicerContext, bool], _Open]) -> Any:
    """The same handler, its behaviour called only for who is admitted.

    Towards gRPC each takes a stream: for a single request it would wait with a thread of the
    server before anybody is asked, and for ever. On the wire the two are the same.
    """
    answers = "stream" if handler.response_streaming else "unary"
    is_stream = handler.request_streaming
    behave = getattr(handler, f"{'stream' if is_stream else 'unary'}_{answers}")

    def judged(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        call = admit(context, is_stream)
        if is_stream:
            return behave(_heard(requests, call), context)
        request = next(_heard(requests, call), None)
        if request is None:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the call ended without its request")
        return behave(request, context)

    make = getattr(grpc, f"stream_{answers}_rpc_method_handler")
    return make(judged, handler.request_deserializer, handler.response_serializer)


def _heard(requests: Iterator[Any], call: _Open) -> Iterator[Any]:
    for request in requests:
        call.spoke()
        yield request
