"""Which certificates are revoked, as a file signed by their authority says."""

import re
import threading
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

log = structlog.get_logger(__name__)

_CRL = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)

Serial = tuple[bytes, int]
"""Issuer, as DER, and serial number."""


class RevocationError(Exception):
    """The list cannot be believed; the text names the file and what to do."""


class Revocations:
    """The list of ``collector.tls.crl``, read again when its file is another one.

    A new list that cannot be believed changes nothing: what was revoked stays so, and ``problem``
    says why. Raises RevocationError or OSError if the first one cannot be.
    """

    def __init__(self, crl: Path, ca: Path) -> None:
        self._crl = crl
        self._ca = ca
        self._lock = threading.Lock()
        self._stamp = _stamp(crl)
        self._numbers: dict[bytes, int] = {}
        self._revoked: frozenset[Serial] = frozenset()
        self.problem = ""
        self._load()

    def __contains__(self, certificate: x509.Certificate) -> bool:
        return serial_of(certificate) in self._revoked

    def refresh(self) -> None:
        """Cheap when nothing has changed. Never raises."""
        with self._lock:
            try:
                self._read_if_changed()
            except (OSError, RevocationError) as error:
                told = str(error) if isinstance(error, RevocationError) else _unreadable(error)
                if told != self.problem:
                    log.error("revocation.not_read", problem=told)
                self.problem = told

    def _read_if_changed(self) -> None:
        stamp = _stamp(self._crl)
        if stamp == self._stamp and not self.problem:
            return
        self._load()
        self._stamp = stamp
        self.problem = ""
        log.info("revocation.read", file=str(self._crl), revoked=len(self._revoked))

    def _load(self) -> None:
        data = self._crl.read_bytes()
        found = _CRL.findall(data)
        if not found:
            raise RevocationError(
                f"{self._crl} holds no revocation list in PEM: copy the authority's crl.pem"
            )
        try:
            authorities = x509.load_pem_x509_certificates(self._ca.read_bytes())
            lists = [x509.load_pem_x509_crl(each) for each in found]
        except ValueError as error:
            raise RevocationError(f"{self._crl} or {self._ca} is damaged: {error}") from error
        numbers: dict[bytes, int] = {}
        revoked: set[Serial] = set()
        for each in lists:
            issuer = each.issuer.public_bytes()
            self._believe(each, authorities)
            number = numbers[issuer] = _number(each)
            if number < self._numbers.get(issuer, 0):
                raise RevocationError(
                    f"{self._crl} is older than the list in use (number {number} after"
                    f" {self._numbers[issuer]}): copy the authority's newest crl.pem"
                )
            revoked.update((issuer, entry.serial_number) for entry in each)
        missing = self._numbers.keys() - numbers.keys()
        if missing:
            raise RevocationError(f"{self._crl} lacks the list of an authority that it had before")
        self._numbers, self._revoked = numbers, frozenset(revoked)

    def _believe(
        self, found: x509.CertificateRevocationList, authorities: list[x509.Certificate]
    ) -> None:
        for authority in authorities:
            try:
                if authority.subject == found.issuer and found.is_signature_valid(
                    authority.public_key()  # type: ignore[arg-type] # others raise TypeError
                ):
                    return
            except (TypeError, UnsupportedAlgorithm):
                continue
        raise RevocationError(
            f"{self._crl} was signed by none of the authorities in {self._ca}:"
            " copy the crl.pem of the authority that issues, or add its certificate"
        )


def serial_of(certificate: x509.Certificate) -> Serial:
    return certificate.issuer.public_bytes(), certificate.serial_number


def _number(found: x509.CertificateRevocationList) -> int:
    try:
        return found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return 0


def _unreadable(error: OSError) -> str:
    return f"cannot read {error.filename}: {error.strerror}; what was revoked stays so"


def _stamp(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size
