"""Showing certificates: from a file, or from a server that answers.

Rule of this file: it looks and never judges; nothing is trusted on account of what it says. Blocking, for the
command line only.
"""

from __future__ import annotations

import datetime
import re
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa

from portico.errors import PorticoError

Starttls = Literal["no", "imap", "pop3"]
_SECONDS: Final = 10.0
_MAX_LINE: Final = 8192
_MAX_LINES: Final = 100


class InspectError(PorticoError):
    """There is no certificate to show; the text says why."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What people want to know of a certificate."""

    subject: str
    names: tuple[str, ...]
    """Alternative names: hosts, IP addresses, mail addresses."""
    issuer: str
    not_before: datetime.datetime
    not_after: datetime.datetime
    fingerprint: str
    """SHA-256 as 64 hex digits, the form of the setting `fingerprint`."""
    key_type: str
    authority: bool
    self_signed: bool

    def days_left(self, now: datetime.datetime | None = None) -> int:
        """Whole days until it expires; negative when it has."""
        return (self.not_after - (now or datetime.datetime.now(datetime.UTC))).days


def describe(certificate: x509.Certificate) -> Shown:
    """The certificate in plain words."""
    return Shown(
        subject=certificate.subject.rfc4514_string(),
        names=_names(certificate),
        issuer=certificate.issuer.rfc4514_string(),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        key_type=_key_type(certificate),
        authority=_is_authority(certificate),
        self_signed=certificate.subject == certificate.issuer,
    )


def certificates_in(file: Path) -> list[x509.Certificate]:
    """All certificates of a PEM file, in its order. Raises InspectError."""
    try:
        return x509.load_pem_x509_certificates(file.read_bytes())
    except OSError as error:
        raise InspectError(f"{file}: {error.strerror or 'cannot be read'}") from None
    except ValueError:
        raise InspectError(f"{file}: has no certificate in PEM form") from None


def certificate_of(host: str, port: int, *, starttls: Starttls = "no", name: str | None = None) -> x509.Certificate:
    """The certificate that a server shows to whoever asks for `name` (default: the host). Raises InspectError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # to look at it, also when it is wrong; nothing is said on this connection
    octets = _shown_by(context, host, port, starttls, name or host)
    if not octets:
        raise InspectError(f"{host}:{port}: shows no certificate")
    return x509.load_der_x509_certificate(octets)


def doubts_about(host: str, port: int, *, starttls: Starttls = "no", name: str | None = None, ca_file: str | None = None) -> str:
    """Why a client that trusts this system's authorities, or those in `ca_file`, would not believe the server; empty: it would.
    Raises InspectError."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError):
        raise InspectError(f"{ca_file}: has no certificate in PEM form") from None
    try:
        _shown_by(context, host, port, starttls, name or host)
    except _Doubted as doubted:
        return str(doubted)
    return ""


class _Doubted(InspectError):
    """Its text says why."""


def _shown_by(context: ssl.SSLContext, host: str, port: int, starttls: Starttls, name: str) -> bytes | None:
    try:
        with socket.create_connection((host, port), _SECONDS) as plain:
            if starttls != "no":
                _ask_for_tls(plain, starttls)
            with context.wrap_socket(plain, server_hostname=name) as secured:
                return secured.getpeercert(binary_form=True)
    except ssl.SSLCertVerificationError as error:
        raise _Doubted(error.verify_message) from None
    except ssl.SSLError as error:
        hint = "" if starttls != "no" else "; a server that begins without TLS needs --starttls imap or --starttls pop3"
        raise InspectError(f"{host}:{port}: no TLS: {error.reason or 'handshake failed'}{hint}") from None
    except TimeoutError:
        raise InspectError(f"{host}:{port}: no answer within {_SECONDS:.0f} seconds") from None
    except (OSError, UnicodeError) as error:
        raise InspectError(f"{host}:{port}: {getattr(error, 'strerror', None) or 'cannot be reached'}") from None


def _ask_for_tls(plain: socket.socket, starttls: Starttls) -> None:
    """RFC 9051 6.2.1 STARTTLS, RFC 2595 4 STLS. Octet by octet: nothing behind the answer may be read before TLS."""
    _line(plain)
    plain.sendall(b"a STARTTLS\r\n" if starttls == "imap" else b"STLS\r\n")
    for _ in range(_MAX_LINES):
        line = _line(plain)
        if line[:5].upper() == b"A OK " or line[:3].upper() == b"+OK":
            return
        if not line.startswith(b"* "):
            break
    raise InspectError("the server does not begin TLS: " + ("STARTTLS" if starttls == "imap" else "STLS") + " was refused")


def _line(plain: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        octet = plain.recv(1)
        if not octet or len(line) > _MAX_LINE:
            raise InspectError("the server ended the connection" if not octet else "the server does not speak in lines")
        line += octet
    return line


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    shown = [str(name.value) for name in names if isinstance(name, x509.DNSName | x509.IPAddress | x509.RFC822Name)]
    return tuple(re.sub(r"[^\x20-\x7e]", "?", name) for name in shown)


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def _key_type(certificate: x509.Certificate) -> str:
    try:
        key = certificate.public_key()
    except ValueError:
        return "unknown"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return {"secp256r1": "ECDSA P-256", "secp384r1": "ECDSA P-384"}.get(key.curve.name, f"ECDSA {key.curve.name}")
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        return "Ed25519" if isinstance(key, ed25519.Ed25519PublicKey) else "Ed448"
    return "DSA" if isinstance(key, dsa.DSAPublicKey) else "unknown"
