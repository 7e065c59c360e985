"""Making certificates: a small authority, servers, clients.

Rule of this file: keys are made here and written with mode 0600 at once; nothing is overwritten unless asked for.
The certificates keep to RFC 5280 as OpenSSL's X509_V_FLAG_X509_STRICT checks it. This is an authority for
development and for small places; a public server has its certificate from a public authority.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from portico.errors import PorticoError

DAY: Final = datetime.timedelta(days=1)
AUTHORITY_DAYS: Final = 3650
DEFAULT_DAYS: Final = 365
CRL_DAYS: Final = 30
MAX_DAYS: Final = 398
"""Apple's and Mozilla's limit for server certificates."""
_SKEW: Final = datetime.timedelta(hours=1)
"""Certificates begin this much in the past: not all clocks are right."""

KeyType = Literal["ecdsa", "rsa"]
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class IssueError(PorticoError):
    """A certificate cannot be made; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, in memory."""

    certificate: x509.Certificate
    key: PrivateKey = field(repr=False)

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """PKCS #8, without passphrase."""
        return self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


@dataclass(frozen=True, slots=True)
class Issued:
    """What `issue_into` did; files by what they are."""

    authority: Path
    new_authority: bool
    certificate: Path | None = None
    key: Path | None = None
    clients: tuple[tuple[Path, Path], ...] = ()
    """Certificate and key of each client."""
    beside: tuple[tuple[Path, Path], ...] = ()
    """Further ones of the server."""


def new_authority(name: str = "", *, key_type: KeyType = "ecdsa", days: int = AUTHORITY_DAYS) -> Pair:
    """A root. `name` empty: one that differs from all others, so that two of them in one trust store are told apart."""
    key = _new_key(key_type)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name or f"Portico development authority {secrets.token_hex(4)}")])
    now = _now()
    usage = _usage(key_cert_sign=True, crl_sign=True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number(), now - _SKEW, now + days * DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)  # RFC 5280 4.2.1.9
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
    )
    return Pair(builder.sign(key, hashes.SHA256()), key)


def issue_server(authority: Pair, names: Sequence[str], *, key_type: KeyType = "ecdsa", days: int = DEFAULT_DAYS) -> Pair:
    """A certificate for DNS names (also ``*.example.org``) and IP addresses. Raises IssueError."""
    if not names:
        raise IssueError("a server's certificate needs at least one name")
    alternatives = [_server_name(name) for name in dict.fromkeys(names)]
    return _issue(authority, names[0], alternatives, ExtendedKeyUsageOID.SERVER_AUTH, key_type, days)


def issue_client(authority: Pair, address: str, *, key_type: KeyType = "ecdsa", days: int = DEFAULT_DAYS) -> Pair:
    """A certificate by which a client signs in (SASL EXTERNAL) as `address`, which stands in it as rfc822Name."""
    _check_client(address)
    return _issue(authority, address, [x509.RFC822Name(address)], ExtendedKeyUsageOID.CLIENT_AUTH, key_type, days)


def issue_into(
    directory: Path,
    names: Sequence[str] = (),
    clients: Sequence[str] = (),
    *,
    days: int = DEFAULT_DAYS,
    key_type: KeyType = "ecdsa",
    force: bool = False,
    beside: bool = False,
) -> Issued:
    """Make what is asked for in `directory`: ca.pem and ca.key (kept where they are), server.pem (the server's certificate,
    then the authority's) and server.key if there are `names`, NAME.pem and NAME.key for each client. `beside`: the server has
    a second certificate, server-rsa.pem and server-rsa.key, for clients that know nothing but RSA.

    Raises IssueError before anything is written where a file is there already and `force` is not set; `force`
    never makes a new authority. OSError as the system raises it.
    """
    if not 1 <= days <= MAX_DAYS:
        raise IssueError(f"a certificate is good for 1 to {MAX_DAYS} days; clients refuse a longer time")
    for name in names:
        _server_name(name)
    for address in clients:
        _check_client(address)
    servers: list[tuple[KeyType, Path, Path]] = [(key_type, directory / "server.pem", directory / "server.key")] if names else []
    if names and beside:
        servers.append(("rsa", directory / "server-rsa.pem", directory / "server-rsa.key"))
    wanted = [file for _, *files in servers for file in files]
    client_files = tuple((directory / f"{address}.pem", directory / f"{address}.key") for address in dict.fromkeys(clients))
    wanted += [file for pair in client_files for file in pair]
    there = [file for file in wanted if file.exists()]
    if there and not force:
        raise IssueError(f"{', '.join(map(str, there))}: there already; --force makes new ones (the authority stays)")
    authority, is_new = _authority_in(directory, key_type)
    made = [(issue_server(authority, names, days=days, key_type=of_type), certificate, key) for of_type, certificate, key in servers]
    for address, (certificate, key) in zip(dict.fromkeys(clients), client_files, strict=True):
        made.append((issue_client(authority, address, days=days, key_type=key_type), certificate, key))
    directory.mkdir(parents=True, exist_ok=True)
    if is_new:
        _write(directory / "ca.key", authority.key_pem, 0o600)
        _write(directory / "ca.pem", authority.certificate_pem, 0o644)
    for pair, certificate, key in made:
        _write(key, pair.key_pem, 0o600)
        chain = authority.certificate_pem if any(certificate in of_server for of_server in servers) else b""
        _write(certificate, pair.certificate_pem + chain, 0o644)
    return Issued(
        directory / "ca.pem", is_new, wanted[0] if names else None, wanted[1] if names else None, client_files,
        tuple((certificate, key) for _, certificate, key in servers[1:]),
    )  # fmt: skip


