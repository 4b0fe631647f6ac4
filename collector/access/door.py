"""Who is calling, and whether they may: established here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import unquote

import grpc
from cryptography import x509

from collector.access.journal import Access, Journal
from collector.access.tokens import Token, Tokens
from collector.peers import Transport, approver_name, certificate, transport
from model.access import AccessRole, may

APPROVALS = "Approvals."
SCHEME = "bearer "


class Via(StrEnum):
    SOCKET = "socket"
    CERTIFICATE = "certificate"
    TOKEN = "token"  # noqa: S105 - a word, no secret


@dataclass(frozen=True, slots=True)
class Caller:
    name: str
    """Empty for the owner of the socket: only the permissions of the file speak for them."""
    role: AccessRole
    via: Via
    token: Token | None = None

    @property
    def operates(self) -> bool:
        """They are the collector's account, or hold its certificate: what they say is believed."""
        return self.via is Via.SOCKET or (
            self.via is Via.CERTIFICATE and self.role is AccessRole.ADMIN
        )

    def known_as(self, claimed: Sequence[str]) -> str:
        """Their proven name; what they say of themselves only where they operate the collector."""
        return self.name or next((name for name in claimed if name), "")


class Door:
    """The unix socket and the collector's own certificate are admins; a token is what it was issued
    for; an approver's certificate opens approvals alone. A token decides wherever it is shown."""

    def __init__(
        self,
        own_certificate: Callable[[], bytes] = lambda: b"",
        tokens: Tokens | None = None,
        journal: Journal | None = None,
        approvers: frozenset[str] = frozenset(),
    ) -> None:
        """``approvers``: names of certificates."""
        self._own_certificate = own_certificate
        self._tokens = tokens
        self._journal = journal
        self.approvers = approvers
        """May be exchanged while it serves."""

    def admit(self, context: grpc.ServicerContext, method: str) -> Caller:
        """Ends the call of who may not, with the reason; either way it is an event."""
        secret = _secret(context)
        caller = self._by_token(secret) if secret else self._by_transport(context, method)
        allowed = caller is not None and may(caller.role, method)
        self._note(context, method, caller, allowed)
        if caller is None and secret:
            context.abort(
                grpc.StatusCode.UNAUTHENTICATED,
                "the token is unknown, revoked or ended: pgwarden token issue makes another",
            )
        if caller is None:
            context.abort(
                grpc.StatusCode.PERMISSION_DENIED,
                "this takes the collector's unix socket, its own certificate, or a token"
                " (PGWARDEN_ACCESS_TOKEN)"
                + (
                    "; a certificate where collector.approvals.approvers names it"
                    if method.startswith(APPROVALS)
                    else ""
                ),
            )
        if not allowed:
            context.abort(
                grpc.StatusCode.PERMISSION_DENIED, f"role {caller.role} may not call {method}"
            )
        return caller

    def still(self, caller: Caller) -> bool:
        """For calls that last: whether the token has not been revoked and not ended."""
        return caller.token is None or (
            self._tokens is not None and self._tokens.is_good(caller.token)
        )

    def _by_token(self, secret: str) -> Caller | None:
        token = self._tokens.find(secret) if self._tokens else None
        return Caller(token.name, token.role, Via.TOKEN, token) if token else None

    def _by_transport(self, context: grpc.ServicerContext, method: str) -> Caller | None:
        how = transport(context)
        if how is Transport.UNIX:
            return Caller("", AccessRole.ADMIN, Via.SOCKET)
        if how is Transport.TLS and _is_same(certificate(context), self._own_certificate()):
            return Caller("", AccessRole.ADMIN, Via.CERTIFICATE)
        name = approver_name(context) or ""
        if method.startswith(APPROVALS) and name and name in self.approvers:
            return Caller(name, AccessRole.APPROVER, Via.CERTIFICATE)
        return None

    def _note(
        self, context: grpc.ServicerContext, method: str, caller: Caller | None, allowed: bool
    ) -> None:
        if self._journal is None:
            return
        self._journal.add(
            Access(
                name=caller.name if caller else "",
                role=caller.role if caller else "",
                via=caller.via if caller else "",
                address=_address(context),
                method=method,
                outcome="allowed" if allowed else "refused",
                token=caller.token.id if caller and caller.token else "",
            )
        )


def own_certificate(path: Path | None) -> Callable[[], bytes]:
    """Reads the collector's certificate at each call, as it may be renewed."""

    def read() -> bytes:
        try:
            return path.read_bytes() if path else b""
        except OSError:
            return b""

    return read


def _is_same(shown: bytes, file: bytes) -> bool:
    """A file begins with the certificate itself; those that signed it, up to the authority's, may
    follow, and text may stand between."""
    try:
        own = x509.load_pem_x509_certificates(file)[0]
        return x509.load_pem_x509_certificate(shown) == own
    except ValueError:
        return False


def _secret(context: grpc.ServicerContext) -> str:
    """Of ``authorization: Bearer ...``; empty without one."""
    for key, value in context.invocation_metadata() or ():
        text = value if isinstance(value, str) else value.decode("ascii", "replace")
        if key == "authorization" and text.lower().startswith(SCHEME):
            return text[len(SCHEME) :].strip()
    return ""


def _address(context: grpc.ServicerContext) -> str:
    """Without the port, which is another one each time; empty for a socket."""
    kind, _, place = unquote(context.peer()).partition(":")
    return "" if kind == "unix" else place.rpartition(":")[0].strip("[]")
