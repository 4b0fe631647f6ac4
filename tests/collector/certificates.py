"""Throw-away certificates for tests of mutual TLS."""

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Files:
    certificate: Path
    key: Path
    ca: Path
    crl: Path | None = None


class Authority:
    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(folder.name)
        ca = x509.BasicConstraints(ca=True, path_length=None)
        certificate = self._builder(self._name, self._key).add_extension(ca, critical=True)
        self.path = folder / "ca.pem"
        self.path.write_bytes(_pem(certificate.sign(self._key, hashes.SHA256())))
        self._chain = b""

    def below(self, folder: Path) -> "Authority":
        """One that this one has signed: it issues files of certificate and intermediate."""
        other = Authority(folder)
        ca = x509.BasicConstraints(ca=True, path_length=None)
        builder = self._builder(other._name, other._key).add_extension(ca, critical=True)
        other._chain = _pem(builder.sign(self._key, hashes.SHA256())) + self._chain
        other.path = self.path
        return other

    def issue(
        self, common_name: str, ca: Path | None = None, expired: bool = False, uri: str = ""
    ) -> Files:
        """A certificate for ``common_name`` on this host; ``ca`` is who its owner trusts."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = [
            *([x509.UniformResourceIdentifier(uri)] if uri else []),
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        ]
        certificate = (
            self._builder(_name(common_name), key, expired)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        stem = f"{common_name}-{certificate.serial_number}"
        paths = (self._folder / f"{stem}.pem", self._folder / f"{stem}.key")
        paths[0].write_bytes(_pem(certificate) + self._chain)
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return Files(*paths, ca or self.path)

    def _builder(self, subject, key, expired=False):
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 2 * DAY)
            .not_valid_after(now - DAY if expired else now + DAY)
        )


def _name(common_name):
    named = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
    return x509.Name(named)


def _pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)
