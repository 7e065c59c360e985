"""What must fit together: references, addresses, files, certificates, mechanisms.

Rule of this file: each check takes typed settings and yields problems; it reads files and resolves nothing.
A value that may hold a secret is never part of a text.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import ssl
import stat
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from portico.config.address import Address, parse_address
from portico.config.check_console import console_mistakes
from portico.config.check_gate import gate_mistakes, penalty_mistakes
from portico.config.check_metrics import metrics_mistakes
from portico.config.check_routes import auth_http_mistakes, group_mistakes, lookup_mistakes, sql_mistakes
from portico.config.check_ssh import ssh_mistakes
from portico.config.document import KeyPath, Problem
from portico.config.explain import show
from portico.config.near import near, near_name
from portico.config.sections.console import Console
from portico.config.sections.log import Log
from portico.config.sections.metrics import Metrics
from portico.config.sections.penalties import Penalties
from portico.config.sections.shared import Shared
from portico.config.sections.upstream import AuthHttp, Group, Sql
from portico.config.sections.workers import Workers
from portico.config.settings import Annotations, Listener, Server, Trace

OWN_MECHANISMS: Final = ("PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER", "EXTERNAL")
"""SASL mechanisms that Portico ends itself; all others are relayed step by step."""
_RELAYED: Final = ("CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI", "GSS-SPNEGO", "NTLM", "ANONYMOUS")
_USER_PARTS: Final = ("user", "local", "domain")


@dataclass(frozen=True, slots=True)
class Parts:
    """The settings as far as they are good in themselves."""

    servers: Mapping[str, Server]
    listeners: Mapping[str, Listener]
    log: Log
    trace: Trace
    annotations: Annotations
    server_names: frozenset[str]
    """All names of servers, also of those that are not good."""
    workers: Workers = field(default_factory=Workers)
    metrics: Metrics = field(default_factory=Metrics)
    console: Console = field(default_factory=Console)
    penalties: Penalties = field(default_factory=Penalties)
    groups: Mapping[str, Group] = field(default_factory=dict)
    sql: Mapping[str, Sql] = field(default_factory=dict)
    auth_http: Mapping[str, AuthHttp] = field(default_factory=dict)
    lookup_names: frozenset[str] = frozenset()
    """All names of tables of sql and auth_http, good or not."""
    group_names: frozenset[str] = frozenset()
    shared: Shared = field(default_factory=Shared)


def mistakes(parts: Parts) -> list[Problem]:
    """All that does not fit together."""
    found: list[Problem] = []
    for name, server in parts.servers.items():
        found += _server(("servers", name), server)
    for name, group in parts.groups.items():
        found += group_mistakes(("groups", name), group, parts.servers, parts.server_names)
    for name, sql in parts.sql.items():
        found += sql_mistakes(("sql", name), sql, parts.server_names)
    for name, auth_http in parts.auth_http.items():
        found += auth_http_mistakes(("auth_http", name), auth_http, parts.server_names)
    for name, listener in parts.listeners.items():
        path: KeyPath = ("listeners", name)
        found += lookup_mistakes((*path, "lookups"), listener, parts.lookup_names)
        found += _routing(path, listener, parts)
        found += _tls(path, listener)
        found += _sign_in(path, listener, parts)
        found += _greeting(path, listener)
        found += gate_mistakes(path, listener)
    found += _listening(parts.listeners)
    found += _written(("log", "file"), parts.log.file)
    if parts.log.format == "journal" and parts.log.file is not None:
        found.append(Problem(("log", "format"), "journal is for standard error; leave out log.file"))
    found += _written(("annotations", "file"), parts.annotations.file)
    found += _tracing(parts.trace)
    found += _processes(("workers",), parts.workers)
    found += penalty_mistakes(("penalties",), parts.penalties)
    found += metrics_mistakes(("metrics",), parts.metrics)
    found += console_mistakes(("console",), parts.console)
    return found


def _processes(path: KeyPath, workers: Workers) -> Iterator[Problem]:
    if workers.drain_spread > workers.drain:
        yield Problem((*path, "drain_spread"), "is longer than drain: by then the sessions have been ended", ((*path, "drain"),))
    for key, text, known in (("user", workers.user, pwd.getpwnam), ("group", workers.group, grp.getgrnam)):
        if text is not None and not text.isdigit():
            try:
                known(text)
            except KeyError:
                yield Problem((*path, key), f"found {show(text)}; this machine has no such {key}")


def servers_of(listener: Listener, groups: Mapping[str, Group]) -> list[str]:
    """Names of all servers that the listener's settings can lead to, each once; those that a lookup names are not known."""
    names = [rule.server for rule in listener.routes]
    if listener.server is not None:
        names.append(listener.server)
    whole = [[member.server for member in groups[name].members] if name in groups else [name] for name in names]
    return list(dict.fromkeys(name for each in whole for name in each))


