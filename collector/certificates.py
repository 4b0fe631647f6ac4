"""The collector's own certificate: read anew for every connection, and never half."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import grpc
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

log = structlog.get_logger(__name__)


class CertificateFiles(Protocol):
    @property
    def certificate(self) -> Path: ...
    @property
    def key(self) -> Path: ...
    @property
    def ca(self) -> Path: ...


class RevocableFiles(CertificateFiles, Protocol):
    @property
    def crl(self) -> Path | None: ...


SETTLE_SECONDS = 0.1
"""One that has begun takes microseconds to what it was promised; on a busy machine more."""


class CertificateError(Exception):
    """A file cannot serve; the text names it and what to do."""


class OwnCertificate:
    """Raises CertificateError if the files cannot serve; later ones that cannot are not taken, and
    ``problem`` says why."""

    def __init__(self, files: CertificateFiles) -> None:
        self._files = files
        self._taken = _contents(files)
        self._first, self._ends = _configuration(files, self._taken)
        self._read_problem = ""

    def credentials(self) -> grpc.ServerCredentials:
        """Open connections keep what they have; each new one asks for what is in the files then."""
        return grpc.dynamic_ssl_server_credentials(
            self._first,
            self.renewed,  # type: ignore[arg-type] # its stub forgets that None may be answered
            require_client_authentication=True,
        )

    @property
    def problem(self) -> str:
        if datetime.now(UTC) >= self._ends:
            return f"{self._files.certificate} ended on {_day(self._ends)}: agents refuse it"
        return self._read_problem

    def renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """For a connection that begins; None: nothing has changed.

        gRPC frees what it had when it is handed another, and may have promised it to a connection
        that begins at the same time: with one for each connection, many at once crash it. So it
        gets another only where there is one, and then those that have begun have a moment to take
        what they were promised; all others wait for this call.
        """
        try:
            contents = _contents(self._files)
            if contents == self._taken:
                self._read_problem = ""
                return None
            configuration, self._ends = _configuration(self._files, contents)
        except CertificateError as error:  # maybe a file is being replaced right now
            if str(error) != self._read_problem:
                log.warning("certificate.not_read", problem=str(error))
            self._read_problem = str(error)
            return None
        self._taken, self._read_problem = contents, ""
        time.sleep(SETTLE_SECONDS)
        return configuration


Contents = tuple[bytes, bytes, bytes]
"""Key, certificate and authority, in PEM."""


def _contents(files: CertificateFiles) -> Contents:
    try:
        return files.key.read_bytes(), files.certificate.read_bytes(), files.ca.read_bytes()
    except OSError as error:
        raise CertificateError(f"cannot read {error.filename}: {error.strerror}") from error


def _configuration(
    files: CertificateFiles, contents: Contents
) -> tuple[grpc.ServerCertificateConfiguration, datetime]:
    key, certificate, ca = contents
    found = _first(files.certificate, certificate)
    _first(files.ca, ca)
    if _public(files.key, key) != found.public_key().public_bytes(*_SPKI):
        raise CertificateError(
            f"{files.key} is not the key of {files.certificate}: install the pair that belongs"
            " together"
        )
    return grpc.ssl_server_certificate_configuration([(key, certificate)], ca), (
        found.not_valid_after_utc
    )


_SPKI = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _first(path: Path, pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(pem)[0]
    except ValueError as error:
        raise CertificateError(f"{path} holds no certificate in PEM: {error}") from error


def _public(path: Path, pem: bytes) -> bytes:
    try:
        return serialization.load_pem_private_key(pem, None).public_key().public_bytes(*_SPKI)
    except (ValueError, TypeError) as error:
        raise CertificateError(f"{path} holds no private key in PEM: {error}") from error


def _day(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M UTC")
