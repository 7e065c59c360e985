"""Who acts in a session, phase after phase, and what one hands to the next.

Rule of this file: what session.life asks of a protocol (the front.py, sign_in.py and watch.py of each), and the answers that it gets.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from portico.session.context import Context, LoginAttempt, Route
from portico.session.decisions import Decision
from portico.session.events import Event
from portico.wire import sasl
from portico.wire.capability import Listed
from portico.wire.lines import Reader


@dataclass(slots=True)
class Wish:
    """A client wants to sign in. `initial` is for a relayed mechanism: its initial response, still in base64, or None; then
    the attempt has no user yet."""

    attempt: LoginAttempt
    initial: bytes | None = field(default=None, repr=False)


@dataclass(slots=True)
class SignedIn:
    """A leg is ready. `untagged`: what the client must still see (alerts), whole lines."""

    listed: Listed
    text: bytes
    untagged: bytes = b""

    @property
    def capabilities(self) -> list[bytes]:
        """Not to be changed."""
        return self.listed.names


@dataclass(slots=True)
class Failed:
    """A leg is of no use; `text` is the server's own words, or ours where it said none."""

    reason: str
    """A word for the log: refused_by_server, no_starttls, no_mechanism, not_verified, preauth, bye, protocol."""
    code: str
    text: bytes
    counts: bool = False
    """A wrong login, not an outage."""
    untagged: bytes = b""


class Front(Protocol):
    """The dialogue before login (imap.front, pop3.front)."""

    reader: Reader
    client_id: dict[str, str]
    commands: int
    starting_tls: bool
    in_exchange: bool

    def greeting(self) -> bytes: ...

    def feed(self, data: bytes) -> None: ...

    def advance(self, out: list[Decision]) -> Wish | None: ...

    def tls_started(self) -> None: ...


class SignIn(Protocol):
    """The proxy as a client of a server (imap.sign_in, pop3.sign_in)."""

    route: Route
    reader: Reader
    relayed: bool
    owed: int
    stage: str
    """For the log: greeting, then sign_in."""
    named: bool
    """The server may have been told who comes: what has been begun there cannot be begun elsewhere."""

    def feed(self, data: bytes) -> None: ...

    def advance(self, out: list[Decision]) -> SignedIn | Failed | None: ...

    def tls_started(self, out: list[Decision]) -> SignedIn | Failed | None: ...

    def client_line(self, text: bytes, out: list[Decision]) -> None: ...


class Watch(Protocol):
    """The session after login in which somebody is interested (imap.watch, pop3.watch)."""

    commands: int

    @property
    def under_way(self) -> bool:
        """Something of the client's has begun and is not done: a command that it is saying, or an answer. IDLE may be interrupted."""
        ...

    def begin(self, from_client: bytes, from_server: bytes, out: list[Decision]) -> None: ...

    def trace(self, on: bool) -> None: ...

    def handle(self, event: Event, out: list[Decision]) -> None: ...

    def let_go(self) -> None:
        """The session is over: keep nothing that leads back here. A circle stays until Python's collector looks, which is seldom."""
        ...


def takes_tokens(context: Context) -> bool:
    """Whether a bearer token may be of use: some server takes one, or nobody knows. Which server it will be is not known before the
    user is, so that one is enough."""
    for facts in context.possible:
        if not (facts.plain or facts.secured) or not sasl.BEARER.isdisjoint(facts.mechanisms):
            return True
    return not context.possible