def _server(path: KeyPath, server: Server) -> Iterator[Problem]:
    if server.imap is None and server.pop3 is None:
        yield Problem(path, "has no address; possible: imap, pop3 or both", ((*path, "imap"), (*path, "pop3")))
    for key in ("imap", "pop3"):
        text = getattr(server, key)
        if text is not None:
            yield from _address((*path, key), text)
    if server.ca_file is not None:
        yield from _authorities((*path, "ca_file"), server.ca_file)
    if server.key is not None and server.certificate is None:
        yield Problem((*path, "key"), "needs certificate", ((*path, "certificate"),))
    if server.certificate is not None:
        yield from _certificate(path, server.certificate, server.key)
    if server.ssh is not None:
        yield from ssh_mistakes((*path, "ssh"), server.ssh)
    if server.master_user is not None and server.master_password is None:
        yield Problem((*path, "master_user"), "needs master_password", ((*path, "master_password"),))
    if server.master_password is not None and server.master_user is None:
        yield Problem((*path, "master_password"), "needs master_user", ((*path, "master_user"),))
    if server.master_user is not None and (not server.master_user or "\0" in server.master_user):
        yield Problem((*path, "master_user"), "is empty or has a NUL octet (RFC 4616 2)")
    if (server.test_user is None) != (server.test_password is None):
        has, lacks = ("test_user", "test_password") if server.test_password is None else ("test_password", "test_user")
        yield Problem((*path, has), f"needs {lacks}", ((*path, lacks),))
    if server.tls != "none" and server.verify and not server.pins and server.name is None:
        for key in ("imap", "pop3"):
            if str(getattr(server, key) or "").startswith("unix:"):
                yield Problem((*path, key), "TLS over a unix socket needs name, fingerprint or verify = false: there is no host to check")


def _address(path: KeyPath, text: str, *, any_port: bool = False) -> Iterator[Problem]:
    try:
        parse_address(text, any_port=any_port)
    except ValueError as error:
        yield Problem(path, f"found {show(text)}; {error}")


def _routing(path: KeyPath, listener: Listener, parts: Parts) -> Iterator[Problem]:
    if listener.server is None and not listener.routes and not listener.lookups:
        why: tuple[KeyPath, ...] = ((*path, "server"), (*path, "routes"), (*path, "lookups"))
        yield Problem(path, "leads nowhere; possible: server, routes, lookups or several of them", why)
    if listener.server is not None:
        yield from _reference((*path, "server"), listener, listener.server, parts)
    for number, rule in enumerate(listener.routes):
        row = (*path, "routes", number)
        yield from _reference((*row, "server"), listener, rule.server, parts)
        for position, pattern in enumerate(rule.users):
            if not pattern:
                yield Problem((*row, "users", position), 'is empty; possible: a name or a pattern, as "alice", "*@example.org" or "*"')
        if rule.user is not None:
            yield from _user_template((*row, "user"), rule.user)


