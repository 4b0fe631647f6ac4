"""Where the collector is and how to speak to it safely."""

import ipaddress
import os
from typing import Protocol

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # workers are started by exec, never forked
# TLS 1.3 only, as the collector: see docs/tls.md.
os.environ.setdefault("GRPC_SSL_CIPHER_SUITES", "ECDHE-PSK-AES128-CBC-SHA")

import grpc

Call = grpc.Call
RpcError = grpc.RpcError
StatusCode = grpc.StatusCode

KEEPALIVE_TIME_MS = 10_000
KEEPALIVE_TIMEOUT_MS = 5_000
"""A half-open connection is noticed after at most the sum of both."""
CONNECT_TIMEOUT_MS = 20_000

OPTIONS = (
    ("grpc.keepalive_time_ms", KEEPALIVE_TIME_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # Reconnecting is the uplink's work: gRPC's own backoff grows to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    # In truth how long one attempt may take: a TLS handshake over a slow network needs seconds.
    ("grpc.min_reconnect_backoff_ms", CONNECT_TIMEOUT_MS),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)


class AddressError(ValueError):
    """The address is malformed, or would send events over a network unprotected."""


class CertificateFiles(Protocol):
    """Paths of PEM files: our certificate and key, and the authority that signed the peer's."""

    @property
    def certificate(self) -> "os.PathLike[str]": ...
    @property
    def key(self) -> "os.PathLike[str]": ...
    @property
    def ca(self) -> "os.PathLike[str]": ...


def open_channel(address: str, tls: CertificateFiles | None = None) -> grpc.Channel:
    """``unix:/path`` or ``host:port``. Raises AddressError, or OSError for unreadable PEM files.

    Without ``tls`` only unix sockets and loopback addresses are accepted.
    """
    if address.startswith("unix:"):
        return grpc.insecure_channel(address, OPTIONS)
    check_address(address, tls)
    if tls is not None:
        credentials = grpc.ssl_channel_credentials(
            _read(tls.ca), _read(tls.key), _read(tls.certificate)
        )
        return grpc.secure_channel(address, credentials, OPTIONS)
    return grpc.insecure_channel(address, OPTIONS)


def check_address(address: str, tls: CertificateFiles | None = None) -> None:
    """Raises AddressError for an address that can never work, without speaking gRPC."""
    if address.startswith("unix:"):
        return
    if not _is_loopback(_host(address)) and tls is None:
        raise AddressError(
            f"collector address {address!r} is not on this host and has no TLS:"
            " set agent.tls with certificate, key and ca"
        )


def unreadable(tls: CertificateFiles) -> list[str]:
    """A sentence for each PEM file that this account cannot read."""
    problems = []
    for path in (tls.certificate, tls.key, tls.ca):
        try:
            _read(path)
        except OSError as error:
            problems.append(f"cannot read {os.fspath(path)}: {error.strerror}")
    return problems


def _host(address: str) -> str:
    host, colon, port = address.rpartition(":")
    if not colon or not host or not _is_number(port) or not 0 < int(port) < 65536:
        raise AddressError(f"collector address {address!r}: give unix:/path or host:port")
    return host.strip("[]")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read(path: "os.PathLike[str]") -> bytes:
    with open(path, "rb") as file:
        return file.read()
