"""What a session is told about its surroundings, as plain values.

Rule of this file: no behaviour beyond `repr`; made by app, gate or tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from portico.errors import Secret

if TYPE_CHECKING:
    from portico.session.annotations.annotation import Ledger
    from portico.session.mounts.memory import Memory, Subscriptions
    from portico.session.sizes.sizes import SizesLedger

HOPS: Final = 5
"""Proxies in a row that a login may pass, where nobody has said less: as Dovecot has it."""
Protocol = Literal["imap", "pop3"]
TlsMode = Literal["none", "starttls", "implicit"]


@dataclass(slots=True, frozen=True)
class TlsInfo:
    """What a finished handshake agreed on."""

    version: str
    """As Python says it: ``TLSv1.3``."""
    cipher: str
    """OpenSSL's name: ``TLS_AES_256_GCM_SHA384``."""
    client_name: str | None = None
    """The name in a verified client certificate (rfc822Name, else CN), for EXTERNAL; None: no certificate."""
    resumed: bool = False
    sni: str | None = None
    """The name that the client asked for."""


@dataclass(slots=True)
class Peer:
    """The client's connection. Field names are Dovecot's: rip = remote, lip = local."""

    rip: str
    rport: int
    lip: str
    lport: int
    tls: TlsInfo | None = None
    real_rip: str = ""
    """The address that the connection itself comes from, where somebody who may has said for whom he speaks (PROXY protocol, IMAP ID,
    POP3 XCLIENT): rip and the others are then the client's. Else empty."""


@dataclass(slots=True)
class LoginAttempt:
    """One try to sign in, as the client made it. Never logged whole."""

    user: str
    """The authentication identity, as given, in UTF-8 and without control characters."""
    mechanism: str
    """LOGIN, USER (POP3 USER/PASS), APOP, PLAIN, XOAUTH2, OAUTHBEARER, EXTERNAL, or the name of a relayed mechanism."""
    password: Secret | None = None
    """The password or the bearer token; None for EXTERNAL and relayed mechanisms."""
    authzid: str = ""
    """SASL authorization identity, empty where none was given."""


@dataclass(slots=True, frozen=True)
class Refusal:
    """Why a login is not let in, in words that may be said to the client."""

    text: str
    code: str = "AUTHENTICATIONFAILED"
    """IMAP response code (RFC 5530): AUTHENTICATIONFAILED, AUTHORIZATIONFAILED, UNAVAILABLE, INUSE, LIMIT, ALERT, CONTACTADMIN.
    POP3's code (RFC 3206, 2449) is derived: AUTH, SYS/TEMP, SYS/PERM; IN-USE for INUSE and LIMIT."""
    reason: str = "refused"
    """A word for the log: limit_user, plugin, no_route, …"""
    counts: bool = False
    """Whether it counts as a wrong login (delay, too_many_wrong_logins, and whose fault it is in the log)."""
    detail: str = ""
    """More about the reason, for the log alone."""


@dataclass(slots=True, frozen=True)
class Target:
    """One server for one protocol, with all that is needed to reach it."""

    name: str
    """The server's name in the settings."""
    address: str
    """``host:port``, ``[v6]:port`` or ``unix:/path``, for the log and the dialler."""
    tls: TlsMode = "none"
    server: str = ""
    """Key of the server's record and TLS context (upstream)."""
    send_client_address: bool = True
    """Tell the server session id and addresses, by IMAP ID or POP3 XCLIENT, where it takes them."""
    group: str = ""
    """Name of the group as whose member it was chosen."""


@dataclass(slots=True, frozen=True)
class RouteChoice:
    """A server by its name in the settings, as a routing table or a plugin chose it."""

    server: str
    user: str = ""
    """The name to sign in with there; empty: the client's own."""
    verified: bool = False
    """Whoever chose has proved that the client is `user` (has checked the password): the server's master user may be used."""