def _reference(path: KeyPath, listener: Listener, name: str, parts: Parts) -> Iterator[Problem]:
    if name in parts.group_names:
        group = parts.groups.get(name)
        for member in group.members if group is not None else ():
            server = parts.servers.get(member.server)
            if server is not None and getattr(server, listener.protocol) is None:
                text = f"server {show(member.server)} of group {show(name)} has no {listener.protocol} address"
                yield Problem(path, text, (("servers", member.server, listener.protocol), (*path[:2], "protocol"), ("groups", name)))
        return
    if name not in parts.server_names:
        names = sorted({*parts.server_names, *parts.group_names})
        known = "possible: " + ", ".join(names) if names else "there is no server"
        yield Problem(path, f"found {show(name)}, which is no server; {known}{near(name, names)}", (("servers",),) if not names else ())
        return
    server = parts.servers.get(name)
    if server is not None and getattr(server, listener.protocol) is None:
        text = f"server {show(name)} has no {listener.protocol} address; set servers.{name}.{listener.protocol}"
        yield Problem(path, text, (("servers", name, listener.protocol), (*path[:2], "protocol")))


def _user_template(path: KeyPath, template: str) -> Iterator[Problem]:
    wanted = 'possible: text with "{user}", "{local}" and "{domain}"'
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError:
        yield Problem(path, f"found {show(template)}; a brace is not closed; {wanted}")
        return
    for _, name, spec, conversion in parts:
        if name is not None and (name not in _USER_PARTS or spec or conversion):
            yield Problem(path, f"found {show('{' + name + '}')}; {wanted}{near(name, _USER_PARTS)}")
    if not template:
        yield Problem(path, f"is empty; {wanted}")


def _tls(path: KeyPath, listener: Listener) -> Iterator[Problem]:
    if listener.tls != "none" and listener.certificate is None and not listener.certificates:
        text = f'is needed with tls = "{listener.tls}"; "portico certs new" makes one for trying things out'
        yield Problem((*path, "certificate"), text, ((*path, "tls"), (*path, "certificates")))
    if listener.key is not None and listener.certificate is None:
        yield Problem((*path, "key"), "needs certificate", ((*path, "certificate"),))
    if listener.certificate is not None:
        yield from _certificate(path, listener.certificate, listener.key)
    for number, each in enumerate(listener.certificates):
        here = (*path, "certificates", number)
        yield from _certificate(here, each.certificate, each.key)
        for position, name in enumerate(each.names):
            if not re.fullmatch(r"(?:\*\.)?[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*", name):
                text = f'found {show(name)}; possible: a host name, as "mail.example.org" or "*.example.org", in ASCII (xn--…)'
                yield Problem((*here, "names", position), text)
    yield from _clients(path, listener)
    if listener.ciphers is not None and not set_ciphers(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), listener.ciphers):
        text = f'found {show(listener.ciphers)}; names of ciphers are expected as "openssl ciphers" takes them, and OpenSSL must know each'
        yield Problem((*path, "ciphers"), text)


def _clients(path: KeyPath, listener: Listener) -> Iterator[Problem]:
    if listener.client_ca_file is not None:
        yield from _authorities((*path, "client_ca_file"), listener.client_ca_file)
    if listener.client_crl_file is not None:
        yield from _revoked((*path, "client_crl_file"), listener.client_crl_file)
        if listener.client_certificates == "no":
            why = ((*path, "client_certificates"),)
            yield Problem((*path, "client_crl_file"), 'needs client certificates; possible: "optional" or "required"', why)
    if listener.client_certificates != "no":
        if listener.tls == "none":
            yield Problem((*path, "client_certificates"), 'needs TLS; possible: tls = "implicit" or "starttls"', ((*path, "tls"),))
        if listener.client_ca_file is None:
            yield Problem((*path, "client_certificates"), "needs client_ca_file", ((*path, "client_ca_file"),))


def set_ciphers(context: ssl.SSLContext, ciphers: str) -> bool:
    """Let the context have these; False: one of the words is none. (OpenSSL itself passes over those that it does not know.)"""
    try:
        for word in re.split(r"[:, ]+", ciphers):
            if not word.startswith(("!", "-", "@")):
                context.set_ciphers(word.removeprefix("+"))
        context.set_ciphers(ciphers)
    except (ssl.SSLError, ValueError):
        return False
    return True


