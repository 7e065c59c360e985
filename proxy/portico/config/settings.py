"""The settings: every key, its type, unit, default and meaning.

Rule of this file: declarations only. The reference (docs/reference/settings.md) is generated from
it; `config.load` fills it from a file; sections that have grown are files of `config.sections`; nothing else in Portico knows a
default. All models are frozen: a reload makes new ones.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from portico.config.sections.base import Settings
from portico.config.sections.console import Console
from portico.config.sections.log import Log
from portico.config.sections.metrics import Metrics
from portico.config.sections.penalties import Network, Penalties
from portico.config.sections.shared import Shared
from portico.config.sections.ssh import Ssh
from portico.config.sections.tls import Certificate, Tls
from portico.config.sections.upstream import AuthHttp, Group, Health, Sql
from portico.config.sections.workers import Workers
from portico.config.units import (
    GIB,
    KIB,
    MIB,
    MINUTES,
    SECONDS,
    Address,
    Directory,
    Duration,
    Fingerprint,
    ReadFile,
    SecretText,
    Size,
    WrittenFile,
)


class Timeouts(Settings):
    """One time-out per phase of a session; the key is the phase's name, and `reason=timeout_…` in the log."""

    tls: Duration = Field(10 * SECONDS, gt=0, description="The client's TLS handshake.")
    proxy_header: Duration = Field(5 * SECONDS, gt=0, description="The PROXY header, where one must come (proxy_protocol).")
    login: Duration = Field(3 * MINUTES, gt=0, description="From connect until the client has signed in.")
    connect: Duration = Field(5 * SECONDS, gt=0, description="TCP (and TLS) connection to the server.")
    greeting: Duration = Field(15 * SECONDS, gt=0, description="The server's greeting, counted from its connection.")
    sign_in: Duration = Field(60 * SECONDS, gt=0, description="The server's answer to the sign-in.")
    idle: Duration | None = Field(
        None,
        gt=0,
        description="No octet in either direction after login. Default: 31 minutes for IMAP (RFC 9051 5.4 wants 30), "
        "11 minutes for POP3 (RFC 1939 3 wants 10).",
    )
    write: Duration = Field(5 * MINUTES, gt=0, description="A peer takes nothing of what waits for it.")
    half_close: Duration = Field(60 * SECONDS, gt=0, description="The rest of the answer after the client has closed its half.")
    plugin: Duration = Field(10 * SECONDS, gt=0, description="A coroutine hook of a plugin.")
    held: Duration = Field(60 * SECONDS, gt=0, description="A login of a user who is held (portico ctl hold); less than login.")
    store: Duration = Field(30 * SECONDS, gt=0, description="A mounted store owes an answer and says nothing.")
    store_idle: Duration = Field(
        5 * MINUTES, gt=0, description="The connection to a mounted store is closed when nobody needed it so long."
    )
    store_retry: Duration = Field(10 * SECONDS, gt=0, description="A mounted store that failed is left alone so long.")


class SessionLimits(Settings):
    """What one session may use."""

    line_before_login: Size = Field(64 * KIB, gt=0, description="One line from the client before login (an OAuth token fits).")
    literal_before_login: Size = Field(
        64 * KIB, description="One literal from the client before login; a larger one is refused before an octet of it is read."
    )
    line: Size = Field(64 * KIB, gt=0, description="One line after login, in a session that is watched.")
    literal: Size = Field(1 * GIB, description="One literal after login, in a session that is watched.")
    held: Size = Field(1 * MIB, gt=0, description="What may be held in memory for one session while something is rewritten.")
    wrong_logins: int = Field(5, ge=1, description="Wrong logins, then BYE.")
    wrong_login_delay: Duration = Field(2 * SECONDS, description="Delay of the first refusal; each further one waits twice as long.")
    wrong_login_delay_max: Duration = Field(15 * SECONDS, description="The longest such delay.")
    bad_commands: int = Field(20, ge=1, description="Commands in a row before login that are not understood, then BYE.")


class Limits(Settings):
    """What all sessions together may use."""

    sessions: int = Field(20000, ge=1, description="Sessions in all.")
    sessions_per_user: int = Field(200, ge=1, description="Sessions of one user (Thunderbird opens 5, a phone 10).")
    sessions_per_address: int = Field(500, ge=1, description="Connections of one client address (IPv6: one /64).")
    sessions_per_user_and_address: int | None = Field(
        None,
        ge=1,
        description="Sessions of one user from one client address (Dovecot: mail_max_userip_connections). Default: as many as of one user.",
    )

    @property
    def per_user_and_address(self) -> int:
        return self.sessions_per_user if self.sessions_per_user_and_address is None else self.sessions_per_user_and_address


