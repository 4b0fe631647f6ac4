"""A private authority in a folder: its key, what it has issued, and what it has revoked.

``ca.pem``, ``ca.key``, ``crl.pem``; ``issued/SERIAL.pem`` for each certificate; and for each owner
a folder to take to its host: ``agents/NAME/`` with ``cert.pem``, ``key.pem`` and ``ca.pem``.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from cli.pki.certificates import (
    CLOCK_SKEW,
    authority,
    certified,
    hosts_of,
    key_pem,
    leaf,
    new_key,
    pem,
    revocation_list,
)
from cli.pki.placing import PRIVATE, PUBLIC, place, private_folder
from model.certified import Certified

NAME_BYTES = 200
"""Percent-encoded, as it names a folder too."""
AGENT_LIFETIME = timedelta(days=7)
ROTATE_WITHIN = 1 / 3
"""A certificate is due for its next one when less than this part of its life is left."""


class PkiError(Exception):
    """Something that whoever runs the command can put right; the text says how."""


@dataclass(frozen=True, slots=True)
class Issued:
    who: Certified
    certificate: x509.Certificate
    revoked_at: datetime | None = None

    @property
    def serial(self) -> str:
        return f"{self.certificate.serial_number:x}"

    @property
    def ends(self) -> datetime:
        return self.certificate.not_valid_after_utc

    @property
    def lifetime(self) -> timedelta:
        return self.ends - self.certificate.not_valid_before_utc - CLOCK_SKEW

    def state(self, now: datetime) -> str:
        """``valid``, ``expired`` or ``revoked``."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if now >= self.ends else "valid"

    def is_due(self, now: datetime) -> bool:
        return self.state(now) == "valid" and self.ends - now < self.lifetime * ROTATE_WITHIN