def _certificate(path: KeyPath, certificate: str, key: str | None) -> Iterator[Problem]:
    bad = [*_readable((*path, "certificate"), certificate)]
    if key is not None:
        bad += _readable((*path, "key"), key)
    if bad:
        yield from bad
        return
    try:
        # An encrypted key gets an empty password: without it OpenSSL would ask on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: b"")
    except ssl.SSLError as error:
        if error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):
            text = f"{certificate}: the key is not the key of this certificate"
        elif key is None:
            text = f"{certificate}: is no PEM file with a certificate and its key (without passphrase)"
        else:
            text = f"{certificate} and {key}: are not a PEM certificate and its key (without passphrase)"
        yield Problem((*path, "certificate"), text, ((*path, "key"),))
    except (OSError, ValueError) as error:
        yield Problem((*path, "certificate"), f"{certificate}: cannot be used ({type(error).__name__})")


def _authorities(path: KeyPath, file: str) -> Iterator[Problem]:
    bad = list(_readable(path, file))
    yield from bad
    if not bad:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(file)
        except (ssl.SSLError, OSError, ValueError):
            yield Problem(path, f"{file}: is no PEM file with certificates of authorities")


def _revoked(path: KeyPath, file: str) -> Iterator[Problem]:
    bad = list(_readable(path, file))
    yield from bad
    if not bad:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(file)
            octets = Path(file).read_bytes()
        except (ssl.SSLError, OSError, ValueError):
            octets = b""
        if b"-----BEGIN X509 CRL-----" not in octets or b"CERTIFICATE-----" in octets:
            yield Problem(path, f"{file}: is no PEM file with lists of revoked certificates (X509 CRL), and nothing else")


def _readable(path: KeyPath, file: str) -> Iterator[Problem]:
    try:
        if not stat.S_ISREG(Path(file).stat().st_mode):
            yield Problem(path, f"{file}: is not a file")
        else:
            with Path(file).open("rb"):
                pass
    except OSError as error:
        yield Problem(path, f"{file}: {error.strerror or 'cannot be read'}")


def _sign_in(path: KeyPath, listener: Listener, parts: Parts) -> Iterator[Problem]:
    names = servers_of(listener, parts.groups)
    alone = len(names) <= 1 and not listener.lookups
    why = ((*path, "server"), (*path, "routes"), (*path, "lookups"))
    for position, mechanism in enumerate(listener.mechanisms):
        here = (*path, "mechanisms", position)
        wanted = f"possible: {', '.join(OWN_MECHANISMS)}, or the name of one that the server knows"
        found = f"found {show(mechanism)}; "
        if not re.fullmatch(r"[A-Z0-9_-]{1,20}", mechanism):  # RFC 4422 3.1
            yield Problem(here, found + wanted + near(mechanism, (*OWN_MECHANISMS, *_RELAYED)))
        elif mechanism in listener.mechanisms[:position]:
            yield Problem(here, f"{found}stands there twice")
        elif mechanism in OWN_MECHANISMS:
            if mechanism == "EXTERNAL":
                yield from _external(here, path, listener, names, parts)
        elif mechanism.endswith("-PLUS"):
            # RFC 5801 8, RFC 5802 6: bound to the TLS channel, which ends here and not at the server.
            yield Problem(here, f"{found}a mechanism with channel binding cannot be relayed; {wanted}")
        elif mechanism not in _RELAYED and near_name(mechanism, OWN_MECHANISMS, cutoff=0.75):
            yield Problem(here, found + wanted + near(mechanism, OWN_MECHANISMS))
        elif not alone:
            yield Problem(
                here, f"{found}is relayed to the server, which must be the only one: this listener has {_led_to(names, listener)}", why
            )
        elif any(parts.servers[name].master_user is not None for name in names if name in parts.servers):
            yield Problem(here, f"{found}is relayed to the server, which cannot be done with its master_user", why)
    if listener.apop:
        if listener.protocol != "pop3":
            yield Problem((*path, "apop"), 'is for protocol = "pop3"', ((*path, "protocol"),))
        elif not alone:
            text = f"is relayed to the server, which must be the only one: this listener has {_led_to(names, listener)}"
            yield Problem((*path, "apop"), text, why)