class Server(Settings):
    """A server that Portico stands in front of."""

    imap: Address | None = Field(None, description='Where its IMAP answers: "host:port", "[v6]:port" or "unix:/path".')
    pop3: Address | None = Field(None, description="Where its POP3 answers, likewise.")
    tls: Literal["none", "starttls", "implicit"] = Field("none", description="How the connection to the server is encrypted.")
    verify: bool = Field(True, description="Check the server's certificate and name. Off is said in the log at every start.")
    ca_file: ReadFile | None = Field(None, description="PEM file of the authorities to trust; default: the system's.")
    name: str | None = Field(None, description="The name that its certificate must bear; default: the host of the address.")
    fingerprint: Fingerprint | None = Field(None, description="SHA-256 of the server's certificate in hex: trust exactly this one.")
    fingerprints: list[Fingerprint] = Field(
        default=[], description="Further ones that are trusted likewise: the next certificate's, before the server changes to it."
    )
    certificate: ReadFile | None = Field(None, description="PEM file with the certificate that Portico shows to the server, and its chain.")
    key: ReadFile | None = Field(None, description="PEM file with its key; default: the key is in the certificate file.")
    master_user: str | None = Field(None, description="Sign in as this user for everybody (SASL PLAIN with authorization identity).")
    master_password: SecretText | None = Field(None, description="Its password: text, or {file = …} or {env = …}.")
    send_client_address: bool = Field(
        True, description="Forward session id and addresses by IMAP ID and POP3 XCLIENT where the server takes them."
    )
    proxy_protocol: Literal["v1", "v2"] | None = Field(
        None,
        description="Say to the server whose connection it is by the PROXY protocol, before anything else; v2 says what is known of the "
        "client's TLS too. The server must expect it.",
    )
    probe: bool = Field(
        True,
        description="Ask for greeting and capabilities at start and every health.interval: the right ones are then offered before login, "
        "and a server that is ill is known before a user comes.",
    )
    test_user: str | None = Field(None, description="Whenever it is asked, sign in as this user, too: a server that cannot is ill.")
    test_password: SecretText | None = Field(None, description="Its password: text, or {file = …} or {env = …}.")
    ssh: Ssh | None = Field(None, description="The SSH host through which alone the server can be reached.")

    @property
    def pins(self) -> list[str]:
        """SHA-256 of the only certificates that it may show, in hex; empty: any that is good."""
        return [*([self.fingerprint] if self.fingerprint is not None else []), *self.fingerprints]


class RouteRule(Settings):
    """One row of a routing table: the first that matches decides."""

    users: list[str] = Field(min_length=1, description='Names or patterns: "alice", "*@example.org", "*".')
    server: str = Field(description="Name of the server or group.")
    user: str | None = Field(None, description='The name to sign in with there; "{user}", "{local}" and "{domain}" are filled in.')