def revoke_in(directory: Path, files: Sequence[Path] = (), *, days: int = CRL_DAYS) -> tuple[Path, int]:
    """Write crl.pem, the list of what the authority in `directory` has revoked: what was on it, and the certificates in `files`. Good for
    `days`, so that it has to be written anew before. Returns the file and how many are on it. Raises IssueError, OSError.
    """
    if not 1 <= days <= MAX_DAYS:
        raise IssueError(f"a list is good for 1 to {MAX_DAYS} days")
    authority, is_new = _authority_in(directory, "ecdsa")
    if is_new:
        raise IssueError(f"{directory}: has no ca.pem and ca.key, so nothing can be revoked")
    path = directory / "crl.pem"
    now = _now()
    revoked = {each.serial_number: each for each in _revoked_before(path, authority.certificate)}
    for file in files:
        certificate = _certificate_in(file)
        try:
            certificate.verify_directly_issued_by(authority.certificate)
        except (ValueError, TypeError, InvalidSignature):
            raise IssueError(f"{file}: was not issued by the authority in {directory}") from None
        entry = x509.RevokedCertificateBuilder(certificate.serial_number, now).build()
        revoked.setdefault(certificate.serial_number, entry)
    identifier = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        x509.CertificateRevocationListBuilder(authority.certificate.subject, now - _SKEW, now + days * DAY)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .add_extension(x509.CRLNumber(int(now.timestamp())), critical=False)  # RFC 5280 5.2.3: it grows
    )
    for each in revoked.values():
        builder = builder.add_revoked_certificate(each)
    _write(path, builder.sign(authority.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM), 0o644)
    return path, len(revoked)


def _revoked_before(path: Path, authority: x509.Certificate) -> list[x509.RevokedCertificate]:
    if not path.exists():
        return []
    try:
        before = x509.load_pem_x509_crl(path.read_bytes())
        if before.is_signature_valid(authority.public_key()):  # type: ignore[arg-type]  # one that signs: it is an authority's
            return list(before)
    except (ValueError, TypeError):
        pass
    raise IssueError(f"{path}: is no list of this authority; take it away to begin with an empty one")


def _certificate_in(file: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(file.read_bytes())
    except ValueError:
        raise IssueError(f"{file}: has no certificate in PEM form") from None


def _authority_in(directory: Path, key_type: KeyType) -> tuple[Pair, bool]:
    """The authority of a directory, and whether it is new (and not yet written)."""
    certificate, key = directory / "ca.pem", directory / "ca.key"
    if not certificate.exists() and not key.exists():
        return new_authority(key_type=key_type), True
    for file, other in ((certificate, key), (key, certificate)):
        if not file.exists():
            raise IssueError(f"{other} is there, but {file} is not; take it away to begin with a new authority")
    try:
        root = x509.load_pem_x509_certificate(certificate.read_bytes())
        loaded = serialization.load_pem_private_key(key.read_bytes(), None)
    except (ValueError, TypeError):
        raise IssueError(f"{certificate} and {key} are not an authority's certificate and key (without passphrase)") from None
    if not isinstance(loaded, PrivateKey) or loaded.public_key() != root.public_key():
        raise IssueError(f"{key} is not the key of {certificate}")
    if root.not_valid_after_utc <= _now():
        raise IssueError(f"{certificate} expired on {root.not_valid_after_utc:%Y-%m-%d}; take it away to begin with a new authority")
    return Pair(root, loaded), False


def _issue(
    authority: Pair, title: str, alternatives: list[x509.GeneralName], purpose: x509.ObjectIdentifier, key_type: KeyType, days: int
) -> Pair:
    key = _new_key(key_type)
    # X.520 allows 64 characters for a common name; without one the subject is empty and the alternative names are critical.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)] if len(title) <= 64 else [])
    now = _now()
    begin = max(now - _SKEW, authority.certificate.not_valid_before_utc)
    end = min(begin + days * DAY, authority.certificate.not_valid_after_utc)
    issuer_identifier = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        x509.CertificateBuilder(authority.certificate.subject, subject, key.public_key(), x509.random_serial_number(), begin, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=not list(subject))  # RFC 5280 4.2.1.6
        # keyEncipherment is for RSA without ECDHE (TLS 1.2); an ECDSA key cannot encipher.
        .add_extension(_usage(digital_signature=True, key_encipherment=key_type == "rsa"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_identifier), critical=False)
    )
    return Pair(builder.sign(authority.key, hashes.SHA256()), key)


def _server_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name.removeprefix("[").removesuffix("]")))
    except ValueError:
        pass
    wild = "*." if name.startswith("*.") else ""
    try:
        ascii_name = name.removeprefix("*.").encode("idna").decode()  # RFC 5280 7.2: as IA5String
    except UnicodeError:
        ascii_name = ""
    label = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
    if len(ascii_name) > 253 or not re.fullmatch(rf"{label}(?:\.{label})*", ascii_name) or re.fullmatch(r"[0-9.]+", ascii_name):
        raise IssueError(f"{name!r} is no host name and no IP address")
    return x509.DNSName(wild + ascii_name)


def _check_client(address: str) -> None:
    # It becomes the name of a file too: no slash, no leading dot or dash.
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+=-]{0,63}@[A-Za-z0-9][A-Za-z0-9.-]{0,186}", address):
        raise IssueError(f"{address!r} is no address as alice@example.org")


def _new_key(key_type: KeyType) -> PrivateKey:
    return ec.generate_private_key(ec.SECP256R1()) if key_type == "ecdsa" else rsa.generate_private_key(65537, 2048)


def _usage(
    *, digital_signature: bool = False, key_encipherment: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_encipherment=key_encipherment,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)


def _write(path: Path, content: bytes, mode: int) -> None:
    """Write beside and rename: a file is old or new, never half, and a key never readable for others."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
