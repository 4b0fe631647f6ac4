"""A host gets its first certificate over the network, for a token; its key never leaves it.

The host first asks for the authority's certificate, believing nobody, and compares it with the
token's fingerprint. Only a server that this authority has certified is then given the secret.
"""

from __future__ import annotations

import http.client
import ssl
import tempfile
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import socket
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from cli.pki import tokens
from cli.pki.authority import Authority, Issued, PkiError
from cli.pki.certificates import CLOCK_SKEW, key_pem, leaf, new_key, pem
from cli.pki.placing import PRIVATE, PUBLIC, place, private_folder
from model.certified import Certified, Role

SECONDS = 10.0
MOST_BYTES = 8192
SERVER_LIFETIME = timedelta(days=30)


class EnrolmentServer(ThreadingHTTPServer):
    """``port`` 0: any. ``told`` hears of each certificate that was given, and of each refusal."""

    daemon_threads = True

    def __init__(self, folder: Path, host: str, port: int, told: Any, now: Any) -> None:
        self.folder, self.told, self.now, self._host = folder, told, now, host
        self._renew()
        super().__init__((host, port), _Handler)

    def _renew(self) -> None:
        self._due = self.now() + SERVER_LIFETIME / 2
        with Authority.opened(self.folder) as authority:
            self._tls = _server_context(authority, self._host, self.now())

    def finish_request(self, request: Any, client_address: Any) -> None:
        """On the connection's own thread: a peer that shakes no hands holds up nobody else."""
        request.settimeout(SECONDS)
        if self.now() >= self._due:
            self._renew()
        try:
            secure = self._tls.wrap_socket(request, server_side=True)
        except OSError:
            return  # whoever scans ports; nobody was told anything
        with secure:
            super().finish_request(secure, client_address)

    def handle_error(self, request: socket | tuple[bytes, socket], client_address: Any) -> None:
        """A connection that broke off is no trace on standard error."""


