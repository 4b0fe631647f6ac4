"""Who is calling, as the transport proves it."""

from enum import StrEnum
from typing import Any

import grpc


class Transport(StrEnum):
    UNIX = "unix"
    TLS = "tls"
    LOOPBACK = "loopback"


def transport(context: grpc.ServicerContext) -> Transport:
    if common_name(context) is not None:
        return Transport.TLS
    return Transport.UNIX if context.peer().startswith("unix:") else Transport.LOOPBACK


def common_name(context: grpc.ServicerContext) -> str | None:
    """The client certificate's common name; None without TLS."""
    found = context.auth_context().get("x509_common_name")
    return _first(found).decode("utf-8", "replace") if found else None


def certificate(context: grpc.ServicerContext) -> bytes:
    """The client certificate in PEM; empty without TLS."""
    found = context.auth_context().get("x509_pem_cert")
    return _first(found) if found else b""


def _first(values: Any) -> bytes:
    """The stubs call them bytes; gRPC gives a list of bytes."""
    return bytes(next(iter(values)))
