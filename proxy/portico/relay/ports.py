"""What the relay needs from the rooms above it, and what it runs.

Rule of this file: protocols only. `app` supplies a Generation (one per settings file read); tests supply
fakes. Nothing here is called on the data path: each call happens a few times per session.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Collection
from dataclasses import dataclass
from typing import Any, Protocol

from portico.session.close import Reason
from portico.session.context import Context, LoginAttempt, Peer, Refusal, Route, SessionView, Target
from portico.session.decisions import Decision
from portico.session.events import Event
from portico.session.interests import Compiled
from portico.upstream.dial import Carry


class Session(Protocol):
    """A sans-IO session (session.imap.session.ImapSession, session.pop3.session.Pop3Session)."""

    context: Context
    view: SessionView

    @property
    def phase(self) -> str:
        """For people: `watch` once octets flow and are read."""
        ...

    def handle(self, event: Event) -> list[Decision]: ...

    def trace(self, on: bool) -> None:
        """From now on decide Trace for its protocol text, or no more."""
        ...


@dataclass(slots=True)
class Summary:
    """A session that has ended, for the log and the plugins. Octets are counted in clear, without TLS."""

    reason: Reason
    side: str
    detail: str
    seconds: float
    bytes_in: int
    """From the client to the server, after login and before."""
    bytes_out: int
    """From the server (and us) to the client."""
    tunnel: bool
    """It ended as a tunnel."""


@dataclass(slots=True)
class Dialling:
    """How a target is reached."""

    address: str
    """``host:port``, ``[v6]:port`` or ``unix:/path``."""
    context: ssl.SSLContext | None
    """For TLS to the server (implicit or STARTTLS); None: never."""
    server_hostname: str | None
    """The name for SNI and verification; None where verification is off and the address has no name."""
    fingerprint: bytes | Collection[bytes] | None = None
    """SHA-256 of the only certificate accepted, or of each that is; None: its chain and name count."""
    carry: Carry | None = None
    """Who connects, where `address` is not reached from here; None: the dialler does."""
    proxy_protocol: int | None = None
    """The version of the PROXY header that goes first; None: none does."""


class Generation(Protocol):
    """One reading of the settings and all that was made from it. A running session keeps the one it was born with."""

    def entrance(self, listener: str, peer: Peer) -> float | None:
        """Seconds for the PROXY header that a connection from there must begin with. 0: it must not. None: nobody from there may come."""
        ...

    def turned_away(self, listener: str, peer: Peer, reason: str, detail: str) -> None:
        """A connection was closed before there was a session: not_listed, not_proxied, timeout."""
        ...

    def open_session(self, listener: str, peer: Peer) -> Session | None:
        """A session for a connection just accepted (before TLS); counts it. The refusal, if any, is in its context. None: it is closed
        without a word, and not counted."""
        ...

    def admit(self, session: Session) -> Awaitable[None] | None:
        """Plugins' client_connected: called when the client's channel is ready (TLS done where implicit), before ClientConnected.
        May set context.refusal. None: decided at once."""
        ...

    def client_tls(self, listener: str) -> ssl.SSLContext | None: ...

    def dialling(self, target: Target) -> Dialling: ...

    def check_login(self, session: Session, attempt: LoginAttempt) -> Route | Refusal | Awaitable[Route | Refusal]:
        """Limits, plugins, route. Never raises: what goes wrong inside is a Refusal UNAVAILABLE."""
        ...

    def open_plugins(self, session: Session, view: SessionView) -> Compiled | Awaitable[Compiled | None] | None: ...

    def login_ended(self, session: Session, ok: bool, counts: bool) -> None:
        """The login last checked has ended; not called where check_login refused it."""
        ...

    def connected(self, target: Target, error: str | None, seconds: float) -> None:
        """Health: a dial of `target` ended, well (None) or with the reason word of ServerFailed."""
        ...

    def secured(self, target: Target, error: str | None) -> None:
        """Health: the TLS that began behind STARTTLS is there (None), or failed with the reason word of ServerFailed."""
        ...

    def timeout(self, session: Session, phase: str) -> float:
        """Seconds of a phase (config.settings.Timeouts)."""
        ...

    def record(self, session: Session | None, event: str, fields: dict[str, Any]) -> None:
        """Write a log event."""
        ...

    def commanded(self, session: Session, command: str, result: str, seconds: float) -> None:
        """A command of the client has been answered; only where its context is `timed`."""
        ...

    def trace(self, session: Session, direction: str, data: bytes) -> None: ...

    def ended(self, session: Session, summary: Summary) -> None:
        """The session is over: uncount, log, tell the plugins. Called once for each session opened."""
        ...