class Listener(Settings):
    """A virtual server in Exchange's words: one protocol on some addresses, with its own TLS, route and plugins."""

    protocol: Literal["imap", "pop3"] = Field(description="The protocol spoken on it.")
    addresses: list[Address] = Field(min_length=1, description='"0.0.0.0:993", "[::]:993", "localhost:1143" or "unix:/path".')
    tls: Literal["none", "starttls", "implicit"] = Field(
        "implicit", description="implicit: TLS first. starttls: offered (STARTTLS, STLS). none: never."
    )
    certificate: ReadFile | None = Field(None, description="PEM file with the certificate and its chain.")
    key: ReadFile | None = Field(None, description="PEM file with its key; default: the key is in the certificate file.")
    certificates: list[Certificate] = Field(
        default=[], description="Further certificates, or all: which one is shown is decided by the name that the client asks for (SNI)."
    )
    client_ca_file: ReadFile | None = Field(None, description="PEM file of the authorities for client certificates.")
    client_certificates: Literal["no", "optional", "required"] = Field("no", description="Whether clients are asked for a certificate.")
    client_crl_file: ReadFile | None = Field(
        None,
        description="PEM file with the lists of revoked certificates of all these authorities. A list that is missing or too old lets "
        "nobody in who shows a certificate.",
    )
    minimum_tls: Literal["1.2", "1.3"] = Field("1.2", description="The oldest TLS version accepted.")
    ciphers: str | None = Field(
        None,
        description="Ciphers of TLS 1.2 in OpenSSL's words; default: Mozilla's intermediate list. TLS 1.3 has its own, all of them good.",
    )
    proxy_protocol: list[Network] = Field(
        default=[],
        description="Only from these networks connections are taken, and each must begin with a PROXY header (v1 or v2, before TLS): a "
        'balancer. All others are refused. "unix": unix sockets.',
    )
    trusted_networks: list[Network] = Field(
        default=[],
        description="Those who may say by IMAP ID or POP3 XCLIENT for which client they speak (Dovecot: login_trusted_networks). Their own "
        "connections are not counted by address. They pay penalties all the same (penalties.exempt).",
    )
    plain_login: bool = Field(False, description="Let clients sign in without TLS. Off: LOGINDISABLED and [PRIVACYREQUIRED].")
    mechanisms: list[str] = Field(
        default=["PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"],
        description="SASL mechanisms offered. EXTERNAL needs client certificates and a master user; "
        "any other name is relayed to the server, which must then be the only one.",
    )
    apop: bool = Field(False, description="POP3: offer APOP, relayed to the server, which must be the only one.")
    greeting: str = Field("Portico ready.", description="The text of the greeting.")
    server: str | None = Field(None, description="The server or group of users for whom no route matches and no lookup has an answer.")
    routes: list[RouteRule] = Field(default=[], description="Which user goes to which server; the first match decides.")
    lookups: list[str] = Field(
        default=[], description="Names of tables of sql or auth_http, asked in this order for users for whom no route matches."
    )
    timeouts: Timeouts = Field(default_factory=lambda: Timeouts(), description="Time-outs of its sessions.")
    limits: SessionLimits = Field(default_factory=lambda: SessionLimits(), description="Limits of each of its sessions.")
    plugins: dict[str, dict[str, Any]] = Field(default={}, description="Plugins of this listener, with their options.")

    @property
    def idle_timeout(self) -> float:
        """Seconds; the protocol's default where none is set."""
        if self.timeouts.idle is not None:
            return self.timeouts.idle
        return 31 * MINUTES if self.protocol == "imap" else 11 * MINUTES


class Trace(Settings):
    """Protocol text of chosen users, credentials blotted out, for finding faults."""

    directory: Directory | None = Field(None, description="Directory for one file per session; nothing is traced without it.")
    users: list[str] = Field(default=[], description="Names or patterns of the users to trace.")


class Annotations(Settings):
    """What plugins insert into messages, and how it is remembered: a message that was shown once stays as it was shown."""

    file: WrittenFile | None = Field(
        None,
        description="SQLite file that remembers it, made so that only its owner can read it; default: in memory, so that after a "
        "restart plugins are asked again.",
    )
    newest: int = Field(
        1000, ge=0, description="Of a mailbox seen for the first time, so many of the newest messages are looked at; older ones never."
    )
    transform: Size = Field(
        1 * MIB,
        description="The largest message that a plugin may transform, and the largest that it may make of one; others stay.",
    )
    kept: Size | None = Field(
        None,
        description="How much of transformed messages is kept, compressed; what finds no room is transformed again when it is asked for. "
        "Default: 4 GiB in a file, 64 MiB in memory.",
    )


class Portico(Settings):
    """The whole file."""

    servers: Annotated[dict[str, Server], Field(min_length=1, description="Servers by name.")]
    listeners: Annotated[dict[str, Listener], Field(min_length=1, description="Listeners by name.")]
    groups: dict[str, Group] = Field(default={}, description="Groups of servers by name; a server cannot have the same name.")
    health: Health = Field(default_factory=lambda: Health(), description="When a server is ill.")
    sql: dict[str, Sql] = Field(default={}, description="Databases that know where users are, by name.")
    auth_http: dict[str, AuthHttp] = Field(default={}, description="Services that check passwords and know where users are, by name.")
    limits: Limits = Field(default_factory=lambda: Limits(), description="Limits over all sessions.")
    log: Log = Field(default_factory=lambda: Log(), description="The log.")
    trace: Trace = Field(default_factory=lambda: Trace(), description="Protocol traces.")
    annotations: Annotations = Field(default_factory=lambda: Annotations(), description="Annotated messages.")
    workers: Workers = Field(default_factory=lambda: Workers(), description="Processes.")
    console: Console = Field(default_factory=lambda: Console(), description="The operators' console.")
    shared: Shared = Field(default_factory=lambda: Shared(), description="What several machines know together.")
    metrics: Metrics = Field(default_factory=lambda: Metrics(), description="Metrics and health.")
    tls: Tls = Field(default_factory=lambda: Tls(), description="Certificates and session tickets of all listeners.")
    penalties: Penalties = Field(default_factory=lambda: Penalties(), description="What an address pays for wrong passwords.")
    plugins: dict[str, dict[str, Any]] = Field(default={}, description="Plugins of all listeners, with their options.")
