"""The gRPC server: addresses, TLS, limits, health and reflection."""

import ipaddress
import os
import stat
from collections.abc import Sequence
from concurrent import futures
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from collector.admission import MOST_AT_ONCE, Admission
from collector.certificates import (
    CertificateError,
    CertificateFiles,
    OwnCertificate,
    RevocableFiles,
)
from collector.revocation import RevocationError, Revocations
from collector.service import UplinkService
from protos.pgwarden.v1 import (
    access_pb2,
    access_pb2_grpc,
    approvals_pb2,
    approvals_pb2_grpc,
    operator_pb2,
    operator_pb2_grpc,
    uplink_pb2,
)

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
SPARE_THREADS = 64
"""For calls that are told that there is no room for them, and for those of the unix socket."""

_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),  # a second collector on the same port must fail, not share
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
)


class ListenError(Exception):
    """An address cannot be listened on, or must not be without TLS."""


class AddressError(ListenError):
    """It can never work: it is no address, or it would serve a network without TLS."""


class Server:
    """``addresses``: ``unix:/path`` or ``host:port`` (port 0: any). With ``tls`` every TCP address
    demands a client certificate signed by ``ca`` and not revoked by ``crl``; without it only
    loopback is accepted.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        uplink: UplinkService,
        operator: "operator_pb2_grpc.OperatorServicer | None" = None,
        tls: RevocableFiles | None = None,
        approvals: "approvals_pb2_grpc.ApprovalsServicer | None" = None,
        access: "access_pb2_grpc.AccessServicer | None" = None,
        state: Path | None = None,
    ) -> None:
        """``state``: the folder in which to remember what the last start knew."""
        # Each open call holds a thread, which is made when it is needed first.
        threads = MOST_AT_ONCE + SPARE_THREADS
        pool = futures.ThreadPoolExecutor(threads, thread_name_prefix="rpc")
        self._own = _own(tls) if tls is not None else None
        self._admission = Admission(
            _revocations(tls, state) if tls is not None else None, most_at_once=MOST_AT_ONCE
        )
        self._server = grpc.server(
            pool,
            interceptors=[self._admission],
            options=_OPTIONS,
            maximum_concurrent_rpcs=threads,  # more are refused at once; they would wait unheard
        )
        self._server.add_generic_rpc_handlers((uplink.handler(),))
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = [uplink_pb2.DESCRIPTOR.services_by_name["Uplink"].full_name]
        if operator is not None:
            operator_pb2_grpc.add_OperatorServicer_to_server(operator, self._server)
            names.append(operator_pb2.DESCRIPTOR.services_by_name["Operator"].full_name)
        if approvals is not None:
            approvals_pb2_grpc.add_ApprovalsServicer_to_server(approvals, self._server)
            names.append(approvals_pb2.DESCRIPTOR.services_by_name["Approvals"].full_name)
        if access is not None:
            access_pb2_grpc.add_AccessServicer_to_server(access, self._server)
            names.append(access_pb2.DESCRIPTOR.services_by_name["Access"].full_name)
        reflection.enable_server_reflection(
            (*names, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server
        )
        self._services = ("", *names)
        self.addresses = [self._listen(address, tls) for address in addresses]
        """As given, with the port that was found for port 0."""

    def start(self) -> None:
        self._server.start()
        self._admission.start()
        self.set_healthy(True)

    def set_healthy(self, healthy: bool) -> None:
        statuses = health_pb2.HealthCheckResponse
        for name in self._services:
            self._health.set(name, statuses.SERVING if healthy else statuses.NOT_SERVING)

    @property
    def problems(self) -> list[str]:
        """Of its certificate and of the list of revoked ones."""
        found = (self._own.problem if self._own else "", self._admission.problem)
        return [problem for problem in found if problem]

    def stop(self, grace_seconds: float = 1.0) -> None:
        self._health.enter_graceful_shutdown()
        self._server.stop(grace_seconds).wait()
        self._admission.stop()

    def _listen(self, address: str, tls: CertificateFiles | None) -> str:
        if address.startswith("unix:"):
            self._listen_unix(address)
            return address
        check_address(address, tls)
        host, port = _split(address)
        try:
            found = (
                self._server.add_secure_port(address, self._own.credentials())
                if self._own is not None
                else self._server.add_insecure_port(address)
            )
        except RuntimeError as error:
            raise ListenError(f"cannot listen on {address}: is the port taken?") from error
        return f"{host}:{found}" if port == 0 else address

    def _listen_unix(self, address: str) -> None:
        """The socket is created 0600: a moment of 0755 would be enough to get in."""
        path = Path(address.removeprefix("unix:"))
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
            if path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
                raise ListenError(f"{path} is there and is not a socket: remove it")
            previous = os.umask(0o177)
            try:
                self._server.add_insecure_port(address)
            finally:
                os.umask(previous)
            path.chmod(0o600)
        except (OSError, RuntimeError) as error:
            raise ListenError(f"cannot listen on {address}: {error}") from error


def are_private(addresses: Sequence[str]) -> bool:
    """Whether nobody but root and this account may open the unix sockets among them, now. The mask
    of an access list stands in the mode as well. One that cannot be looked at is not."""
    for address in addresses:
        if not address.startswith("unix:"):
            continue
        try:
            found = Path(address.removeprefix("unix:")).stat()
        except OSError:
            return False
        if found.st_mode & 0o077 or found.st_uid not in (0, os.geteuid()):
            return False
    return True


def check_address(address: str, tls: CertificateFiles | None) -> None:
    """Raises AddressError for what can never be listened on; binds nothing."""
    if address.startswith("unix:"):
        return
    host, _ = _split(address)
    if tls is None and not _is_loopback(host):
        raise AddressError(
            f"collector address {address!r} can be reached from the network and has no TLS:"
            " set collector.tls with certificate, key and ca"
        )


def check_certificates(tls: RevocableFiles) -> None:
    """Raises ListenError for files that cannot be read or do not belong together."""
    _own(tls)
    _revocations(tls)


def _own(tls: CertificateFiles) -> OwnCertificate:
    try:
        return OwnCertificate(tls)
    except CertificateError as error:
        raise ListenError(str(error)) from error


def _revocations(tls: RevocableFiles, state: Path | None = None) -> Revocations | None:
    if tls.crl is None:
        return None
    try:
        return Revocations(tls.crl, tls.ca, state / "crl.pem" if state is not None else None)
    except RevocationError as error:
        raise ListenError(str(error)) from error
    except OSError as error:
        raise ListenError(
            f"cannot read {error.filename}: {error.strerror}; pgwarden pki init makes a list"
        ) from error


def _split(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    is_number = port.isascii() and port.isdigit() and len(port) <= 5
    if not colon or not host or not is_number or int(port) > 65535:
        raise AddressError(f"collector address {address!r}: give unix:/path or host:port")
    return host, int(port)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
