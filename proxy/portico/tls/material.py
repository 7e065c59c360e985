"""Certificates as files: what is in them, for which names, until when, and whether the files have changed.

Rule of this file: it reads and tells; contexts are made in contexts.py, and chosen in store.py.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from portico.errors import SettingsError
from portico.tls.inspect import InspectError, Shown, certificates_in, describe

Signature = tuple[tuple[str, int, int, int, int, int] | None, ...]
"""What the system says of files; another one where one of them was written or replaced."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, as the settings name them. `names`: instead of those in the certificate; empty: those in it."""

    certificate: str
    key: str | None = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """A certificate that is in use."""

    pair: Pair
    shown: Shown
    names: tuple[str, ...]
    """Host names that it is chosen for, lower case, A-labels."""
    kind: str
    """Of the key: a context has one certificate of each."""
    digest: bytes

    def as_fields(self, now: datetime.datetime) -> dict[str, Any]:
        """In plain values, for people and for metrics."""
        return {
            "path": self.pair.certificate,
            "names": list(self.names),
            "subject": self.shown.subject,
            "issuer": self.shown.issuer,
            "key": self.shown.key_type,
            "fingerprint": self.shown.fingerprint,
            "not_before": self.shown.not_before.isoformat(),
            "not_after": self.shown.not_after.isoformat(),
            "seconds_left": int((self.shown.not_after - now).total_seconds()),
        }


def read_pair(pair: Pair) -> Known:
    """What the certificate's file says of its first certificate, the one that is shown. Raises SettingsError."""
    try:
        certificate = certificates_in(Path(pair.certificate))[0]
    except (InspectError, IndexError) as error:
        raise SettingsError([str(error) or f"{pair.certificate}: has no certificate in PEM form"]) from None
    names = pair.names or host_names(certificate)
    digest = hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()
    return Known(pair, describe(certificate), tuple(map(plain_name, names)), _kind(certificate), digest)


def host_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """The DNS names that a certificate is for; without any the common name, as browsers of long ago had it."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    except (x509.ExtensionNotFound, ValueError):
        names = []
    if names:
        return tuple(names)
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return (str(common[-1].value),) if common else ()


def plain_name(name: str) -> str:
    """As it is compared: RFC 6066 3 has names without a dot at the end, and case does not matter."""
    return name.lower().removesuffix(".")


def signature(files: Iterable[str | None]) -> Signature:
    """Of the files that there are; a link's is that of what it leads to."""
    return tuple(_stat(file) for file in files if file is not None)


def _stat(file: str) -> tuple[str, int, int, int, int, int] | None:
    try:
        found = Path(file).stat()
    except OSError:
        return None
    # ctime too: it changes with the permissions, and a copy may keep the time of its original.
    return file, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _kind(certificate: x509.Certificate) -> str:
    try:
        key = certificate.public_key()
    except ValueError:
        return "unknown"
    return "ecdsa" if isinstance(key, ec.EllipticCurvePublicKey) else "rsa" if isinstance(key, rsa.RSAPublicKey) else type(key).__name__
