"""Who is calling, as the transport proves it."""

from enum import StrEnum
from typing import Any

import grpc
from cryptography import x509

from model.certified import Role, from_uri, is_ours

TLS_1_3 = "TLSv1.3"


class Transport(StrEnum):
    UNIX = "unix"
    TLS = "tls"
    LOOPBACK = "loopback"


def transport(context: grpc.ServicerContext) -> Transport:
    """By the transport itself: a certificate need have no common name."""
    if _property(context, "transport_security_type") == b"ssl":
        return Transport.TLS
    return Transport.UNIX if context.peer().startswith("unix:") else Transport.LOOPBACK


def tls_version(context: grpc.ServicerContext) -> str:
    return _property(context, "ssl_tls_version").decode("ascii", "replace")


def agent_name(context: grpc.ServicerContext) -> str | None:
    """The one agent that this certificate may speak for; empty: none; None: no TLS, so no proof."""
    return _name(context, Role.AGENT)


def approver_name(context: grpc.ServicerContext) -> str | None:
    """As ``agent_name``, for who decides about requests: an agent called alice is not Alice."""
    return _name(context, Role.APPROVER)


def common_name(context: grpc.ServicerContext) -> str | None:
    """The client certificate's common name, maybe empty; None without TLS."""
    if transport(context) is not Transport.TLS:
        return None
    return _property(context, "x509_common_name").decode("utf-8", "replace")


def certificate(context: grpc.ServicerContext) -> bytes:
    """The client certificate in PEM; empty without TLS."""
    return _property(context, "x509_pem_cert")


def _name(context: grpc.ServicerContext, role: Role) -> str | None:
    """A certificate of our authority says its role; another authority's is known by common name."""
    if transport(context) is not Transport.TLS:
        return None
    ours = [uri for uri in _uris(certificate(context)) if is_ours(uri)]
    if not ours:
        return common_name(context)
    found = [each for each in map(from_uri, ours) if each and each.role is role]
    return found[0].name if len(ours) == len(found) == 1 else ""


def owner(found: x509.Certificate) -> str:
    """Whose it is, also where the same one has several: by our names in it, else by subject."""
    ours = sorted(uri for uri in _alternatives(found) if is_ours(uri))
    return " ".join(ours) or found.subject.rfc4514_string()


def _uris(pem: bytes) -> list[str]:
    return _alternatives(x509.load_pem_x509_certificate(pem))


def _alternatives(parsed: x509.Certificate) -> list[str]:
    try:
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def _property(context: grpc.ServicerContext, name: str) -> bytes:
    """Empty without it. The stubs call its values bytes; gRPC gives a list of bytes."""
    values: Any = context.auth_context().get(name)
    return bytes(next(iter(values))) if values else b""