class Authority:
    """Use ``create`` or ``opened``. Methods raise PkiError, or OSError with the file's name."""

    def __init__(
        self, folder: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
    ) -> None:
        self.folder = folder
        self.certificate = certificate
        self.signer = (certificate, key)

    @classmethod
    def create(cls, folder: Path, name: str, lifetime: timedelta, now: datetime) -> Authority:
        private_folder(folder)
        _must_be_private(folder)
        if (folder / "ca.key").exists():
            raise PkiError(f"{folder} holds an authority already: choose another --dir")
        key = new_key()
        made = cls(folder, authority(name, key, now, lifetime), key)
        place(folder / "ca.key", key_pem(key), PRIVATE)
        place(folder / "ca.pem", pem(made.certificate), PUBLIC)
        made._write_crl({}, 1, now)
        return made

    @classmethod
    @contextmanager
    def opened(cls, folder: Path) -> Iterator[Authority]:
        """For one command at a time: another one waits."""
        if not (folder / "ca.key").exists():
            raise PkiError(f"no authority in {folder}: make one with pgwarden pki init --dir DIR")
        _must_be_private(folder)
        _must_be_private(folder / "ca.key")
        try:
            certificate = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
            key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
        except (ValueError, TypeError) as error:
            raise PkiError(f"{folder}: ca.pem or ca.key is damaged: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or (
            key.public_key() != certificate.public_key()
        ):
            raise PkiError(f"{folder}/ca.key is not the key of {folder}/ca.pem: restore both")
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield cls(folder, certificate, key)
        finally:
            os.close(lock)

    def issue(
        self, who: Certified, hosts: Sequence[str], lifetime: timedelta, now: datetime
    ) -> Issued:
        """Signed and recorded, its files placed in ``home``. Raises PkiError where one is valid."""
        check_name(who.name)
        for older in self.issued():
            if older.who == who and older.state(now) == "valid":
                raise PkiError(
                    f"{who.role} {who.name} has a certificate until {_day(older.ends)}:"
                    f" pgwarden pki rotate {who.name}, or revoke it first"
                )
        return self._issue(who, hosts, lifetime, now)

    def rotate(self, older: Issued, now: datetime) -> Issued:
        """The next one for the same owner; the older one stays valid until its end."""
        return self._issue(older.who, hosts_of(older.certificate), older.lifetime, now)

    def sign(self, who: Certified, public_key: ec.EllipticCurvePublicKey, now: datetime) -> Issued:
        """For a key that its owner keeps, for an agent's usual time."""
        return self._sign(who, (), AGENT_LIFETIME, now, public_key)

    def _issue(
        self, who: Certified, hosts: Sequence[str], lifetime: timedelta, now: datetime
    ) -> Issued:
        key = new_key()
        issued = self._sign(who, hosts, lifetime, now, key.public_key())
        self.hand_over(key, issued.certificate, private_folder(self.home(who)))
        return issued

    def _sign(
        self,
        who: Certified,
        hosts: Sequence[str],
        lifetime: timedelta,
        now: datetime,
        public_key: ec.EllipticCurvePublicKey,
    ) -> Issued:
        """Recorded before anybody has it: what is not could not be revoked by its name."""
        ends = min(now + lifetime, self.certificate.not_valid_after_utc)
        if ends <= now:
            raise PkiError(
                f"the authority of {self.folder} ended on {_day(ends)}: make another with pki init"
            )
        begins = max(now - CLOCK_SKEW, self.certificate.not_valid_before_utc)
        try:
            certificate = leaf(who, hosts, public_key, self.signer, (begins, ends))
        except ValueError as error:
            raise PkiError(f"no certificate for {', '.join(hosts) or who.name}: {error}") from error
        issued = Issued(who, certificate)
        records = private_folder(self.folder / "issued")
        place(records / f"{issued.serial}.pem", pem(certificate), PUBLIC)
        return issued

    def hand_over(
        self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate, to: Path
    ) -> None:
        place(to / "key.pem", key_pem(key), PRIVATE)
        place(to / "cert.pem", pem(certificate), PUBLIC)
        place(to / "ca.pem", pem(self.certificate), PUBLIC)

    def home(self, who: Certified) -> Path:
        return self.folder / f"{who.role}s" / quote(who.name, safe="")

    def issued(self) -> list[Issued]:
        """Oldest first."""
        revoked, _ = self._revoked()
        found = []
        files = (self.folder / "issued").glob("*.pem")
        for file in sorted(files, key=lambda each: each.stat().st_mtime_ns):
            if each := _recorded(file, revoked):
                found.append(each)
        return sorted(found, key=lambda each: each.certificate.not_valid_before_utc)

    def record_of(self, shown: bytes) -> Issued | None:
        """Of a certificate in DER; None where it is none of ours. It is looked up by its serial:
        hosts renew daily, and to read what all of them ever had would take seconds."""
        try:
            serial = x509.load_der_x509_certificate(shown).serial_number
        except ValueError:
            return None
        file = self.folder / "issued" / f"{serial:x}.pem"
        found = _recorded(file, self._revoked()[0]) if file.exists() else None
        same = found is not None and found.certificate.public_bytes(Encoding.DER) == shown
        return found if same else None

    def revoke(self, which: Sequence[Issued], now: datetime, known: Path | None = None) -> bytes:
        """Returns the new revocation list in PEM; it stands in ``crl.pem``. ``known``: the file
        that it will replace. Raises PkiError where that one is newer than ours."""
        revoked, number = self._revoked()
        if known is not None and (newer := self._number_in(known)) > number:
            raise PkiError(
                f"{known} has list number {newer} and {self.crl} is number {number}: this authority"
                f" was restored from an older copy. Nothing was revoked. Copy {known} to {self.crl}"
                " and revoke again, so that what was revoked since stays so"
            )
        added = {each.certificate.serial_number: now.replace(microsecond=0) for each in which}
        return self._write_crl({**added, **revoked}, number + 1, now)

    @property
    def crl(self) -> Path:
        return self.folder / "crl.pem"

    def _write_crl(self, revoked: dict[int, datetime], number: int, now: datetime) -> bytes:
        data = pem(revocation_list(self.signer, revoked, number, now))
        place(self.crl, data, PUBLIC)
        return data

    def _number_in(self, known: Path) -> int:
        """0 where it is none of ours."""
        try:
            found = x509.load_pem_x509_crl(known.read_bytes())
            if found.is_signature_valid(self.signer[1].public_key()):
                return found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm, x509.ExtensionNotFound):
            pass
        return 0

    def _revoked(self) -> tuple[dict[int, datetime], int]:
        """By serial, and the number of the list."""
        try:
            found = x509.load_pem_x509_crl(self.crl.read_bytes())
            number = found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
            signed = found.is_signature_valid(self.signer[1].public_key())
        except (ValueError, x509.ExtensionNotFound) as error:
            raise PkiError(f"{self.crl} is damaged: restore it ({error})") from error
        if not signed:
            raise PkiError(f"{self.crl} was not signed by this authority: restore it")
        return {each.serial_number: each.revocation_date_utc for each in found}, number


def check_name(name: str) -> None:
    if not (0 < len(quote(name, safe="")) <= NAME_BYTES and name.isprintable() and name[0] != "."):
        raise PkiError(
            f"{name!r} is no name: up to {NAME_BYTES} bytes, printable, and no dot first"
        )


def _recorded(file: Path, revoked: Mapping[int, datetime]) -> Issued | None:
    """None where it names nobody. Raises PkiError where it is damaged."""
    try:
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
    except ValueError as error:
        raise PkiError(f"{file} is damaged: restore or remove it ({error})") from error
    who = certified(certificate)
    return Issued(who, certificate, revoked.get(certificate.serial_number)) if who else None


def _must_be_private(path: Path) -> None:
    if path.stat().st_mode & 0o077:
        mode = "0700" if path.is_dir() else "0600"
        raise PkiError(f"others may read {path}: chmod {mode} {path}")


def _day(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M UTC")