@dataclass(slots=True, frozen=True)
class Route:
    """Where a login goes and as whom."""

    target: Target
    user: str
    """The name to sign in with at the server (or to act for, with a master user)."""
    master_user: str = ""
    """Non-empty: sign in as this user by SASL PLAIN with `user` as authorization identity. Needs `verified`."""
    master_password: Secret | None = None
    password: Secret | None = None
    """Non-None: sign in with this password instead of the client's. Needs `verified`."""
    verified: bool = False
    """Who the client is has been proved without the server: by its certificate (EXTERNAL) or by a plugin or service that checked
    the password. Only then may another's credentials be used, or everybody could be anybody."""
    others: tuple[Route, ...] = ()
    """Where else it may go, in this order, while no server has been told who comes; they have none themselves."""


@dataclass(slots=True)
class ServerFacts:
    """What is known about a server from earlier connections, shared by all its sessions; may be empty.

    Facts help to offer the right thing before login and to save round trips; they are
    never trusted across STARTTLS: `plain` is from before, `secured` from after it.
    """

    plain: tuple[bytes, ...] = ()
    secured: tuple[bytes, ...] = ()
    """Capability names before login, in the server's order and case. POP3: CAPA lines."""
    mechanisms: tuple[str, ...] = ()
    """SASL mechanisms, upper case."""


@dataclass(slots=True)
class Context:
    """All that a session is born with. `limits`, `options` are the listener's settings (config.settings)."""

    id: str
    """Session id: unique, from accept to close, forwarded to the server (x-session-id)."""
    protocol: Protocol
    listener: str
    peer: Peer
    settings: Any
    """config.settings.Listener: what holds for this virtual server."""
    facts: ServerFacts = field(default_factory=ServerFacts)
    """Of the only server, where it is known beforehand; else empty."""
    known_target: Target | None = None
    """The only possible server, if there is one (mechanisms are relayed, APOP offered)."""
    trace_users: tuple[str, ...] = ()
    """Users whose sessions are traced (fnmatch patterns); empty: nobody, and nothing is kept for it."""
    refusal: Refusal | None = None
    """Non-None: the connection was not admitted; the session says so in place of the greeting and closes."""
    ledger: Ledger | None = None
    """Remembers what clients were shown of annotated messages; None: no message is annotated."""
    targets: Mapping[str, Target] = field(default_factory=dict)
    """All servers of the settings that speak this protocol, by name: what can be mounted."""
    memory: Memory | None = None
    """What is remembered of mounted stores."""
    sizes: SizesLedger | None = None
    """Remembers sizes that were told by estimate; None: none is."""
    subscriptions: Subscriptions | None = None
    """Keeps what users say of mailboxes whose subscriptions their store does not keep."""
    newest: int = 1000
    """Of a mailbox never seen before, so many messages are looked at."""
    transform: int = 1024 * 1024
    """Octets of a message that a plugin may transform, before and after."""
    timed: bool = False
    """Somebody wants to know how long commands take: the session says when they begin and end (decisions.Began, Answered)."""
    trusted: bool = False
    """The peer may say for whom it speaks (session.forwarded)."""
    hops: int = HOPS
    """How many proxies may be passed, this one included."""
    outer_id: str = ""
    """The session's id at the proxy in front."""
    retries: int = 0
    """How often all servers of a login are tried again where none could be reached,"""
    retry_wait: float = 1.0
    """after so many seconds."""
    possible: tuple[ServerFacts, ...] = ()
    """Of all servers that the session may come to; those of a server that has not been asked are empty. No facts: any server."""


@dataclass(slots=True)
class SessionView:
    """What a plugin sees of a session. Read-only by convention; values, no handles.

    The same object is passed to all hooks of one session; `data` is a plugin's own place.
    """

    id: str
    protocol: Protocol
    listener: str
    peer: Peer
    user: str = ""
    server: str = ""
    group: str = ""
    """Of which the server is a member, if it was chosen as one: what is remembered of the mail is remembered of the group's."""
    mechanism: str = ""
    client_id: Mapping[str, str] = field(default_factory=dict)
    """What the client said by IMAP ID (RFC 2971), keys in lower case."""
    capabilities: tuple[str, ...] = ()
    """The server's capability list after login, before filtering."""
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def reader(self) -> str:
        """To whom messages are shown as they were: the user, through one virtual server. On another one other settings hold."""
        return f"{self.listener}/{self.group or self.server}/{self.user}"

    def __repr__(self) -> str:
        return f"<session {self.id} {self.protocol} {self.user or '-'} -> {self.server or '-'}>"
