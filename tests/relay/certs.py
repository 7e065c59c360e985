"""Certificates for tests: one authority, a server's certificate, a client's.

Rule of this file: made once per directory, good for an hour, for the loopback names only.
"""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Certs:
    """Paths of PEM files."""

    ca: str
    server: str
    server_key: str
    client: str
    client_key: str
    other_key: str
    """A key that belongs to none of them."""


def make(directory: Path) -> Certs:
    """A fresh set in `directory`."""
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = _certificate("Test authority", ca_key, None, None, ca=True)
    files = {"ca": _pem(ca)}
    for name, subject, sans in (
        ("server", "localhost", [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
        ("client", "Alice Example", [x509.RFC822Name("alice@example.org")]),
    ):
        key = ec.generate_private_key(ec.SECP256R1())
        files[name] = _pem(_certificate(subject, key, ca, ca_key, sans=sans))
        files[f"{name}_key"] = _key(key)
    files["other_key"] = _key(ec.generate_private_key(ec.SECP256R1()))
    for name, octets in files.items():
        (directory / f"{name}.pem").write_bytes(octets)
    return Certs(**{name: str(directory / f"{name}.pem") for name in files})


def _certificate(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey | None,
    *,
    ca: bool = False,
    sans: list[x509.GeneralName] | None = None,
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
    if issuer_key is not None:
        builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    else:
        usage = dict.fromkeys(("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False)
        builder = builder.add_extension(
            x509.KeyUsage(**usage, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False), critical=True
        )
    return builder.sign(issuer_key or key, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
