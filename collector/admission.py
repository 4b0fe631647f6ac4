"""Certificates that TLS has accepted and we do not: revoked, or ended while a stream was open; and
more calls of one of them than leave room for others.

gRPC looks at a certificate once, when a connection is made, and in Python knows no revocation. So
each call is judged here when it begins, and again every second for as long as it is open.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import grpc
import structlog
from cryptography import x509

from collector.peers import TLS_1_3, Transport, certificate, tls_version, transport
from collector.revocation import Revocations

log = structlog.get_logger(__name__)

SWEEP_SECONDS = 1.0
MOST_CALLS = 32
"""Open at once by one owner of certificates: each holds one of the server's threads."""


@dataclass(frozen=True, slots=True)
class _Open:
    context: grpc.ServicerContext
    certificate: x509.Certificate


class Admission(grpc.ServerInterceptor):  # type: ignore[type-arg] # no generic when it runs
    """Every call of the server passes ``intercept_service``. Without TLS nothing is judged."""

    def __init__(
        self,
        revocations: Revocations | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._revocations = revocations
        self._now = now
        self._lock = threading.Lock()
        self._open: dict[int, _Open] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="admission", daemon=True)
        self.ended = 0
        """Open calls that were ended for their certificate."""

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

    def admit(self, context: grpc.ServicerContext) -> None:
        """Aborts the call, or watches it until its end."""
        if transport(context) is not Transport.TLS:
            return
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
        call = _Open(context, found)
        if why := self._refusal(call.certificate):
            log.warning("peer.refused", why=why)
            context.abort(grpc.StatusCode.UNAUTHENTICATED, why)
        with self._lock:
            theirs = sum(each.certificate.subject == found.subject for each in self._open.values())
            self._open[id(call)] = call
        if theirs >= MOST_CALLS:
            self._closed(call)
            who = found.subject.rfc4514_string()
            log.warning("peer.too_many_calls", who=who)
            context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"{who!r} has {MOST_CALLS} calls open already"
            )
        if not context.add_callback(lambda: self._closed(call)):
            self._closed(call)

    def sweep(self) -> None:
        """End open calls whose certificate is not good any more."""
        if self._revocations is not None:
            self._revocations.refresh()
        with self._lock:
            calls = list(self._open.values())
        for call in calls:
            if why := self._refusal(call.certificate):
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


def _judged(handler: Any, admit: Callable[[grpc.ServicerContext], None]) -> Any:
    """The same handler, its behaviour called only for who is admitted."""
    kind = (
        f"{'stream' if handler.request_streaming else 'unary'}"
        f"_{'stream' if handler.response_streaming else 'unary'}"
    )
    behave = getattr(handler, kind)

    def judged(request: Any, context: grpc.ServicerContext) -> Any:
        admit(context)
        return behave(request, context)

    make = getattr(grpc, f"{kind}_rpc_method_handler")
    return make(judged, handler.request_deserializer, handler.response_serializer)
