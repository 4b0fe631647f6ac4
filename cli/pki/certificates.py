"""Certificates and revocation lists as values; nothing here reads a clock or a file."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from model.certified import Certified, Role, from_uri

CLOCK_SKEW = timedelta(minutes=5)
"""A certificate is valid that long before it was made: the other host's clock may be behind."""
_LONGEST_COMMON_NAME = 64  # bytes


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def authority(
    name: str, key: ec.EllipticCurvePrivateKey, now: datetime, lifetime: timedelta
) -> x509.Certificate:
    """Signs leaves only: no authority below it is believed."""
    usage = _usage(key_cert_sign=True, crl_sign=True)
    subject = _subject(name)
    return (
        _builder(subject, subject, key.public_key(), now - CLOCK_SKEW, now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )


def leaf(
    who: Certified,
    hosts: Sequence[str],
    public_key: ec.EllipticCurvePublicKey,
    signer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey],
    validity: tuple[datetime, datetime],
) -> x509.Certificate:
    """``hosts``: names and addresses under which a collector is reached. Only a collector's
    certificate may serve: an agent's does not make a collector that other agents believe."""
    ca, key = signer
    names = [x509.UniformResourceIdentifier(who.to_uri()), *map(_host, hosts)]
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if who.role is Role.COLLECTOR:
        usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
    begins, ends = validity
    issuer_key = x509.SubjectKeyIdentifier.from_public_key(ca.public_key())
    return (
        _builder(_subject(who.name), ca.subject, public_key, begins, ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_key),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )


def revocation_list(
    signer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey],
    revoked: dict[int, datetime],
    number: int,
    now: datetime,
) -> x509.CertificateRevocationList:
    """Good until the authority ends: there need be no program that signs it anew."""
    ca, key = signer
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ca.subject)
        .last_update(now)
        .next_update(ca.not_valid_after_utc)
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    for serial, at in revoked.items():
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(key, hashes.SHA256())


def certified(certificate: x509.Certificate) -> Certified | None:
    for uri in _names(certificate, x509.UniformResourceIdentifier):
        if found := from_uri(uri):
            return found
    return None


def hosts_of(certificate: x509.Certificate) -> list[str]:
    addresses = _names(certificate, x509.IPAddress)
    return [*_names(certificate, x509.DNSName), *map(str, addresses)]


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def pem(
    thing: x509.Certificate | x509.CertificateRevocationList | x509.CertificateSigningRequest,
) -> bytes:
    return thing.public_bytes(serialization.Encoding.PEM)


def _names(certificate: x509.Certificate, kind: type[x509.GeneralName]) -> list[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return extension.value.get_values_for_type(kind)  # type: ignore[arg-type]


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    begins: datetime,
    ends: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _subject(name: str) -> x509.Name:
    """Shortened: who it is for, the URI says."""
    short = name.encode()[:_LONGEST_COMMON_NAME].decode(errors="ignore")
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, short)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(**granted: bool) -> x509.KeyUsage:
    kinds = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{kind: granted.get(kind, False) for kind in kinds})
