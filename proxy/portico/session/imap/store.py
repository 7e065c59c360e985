"""A further server leg of an IMAP session, from not there to signed in and back.

Rule of this file: one Store for each mount; it knows its own state, signs in by imap.sign_in, and says nothing to the client.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from portico.session.context import Context, LoginAttempt, Route, ServerFacts, Target
from portico.session.decisions import Connect, Decision, Disconnect, Record, SetPhase
from portico.session.events import BytesReceived, Closed, Event, ServerConnected, ServerFailed, TimedOut, TlsStarted
from portico.session.imap.sign_in import SignIn
from portico.session.mounts.mount import Mount
from portico.session.mounts.tree import Place
from portico.session.roles import Failed, SignedIn

State = Literal["closed", "connecting", "signing_in", "open", "resting"]

_LOGGED = 1000


@dataclass(slots=True)
class Store:
    """`leg` is its number, the same whenever it is opened again."""

    leg: int
    mount: Mount
    plugin: str
    target: Target | None
    """None: there is no such server in the settings."""
    place: Place
    account: str
    """Server and user, for what is remembered."""
    state: State = "closed"
    introduced: bool = False
    """It has been told what the client enabled, and asked for its separator."""
    capabilities: frozenset[bytes] = frozenset()
    """Upper case, of the last sign-in."""
    refused: bool = False
    """It does not take this user: no outage, but an answer."""
    sign_in: SignIn | None = None
    clock: str = ""
    """The phase last set for it while it is open."""
    asked: int = 0
    """Commands of the client that it had a part in."""
    opened: int = 0
    """How often one of its mailboxes was selected."""
    early: bytes = field(default=b"", repr=False)
    """What it sent behind its sign-in."""

    def open(self, context: Context, route: Route | None, attempt: LoginAttempt, client_id: dict[str, str], out: list[Decision]) -> None:
        """Connect and sign in. `route` None: nobody could sign in there."""
        if self.target is None or route is None:
            self._failed("no_credentials" if self.target is not None else "no_server", "", out)
            return
        facts = ServerFacts()  # those of the context are of the main server
        own = Context(context.id, context.protocol, context.listener, context.peer, context.settings, facts)
        self.sign_in = SignIn(own, self.leg, route, attempt, client_id)
        self.state = "connecting"
        out.append(SetPhase("connect", self.leg))
        out.append(Connect(self.leg, self.target))

    @property
    def opening(self) -> bool:
        return self.state in ("connecting", "signing_in")

    def handle(self, event: Event, out: list[Decision]) -> SignedIn | None:
        """An event of this leg while it is being opened. Not None: it is signed in."""
        sign_in = self.sign_in
        assert sign_in is not None
        outcome: SignedIn | Failed | None = None
        if isinstance(event, ServerConnected):
            self.state = "signing_in"
            out.append(SetPhase("greeting", self.leg))
        elif isinstance(event, TlsStarted):
            outcome = sign_in.tls_started(out) or sign_in.advance(out)
        elif isinstance(event, BytesReceived):
            sign_in.feed(event.data)
            outcome = sign_in.advance(out)
        elif isinstance(event, ServerFailed):
            self._failed(event.reason, event.detail, out)
        elif isinstance(event, Closed):
            self._failed("closed", event.detail, out)
        elif isinstance(event, TimedOut):
            self._failed("timeout", event.phase, out)
        if isinstance(outcome, Failed):
            self.refused = outcome.counts
            self._failed(outcome.reason, outcome.text[:_LOGGED].decode("utf-8", "replace"), out)
        elif outcome is not None:
            self.state = "open"
            self.refused = False
            self.introduced = False
            self.capabilities = frozenset(name.upper() for name in outcome.capabilities)
            self.early = sign_in.reader.take_rest()
            self.sign_in = None
            out.append(SetPhase("", self.leg))
            return outcome
        return None

    def _failed(self, reason: str, detail: str, out: list[Decision]) -> None:
        sign_in = self.sign_in
        if self.target is not None:
            out.append(Disconnect(self.leg))
        self.rest(out)
        if sign_in is not None:
            for secret in (sign_in.attempt.password, sign_in.route.password, sign_in.route.master_password):
                detail = secret.blot(detail) if secret is not None else detail  # should the server have repeated it
        name = self.target.name if self.target is not None else self.mount.server
        out.append(Record("mount.failed", {"server": name, "prefix": self.mount.prefix, "reason": reason, "detail": detail}))

    def rest(self, out: list[Decision]) -> None:
        """It is of no use now: who asks for it is told so at once, until the phase ends."""
        self.sign_in = None
        self.state = "resting"
        out.append(SetPhase("store_retry", self.leg))