def _led_to(names: list[str], listener: Listener) -> str:
    return ", ".join([*names, *(f"those of {lookup}" for lookup in listener.lookups)])


def _external(here: KeyPath, path: KeyPath, listener: Listener, names: list[str], parts: Parts) -> Iterator[Problem]:
    if listener.client_certificates == "no":
        text = 'EXTERNAL needs client certificates; possible: client_certificates = "optional" or "required"'
        yield Problem(here, text, ((*path, "client_certificates"),))
    for name in names:
        server = parts.servers.get(name)
        if server is not None and server.master_user is None:
            text = f"EXTERNAL needs a master user: server {show(name)} has none; set master_user and master_password in servers.{name}"
            yield Problem(here, text, (("servers", name, "master_user"),))


def _greeting(path: KeyPath, listener: Listener) -> Iterator[Problem]:
    text = listener.greeting
    here = (*path, "greeting")
    if not re.fullmatch(r"[\x20-\x7e]{1,200}", text) or text.startswith(("[", " ")):
        # RFC 9051 9, resp-text: "[" would begin a response code.
        yield Problem(here, 'possible: 1 to 200 printable ASCII characters that do not begin with "[" or a space')
    elif listener.protocol == "pop3" and "<" in text:
        text = 'has "<", which a POP3 client takes for the beginning of an APOP timestamp (RFC 1939 7)'
        yield Problem(here, text, ((*path, "protocol"),))


def _listening(listeners: Mapping[str, Listener]) -> Iterator[Problem]:
    taken: list[tuple[Address, KeyPath]] = []
    for name, listener in listeners.items():
        for number, text in enumerate(listener.addresses):
            path: KeyPath = ("listeners", name, "addresses", number)
            try:
                address = parse_address(text, any_port=True)
            except ValueError as error:
                yield Problem(path, f"found {show(text)}; {error}")
                continue
            for other, where in taken:
                if _overlap(address, other):
                    who = "this listener" if where[1] == name else f"listener {show(where[1])}"
                    yield Problem(path, f"found {show(text)}; {who} has {show(str(other))} already")
                    break
            taken.append((address, path))


def _overlap(one: Address, two: Address) -> bool:
    """Whether the kernel refuses to listen on both. (IPv6 sockets are opened with IPV6_V6ONLY.)"""
    if one.path or two.path:
        return one.path == two.path
    if one.port != two.port or one.port == 0:
        return False
    return any(_same_host(a, b) for a in _hosts(one.host) for b in _hosts(two.host))


def _hosts(host: str) -> tuple[str, ...]:
    return ("127.0.0.1", "::1") if host == "localhost" else (host,)


def _same_host(one: str, two: str) -> bool:
    if one == two:
        return True
    if re.fullmatch(r"[0-9.]+", one) and re.fullmatch(r"[0-9.]+", two):
        return "0.0.0.0" in (one, two)  # noqa: S104 - compared, not listened on
    return ":" in one and ":" in two and "::" in (one, two)


def _written(path: KeyPath, name: str | None) -> Iterator[Problem]:
    if name is None:
        return
    file = Path(name)
    if file.is_dir() or not file.parent.is_dir():
        yield Problem(path, f"{file}: " + ("is a directory" if file.is_dir() else "the directory does not exist"))
    elif not os.access(file if file.exists() else file.parent, os.W_OK):
        yield Problem(path, f"{file}: may not be written")


def _tracing(trace: Trace) -> Iterator[Problem]:
    if trace.directory is not None:
        directory = Path(trace.directory)
        if not directory.is_dir():
            yield Problem(("trace", "directory"), f"{directory}: is not a directory; it must be there before the start")
        elif not os.access(directory, os.W_OK | os.X_OK):
            yield Problem(("trace", "directory"), f"{directory}: may not be written")
    if trace.users and trace.directory is None:
        yield Problem(("trace", "users"), "needs trace.directory", (("trace", "directory"),))
