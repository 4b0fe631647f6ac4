"""Which certificates are revoked, as a file signed by their authority says."""

import os
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
    says why. ``kept``: where the last one that was believed is, over restarts. Without one there
    raises RevocationError or OSError if the first list cannot be believed.
    """

    def __init__(self, crl: Path, ca: Path, kept: Path | None = None) -> None:
        self._crl = crl
        self._ca = ca
        self._kept = kept
        self._lock = threading.Lock()
        self._stamp = _stamp(crl)
        self._revoked: dict[bytes, frozenset[int]] = {}
        """Serial numbers by issuer, as DER."""
        self._numbers: dict[bytes, int] = {}
        self.problem = ""
        if not self._remembers():
            self._load()
            return
        self.problem = f"{crl} was not read yet"
        self.refresh()

    def __contains__(self, certificate: x509.Certificate) -> bool:
        issuer, serial = serial_of(certificate)
        return serial in self._revoked.get(issuer, ())

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
        log.info(
            "revocation.read", file=str(self._crl), revoked=sum(map(len, self._revoked.values()))
        )

    def _remembers(self) -> bool:
        """What was believed before this start; one that is no good is none."""
        if self._kept is None or not self._kept.exists():
            return False
        try:
            for each in self._lists(self._kept, self._kept.read_bytes()):
                self._take(each)
        except (OSError, RevocationError) as error:
            log.error("revocation.not_remembered", file=str(self._kept), problem=str(error))
            self._numbers, self._revoked = {}, {}
        return bool(self._numbers)

    def _load(self) -> None:
        data = self._crl.read_bytes()
        lists = self._lists(self._crl, data)
        for each in lists:
            self._must_follow(each)
        missing = self._numbers.keys() - {each.issuer.public_bytes() for each in lists}
        if missing:
            raise RevocationError(f"{self._crl} lacks the list of an authority that it had before")
        for each in lists:
            self._take(each)
        self._keep(data)

    def _lists(self, file: Path, data: bytes) -> list[x509.CertificateRevocationList]:
        found = _CRL.findall(data)
        if not found:
            raise RevocationError(
                f"{file} holds no revocation list in PEM: copy the authority's crl.pem"
            )
        try:
            authorities = x509.load_pem_x509_certificates(self._ca.read_bytes())
            lists = [x509.load_pem_x509_crl(each) for each in found]
        except ValueError as error:
            raise RevocationError(f"{file} or {self._ca} is damaged: {error}") from error
        for each in lists:
            self._believe(each, authorities)
        return lists

    def _must_follow(self, found: x509.CertificateRevocationList) -> None:
        """An authority that was restored counts on from an older number: it must not revive what it
        has forgotten. One with a higher number may leave out what is over."""
        issuer, number = found.issuer.public_bytes(), _number(found)
        before = self._numbers.get(issuer, 0)
        gone = self._revoked.get(issuer, frozenset()) - {each.serial_number for each in found}
        if number < before or (number == before and gone):
            restored = (
                f"{self._kept} to its folder as crl.pem" if self._kept else "the newest there"
            )
            raise RevocationError(
                f"{self._crl} is older than the list in use (number {number} after {before},"
                f" {len(gone)} revoked certificates fewer): copy the authority's newest crl.pem; if"
                f" the authority was restored from a copy, first copy {restored}, then revoke again"
            )
        if gone:
            log.warning("revocation.left_out", file=str(self._crl), number=number, fewer=len(gone))

    def _take(self, found: x509.CertificateRevocationList) -> None:
        issuer = found.issuer.public_bytes()
        self._numbers[issuer] = _number(found)
        self._revoked = {**self._revoked, issuer: frozenset(each.serial_number for each in found)}

    def _keep(self, data: bytes) -> None:
        """Whole or not at all. Without it, the next start believes an older list."""
        if self._kept is None or (self._kept.exists() and self._kept.read_bytes() == data):
            return
        part = self._kept.with_name(f"{self._kept.name}.part")
        try:
            self._kept.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._kept)
        except OSError as error:
            log.error("revocation.not_kept", file=str(self._kept), problem=error.strerror)

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