class _Handler(BaseHTTPRequestHandler):
    server: EnrolmentServer
    timeout = SECONDS

    def do_GET(self) -> None:
        if self.path != "/ca.pem":
            return self._answer(404, b"there are /ca.pem, /enrol and /renew")
        return self._answer(200, (self.server.folder / "ca.pem").read_bytes())

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        known = self.path in ("/enrol", "/renew")
        if not known or not length.isdecimal() or int(length) > MOST_BYTES:
            return self._answer(400, b"POST a request for a certificate, in PEM")
        try:
            issued = self._given(self.rfile.read(int(length)))
        except PkiError as error:
            self.server.told(f"✗ {self.client_address[0]}: {error}")
            return self._answer(403, str(error).encode())
        until = issued.ends.strftime("%Y-%m-%d %H:%M UTC")
        self.server.told(f"✓ agent {issued.who.name}, until {until}: {self.client_address[0]}")
        return self._answer(200, pem(issued.certificate))

    def _given(self, request_pem: bytes) -> Issued:
        folder, now = self.server.folder, self.server.now()
        if self.path == "/renew":
            assert isinstance(self.connection, ssl.SSLSocket)
            return renew(folder, self.connection.getpeercert(binary_form=True), request_pem, now)
        secret = self.headers.get("Authorization", "").removeprefix("Bearer ")
        return enrol(folder, secret, request_pem, now)

    def _answer(self, code: int, body: bytes) -> None:
        self.send_response_only(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """What matters is told; headers hold secrets."""


def enrol(folder: Path, secret: str, request_pem: bytes, now: datetime) -> Issued:
    """Raises PkiError; a request that is damaged leaves the token as it was."""
    public_key = _requested(request_pem)
    with Authority.opened(folder) as authority:
        who = Certified(Role.AGENT, tokens.take(authority, secret, now))
        return authority.sign(who, public_key, now)


def renew(folder: Path, shown: bytes | None, request_pem: bytes, now: datetime) -> Issued:
    """The next certificate for who has shown, in DER, one that is still good. Raises PkiError."""
    public_key = _requested(request_pem)
    with Authority.opened(folder) as authority:
        older = authority.record_of(shown) if shown is not None else None
        if older and older.who.role is Role.AGENT and older.state(now) == "valid":
            return authority.sign(older.who, public_key, now)
    raise PkiError(
        "only a valid agent certificate of this authority is renewed: pgwarden pki token"
    )


def _requested(request_pem: bytes) -> ec.EllipticCurvePublicKey:
    """Signed by its own key: who asks has it."""
    try:
        request = x509.load_pem_x509_csr(request_pem)
        key = request.public_key()
        signed = request.is_signature_valid
    except (ValueError, InvalidSignature, UnsupportedAlgorithm):
        signed = False
    if not (
        signed
        and isinstance(key, ec.EllipticCurvePublicKey)
        and isinstance(key.curve, ec.SECP256R1)
    ):
        raise PkiError("the request for a certificate is not one of an ECDSA P-256 key")
    return key


def obtain(url: str, token: tokens.Token, to: Path) -> x509.Certificate:
    """Key, certificate and authority, placed in ``to``. Raises PkiError or OSError."""
    where = _where(url)
    unproven = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unproven.check_hostname, unproven.verify_mode = False, ssl.CERT_NONE
    ca = _asked(where, unproven, "GET", "/ca.pem")
    try:
        same = tokens.fingerprint(x509.load_pem_x509_certificate(ca)) == token.fingerprint
    except ValueError:
        same = False
    if not same:
        raise PkiError(f"{url} is not of the authority that made the token: it was told nothing")
    proven = ssl.create_default_context(cadata=ca.decode("ascii"))
    proven.minimum_version = ssl.TLSVersion.TLSv1_3
    key = new_key()
    private_folder(to)
    # First: a token must not be used up for nothing. Beside what is there, which stays good where
    # nothing is given: who provisions a host twice shows a token that was used.
    fresh = to / "key.pem.new"
    place(fresh, key_pem(key), PRIVATE)
    try:
        given = _asked(where, proven, "POST", "/enrol", _request(key), token.secret)
        certificate = x509.load_pem_x509_certificate(given)
        place(to / "ca.pem", ca, PUBLIC)
        fresh.replace(to / "key.pem")
    finally:
        fresh.unlink(missing_ok=True)
    place(to / "cert.pem", given, PUBLIC)
    return certificate


def obtain_next(url: str, to: Path) -> x509.Certificate:
    """The next certificate for the key in ``to``. The key stays: two files cannot be replaced at
    once, and who has stolen key and certificate could renew them as well. Raises as ``obtain``."""
    proven = ssl.create_default_context(cafile=to / "ca.pem")
    proven.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        proven.load_cert_chain(to / "cert.pem", to / "key.pem", password="")
        key = load_pem_private_key((to / "key.pem").read_bytes(), None)
    except (ssl.SSLError, ValueError, TypeError) as error:
        raise PkiError(f"{to}: key.pem and cert.pem cannot be used: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise PkiError(f"{to}/key.pem is no ECDSA key: enrol with a token")
    given = _asked(_where(url), proven, "POST", "/renew", _request(key))
    place(to / "cert.pem", given, PUBLIC)
    return x509.load_pem_x509_certificate(given)


def _where(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise PkiError(f"{url!r}: give https://HOST:PORT of pgwarden pki serve")
    return parts.hostname, parts.port or 443


def _request(key: ec.EllipticCurvePrivateKey) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return pem(builder.sign(key, hashes.SHA256()))


def _asked(
    where: tuple[str, int],
    context: ssl.SSLContext,
    method: str,
    path: str,
    body: bytes | None = None,
    secret: str = "",
) -> bytes:
    connection = http.client.HTTPSConnection(*where, timeout=SECONDS, context=context)
    try:
        connection.request(method, path, body, {"Authorization": f"Bearer {secret}"})
        reply = connection.getresponse()
        answer = reply.read(4 * MOST_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise PkiError(f"https://{where[0]}:{where[1]} does not answer: {error}") from error
    finally:
        connection.close()
    if reply.status != 200:
        raise PkiError(answer.decode("utf-8", "replace"))
    return answer


def _server_context(authority: Authority, host: str, now: datetime) -> ssl.SSLContext:
    """With a certificate that exists as long as the server."""
    key = new_key()
    who = Certified(Role.COLLECTOR, host)
    validity = (now - CLOCK_SKEW, now + SERVER_LIFETIME)
    certificate = leaf(who, [host], key.public_key(), authority.signer, validity)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with tempfile.TemporaryDirectory() as folder:  # 0700; the library takes files only
        file = Path(folder) / "pair.pem"
        place(file, key_pem(key) + pem(certificate), PRIVATE)
        context.load_cert_chain(file)
    context.verify_mode = ssl.CERT_OPTIONAL  # who renews shows one, who enrols has none
    context.load_verify_locations(cadata=pem(authority.certificate).decode("ascii"))
    return context
