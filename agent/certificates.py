"""The agent's own certificate: noticed when it is renewed, and named when it is what fails."""

import os
from collections.abc import Callable
from datetime import UTC, datetime

from agent.channel import CertificateFiles

Stamp = tuple[tuple[int, int, int], ...]


def stamp(tls: CertificateFiles) -> Stamp:
    """Another one when a file is another one. Raises OSError."""
    found = map(os.stat, (tls.certificate, tls.key, tls.ca))
    return tuple((each.st_ino, each.st_mtime_ns, each.st_size) for each in found)


class Renewal:
    """Whether there are other files than the ones that a channel was opened with."""

    def __init__(self, tls: CertificateFiles) -> None:
        self._tls = tls
        self._opened_with = _stamp_or_nothing(tls)

    def is_ready(self) -> bool:
        """Only when key and certificate belong together: they are replaced one after the other."""
        now = _stamp_or_nothing(self._tls)
        return now not in ((), self._opened_with) and not problem(self._tls)


def problem(tls: CertificateFiles, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> str:
    """What is wrong with our own files, with the remedy; empty: nothing that can be seen here."""
    from cryptography import x509  # 4 MB beside a database, needed only when something changes
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    path = os.fspath(tls.certificate)
    try:
        with open(tls.certificate, "rb") as file:
            found = x509.load_pem_x509_certificates(file.read())[0]
        with open(tls.key, "rb") as file:
            key = load_pem_private_key(file.read(), None)
        with open(tls.ca, "rb") as file:
            x509.load_pem_x509_certificates(file.read())
    except OSError as error:
        return f"cannot read {error.filename}: {error.strerror}"
    except (ValueError, TypeError) as error:
        return f"{path}, its key or {os.fspath(tls.ca)} is not PEM: {error}"
    if key.public_key() != found.public_key():
        return (
            f"{os.fspath(tls.key)} is not the key of {path}: install the two that belong together"
        )
    ends = found.not_valid_after_utc
    if now() >= ends:
        return f"{path} ended on {_day(ends)}: pgwarden pki rotate makes the next"
    if now() < found.not_valid_before_utc:
        begins = _day(found.not_valid_before_utc)
        return f"{path} is not valid before {begins}: is the clock of this host right?"
    return ""


def _stamp_or_nothing(tls: CertificateFiles) -> Stamp:
    try:
        return stamp(tls)
    except OSError:
        return ()


def _day(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M UTC")
