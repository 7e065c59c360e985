"""TLS contexts: made once per reading of the settings, shared by all connections.

Rule of this file: from files and words to an ssl.SSLContext, and from a finished handshake to a TlsInfo. What cannot be used is a
SettingsError that names the file, never one that shows a key.
"""

from __future__ import annotations

import hashlib
import hmac
import ssl
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

from portico.config.check import set_ciphers
from portico.errors import SettingsError
from portico.session.context import TlsInfo
from portico.tls.tickets import remember_nothing

CIPHERS: Final = ":".join(
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
        "DHE-RSA-AES128-GCM-SHA256",
        "DHE-RSA-AES256-GCM-SHA384",
        "DHE-RSA-CHACHA20-POLY1305",
    )
)
"""Mozilla's "intermediate" list, version 5.7; TLS 1.3 has its own suites, all of them good."""
_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class NamedSSLObject(ssl.SSLObject):
    """Remembers the name that the client asked for (RFC 6066 3): the ssl module tells it only once, while shaking hands."""

    sni: str | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for all certificates of a listener."""

    minimum: Literal["1.2", "1.3"] = "1.2"
    ciphers: str = CIPHERS
    """Of TLS 1.2, in OpenSSL's words."""
    client_ca: str | None = None
    client_certificates: Literal["no", "optional", "required"] = "no"
    client_crl: str | None = None


def server_context(
    certificate: str,
    key: str | None = None,
    *,
    minimum: Literal["1.2", "1.3"] = "1.2",
    client_ca: str | None = None,
    client_certificates: Literal["no", "optional", "required"] = "no",
) -> ssl.SSLContext:
    """For a listener with one certificate. `certificate`: PEM with its chain; `key`: PEM, or None where the key is in the same file.

    Raises SettingsError with a line for each file that is missing, unreadable, or does not belong to the other.
    """
    return serving_context([(certificate, key)], Policy(minimum, client_ca=client_ca, client_certificates=client_certificates))


def serving_context(pairs: Sequence[tuple[str, str | None]], policy: Policy) -> ssl.SSLContext:
    """For clients. `pairs`: certificate and key as in `server_context`, one for each kind of key. Raises SettingsError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[policy.minimum]
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    # One ticket instead of two: half the bookkeeping of a resumption.
    context.num_tickets = 1
    # The name is for the log and for plugins; which certificate is shown is chosen in store.py.
    context.sslobject_class = NamedSSLObject
    context.sni_callback = note_name
    problems = [] if set_ciphers(context, policy.ciphers) else [f"ciphers: OpenSSL knows nothing by {policy.ciphers!r}"]
    problems += unreadable(*(file for pair in pairs for file in pair), policy.client_ca, policy.client_crl)
    if not problems:
        problems = [problem for certificate, key in pairs for problem in _load_chain(context, certificate, key)]
        if policy.client_certificates != "no":
            problems += _ask_for_certificates(context, policy)
    if problems:
        raise SettingsError(problems)
    return context


def _ask_for_certificates(context: ssl.SSLContext, policy: Policy) -> list[str]:
    # Who resumes does not show his certificate again, and nobody would look whether it has expired or is revoked meanwhile.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    remember_nothing(context)
    problems = _load_authorities(context, policy.client_ca)
    if policy.client_crl is not None:
        # The whole chain: an authority in between may be revoked too. A list that is missing or too old lets nobody in.
        context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_CHAIN
        problems += _load_revoked(context, policy.client_crl)
    context.verify_mode = ssl.CERT_REQUIRED if policy.client_certificates == "required" else ssl.CERT_OPTIONAL
    return problems


def client_context(
    *,
    verify: bool = True,
    ca_file: str | None = None,
    fingerprint: bytes | Collection[bytes] | None = None,
    certificate: str | None = None,
    key: str | None = None,
) -> ssl.SSLContext:
    """For the way to a server. `fingerprint` given: the chain and the name are not looked at, `check_fingerprint` is what counts.
    `certificate`, `key`: what we show to a server that asks who we are.

    Raises SettingsError when a file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if not verify or fingerprint:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif ca_file is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    problems = unreadable(ca_file, certificate, key)
    if not problems and ca_file is not None:
        problems = _load_authorities(context, ca_file)
    if not problems and certificate is not None:
        problems = _load_chain(context, certificate, key)
    if problems:
        raise SettingsError(problems)
    return context


