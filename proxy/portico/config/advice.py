"""What works but is probably not wanted: said at every check and every start.

Rule of this file: nothing here stops Portico; what must stop it is in check.py.
"""

from __future__ import annotations

import datetime
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509

from portico.config.address import Address, parse_address
from portico.config.check import Parts
from portico.config.check_gate import gate_warnings
from portico.config.check_ssh import ssh_warnings
from portico.config.document import KeyPath, Problem
from portico.config.revocations import crl_ends
from portico.config.settings import Listener, Server

SOON = datetime.timedelta(days=14)
DAY = datetime.timedelta(days=1)


def warnings(parts: Parts, file: Path | None = None) -> list[Problem]:
    """Everything to warn of. `file`: the settings file, whose permissions matter where a password stands in it."""
    found: list[Problem] = []
    now = datetime.datetime.now(datetime.UTC)
    for name, server in parts.servers.items():
        found += _server(("servers", name), server)
        if server.certificate is not None:
            found += _certificate(("servers", name), server.certificate, server.key, now)
    for name, auth in parts.auth_http.items():
        url = urlsplit(auth.url)
        if url.scheme == "http" and not Address(url.hostname or "").local:
            found.append(Problem(("auth_http", name, "url"), f"passwords go to {url.hostname} without TLS; possible: https://"))
    found += _shared(parts)
    for name, listener in parts.listeners.items():
        found += _listener(("listeners", name), listener, now)
    secrets = [server.master_password or server.test_password for server in parts.servers.values()]
    secrets += [sql.url for sql in parts.sql.values() if b"@" in sql.url.reveal()]
    secrets += [header.value for auth in parts.auth_http.values() for header in auth.headers]
    redis = parts.shared.redis
    secrets += [redis] if redis is not None and b"@" in redis.reveal() else []
    if file is not None and any(secrets) and _others_read(file):
        found.append(Problem((), "everybody on this machine may read this file, which has to do with passwords; chmod o-r"))
    return found


def _shared(parts: Parts) -> Iterator[Problem]:
    url = urlsplit(parts.shared.redis.reveal().decode("utf-8", "replace")) if parts.shared.redis is not None else None
    if url is not None and url.scheme == "redis" and not Address(url.hostname or "localhost").local:
        yield Problem(
            ("shared", "redis"), f"what machines share, words of mail among it, goes to {url.hostname} without TLS; possible: rediss://"
        )


def _server(path: KeyPath, server: Server) -> Iterator[Problem]:
    addresses = [(key, _parsed(getattr(server, key))) for key in ("imap", "pop3") if getattr(server, key) is not None]
    for key, address in addresses:
        if server.tls == "none" and address is not None and not address.local:
            text = f'passwords go to {address} without TLS; possible: tls = "implicit" or "starttls"'
            yield Problem((*path, key), text)
    if server.ssh is not None:
        yield from ssh_warnings((*path, "ssh"), server.ssh)
    if not server.verify and server.tls != "none" and not server.pins:
        yield Problem((*path, "verify"), "the server's certificate is not checked: anybody on the way can read and change mail")
    if server.tls == "none":
        for key in ("ca_file", "fingerprint", "fingerprints", "certificate", "name"):
            if getattr(server, key):
                yield Problem((*path, key), 'has no effect with tls = "none"')


def _listener(path: KeyPath, listener: Listener, now: datetime.datetime) -> Iterator[Problem]:
    addresses = [address for address in map(_parsed, listener.addresses) if address is not None]
    public = [address for address in addresses if not address.local]
    if listener.plain_login and listener.tls != "implicit" and public:
        yield Problem((*path, "plain_login"), f"passwords may come to {public[0]} without TLS, for all on the way to read")
    if listener.tls == "none" and not (listener.plain_login or listener.proxy_protocol):
        yield Problem((*path, "tls"), "nobody can sign in: there is no TLS, and plain_login is false")
    if listener.tls == "none":
        for key in ("certificate", "certificates", "ciphers"):
            if getattr(listener, key):
                yield Problem((*path, key), 'has no effect with tls = "none"')
    yield from _held((*path, "limits"), listener)
    yield from gate_warnings(path, listener)
    if listener.certificate is not None:
        yield from _certificate(path, listener.certificate, listener.key, now)
    if listener.client_crl_file is not None:
        end = crl_ends(listener.client_crl_file)
        if end is not None and end - now <= DAY:
            text = f"{listener.client_crl_file}: is too old from {end:%Y-%m-%d %H:%M} UTC on: nobody gets in then who shows a certificate"
            yield Problem((*path, "client_crl_file"), text)
    for number, each in enumerate(listener.certificates):
        yield from _certificate((*path, "certificates", number), each.certificate, each.key, now)


def _certificate(path: KeyPath, certificate: str, key: str | None, now: datetime.datetime) -> Iterator[Problem]:
    yield from _expiry((*path, "certificate"), certificate, now)
    file = Path(key or certificate)
    if _others_read(file):
        yield Problem((*path, "key" if key else "certificate"), f"{file}: everybody on this machine may read the key; chmod o-r")


def _held(path: KeyPath, listener: Listener) -> Iterator[Problem]:
    limits = listener.limits
    literal = limits.literal_before_login if listener.protocol == "imap" else 0  # POP3 has none
    before = limits.line_before_login + literal
    if before > limits.held:
        said = "line_before_login and literal_before_login come to" if literal else "line_before_login is"
        sizes = {"held": -limits.held, "line_before_login": limits.line_before_login, "literal_before_login": literal}
        yield Problem(
            (*path, max(limits.model_fields_set & sizes.keys(), key=lambda key: sizes[key])),
            "a client that has not signed in may have more held than held allows one that has: "
            f"{said} {before} octets, held is {limits.held}",
        )
    if listener.protocol == "imap" and limits.line > limits.held:
        text = f"where a plugin is interested in a command, one of more than held ({limits.held} octets) is refused all the same"
        yield Problem((*path, "line" if "line" in limits.model_fields_set else "held"), text)


def _expiry(path: KeyPath, file: str, now: datetime.datetime) -> Iterator[Problem]:
    try:
        certificate = x509.load_pem_x509_certificates(Path(file).read_bytes())[0]
    except (OSError, ValueError, IndexError):
        return
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if end <= now:
        yield Problem(path, f"{file}: expired on {end:%Y-%m-%d}")
    elif end - now <= SOON:
        yield Problem(path, f"{file}: expires on {end:%Y-%m-%d}, in {(end - now).days} days")
    elif begin > now:
        yield Problem(path, f"{file}: is valid only from {begin:%Y-%m-%d %H:%M} UTC on")


def _others_read(file: Path) -> bool:
    try:
        return bool(file.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


def _parsed(text: str) -> Address | None:
    try:
        return parse_address(text, any_port=True)
    except ValueError:
        return None