def check_fingerprint(tls: ssl.SSLObject, fingerprint: bytes | Collection[bytes]) -> bool:
    """Whether the server's certificate is the pinned one, or one of them: SHA-256 of its DER form."""
    shown = hashlib.sha256(tls.getpeercert(binary_form=True) or b"").digest()
    return any(hmac.compare_digest(shown, pin) for pin in ([fingerprint] if isinstance(fingerprint, bytes) else fingerprint))


def tls_info(tls: ssl.SSLObject) -> TlsInfo:
    """What a finished handshake agreed on."""
    cipher = tls.cipher()
    # With CERT_NONE the certificate is not verified and getpeercert gives nothing of it: a name here is a verified one.
    certificate = tls.getpeercert() if tls.server_side else None
    return _info(
        tls.version() or "",
        cipher[0] if cipher else "",
        client_name(certificate) if certificate else None,
        bool(tls.session_reused),
        tls.sni if isinstance(tls, NamedSSLObject) else None,
    )


@lru_cache(maxsize=256)
def _info(version: str, cipher: str, client_name: str | None, resumed: bool, sni: str | None) -> TlsInfo:
    """One object for all whose handshakes agreed on the same: mostly a few for all sessions."""
    return TlsInfo(version, cipher, client_name, resumed, sni)


def client_name(certificate: Any) -> str | None:
    """The name in a verified certificate, as `getpeercert` gives it: the first rfc822Name, else the CN (the last, most specific one)."""
    for kind, value in certificate.get("subjectAltName", ()):
        if kind == "email":
            return _printable(value)
    names = [value for row in certificate.get("subject", ()) for kind, value in row if kind == "commonName"]
    return _printable(names[-1]) if names else None


def _printable(name: str) -> str | None:
    """A name with control characters could become a line of its own on the way to a server."""
    return name if name and name.isprintable() else None


def note_name(tls: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
    """An sni_callback that keeps the name."""
    if isinstance(tls, NamedSSLObject) and name is not None:
        tls.sni = name[:255]


def unreadable(*files: str | None) -> list[str]:
    """A line for each file that cannot be read."""
    problems = []
    for file in files:
        if file is None:
            continue
        try:
            with Path(file).open("rb") as opened:
                opened.read(1)
        except OSError as error:
            problems.append(f"{file}: {error.strerror or 'cannot be read'}")
    return problems


def _load_chain(context: ssl.SSLContext, certificate: str, key: str | None) -> list[str]:
    try:
        # An empty password: a key under a passphrase fails instead of asking on the terminal.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except ssl.SSLError as error:
        where = key or certificate
        if error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):
            return [f"{where}: this key does not belong to the certificate in {certificate}"]
        if error.reason in ("EE_KEY_TOO_SMALL", "CA_MD_TOO_WEAK", "CA_KEY_TOO_SMALL"):
            return [f"{certificate}: too weak to be used ({error.reason.replace('_', ' ').lower()})"]
        return [_wrong_pem(certificate, where)]
    except (OSError, ValueError) as error:
        return [f"{certificate}: {getattr(error, 'strerror', None) or 'cannot be used'}"]
    return []


def _wrong_pem(certificate: str, key: str) -> str:
    """OpenSSL says only "PEM lib"; which file is meant has to be looked at."""
    if b"-----BEGIN CERTIFICATE-----" not in Path(certificate).read_bytes():
        return f"{certificate}: no certificate in PEM form is in it"
    octets = Path(key).read_bytes()
    if b"ENCRYPTED" in octets:
        return f"{key}: the key is under a passphrase; a key without one is needed"
    if b"PRIVATE KEY-----" not in octets:
        return f"{key}: no private key in PEM form is in it"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(certificate)
    except (ssl.SSLError, OSError, ValueError):
        return f"{certificate}: the certificate is damaged"
    return f"{key}: the key is damaged"


def _load_authorities(context: ssl.SSLContext, file: str | None) -> list[str]:
    if file is None:
        return ["client certificates are asked for, but client_ca_file does not say who issues them"]
    try:
        context.load_verify_locations(file)
    except (ssl.SSLError, OSError, ValueError):
        return [f"{file}: no certificate in PEM form is in it"]
    return []


def _load_revoked(context: ssl.SSLContext, file: str) -> list[str]:
    try:
        octets = Path(file).read_bytes()
        if b"CERTIFICATE-----" in octets:
            return [f"{file}: has certificates in it; OpenSSL would trust them"]
        octets.index(b"-----BEGIN X509 CRL-----")
        context.load_verify_locations(file)
    except (ssl.SSLError, OSError, ValueError):
        return [f"{file}: no list of revoked certificates in PEM form is in it"]
    return []
