"""What is to be done: the imperative. A session returns these, the relay obeys, in order.

Rule of this file: a decision says what, never how; it holds bytes and plain values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from portico.session.close import Reason
from portico.session.context import LoginAttempt, SessionView, Target


@dataclass(slots=True)
class SendToClient:
    data: bytes


@dataclass(slots=True)
class SendToServer:
    leg: int
    data: bytes = field(repr=False)
    """Not shown: while signing in it carries credentials."""


@dataclass(slots=True)
class StartTls:
    """Begin TLS on `leg` (CLIENT: as server, else as client). What was read in clear and not yet handed over
    is discarded by the relay; the session discards its own Reader (RFC 9051 6.2.1, 11.1)."""

    leg: int


@dataclass(slots=True)
class Connect:
    """Open a connection to `target` as `leg`; answered by ServerConnected or ServerFailed."""

    leg: int
    target: Target


@dataclass(slots=True)
class Disconnect:
    """Close a server leg quietly; no Closed follows for it."""

    leg: int


@dataclass(slots=True)
class CheckLogin:
    """Ask the gate; answered by LoginAllowed or LoginRefused."""

    attempt: LoginAttempt


@dataclass(slots=True)
class OpenSession:
    """Signed in on both sides: ask the plugins; answered by SessionOpened."""

    view: SessionView


@dataclass(slots=True)
class HoldClient:
    """Read nothing more from the client until ReadClient."""


@dataclass(slots=True)
class ReadClient:
    """Go on reading the client."""


@dataclass(slots=True)
class HoldServer:
    """Read nothing more from a server leg until ReadServer. Independent of back-pressure: a leg is read only when no
    reason to hold it is left."""

    leg: int


@dataclass(slots=True)
class ReadServer:
    """Go on reading a server leg."""

    leg: int


@dataclass(slots=True)
class LoginEnded:
    """The login last checked has ended: signed in, or not. `counts`: it was a wrong password, not an outage."""

    ok: bool
    counts: bool = False


@dataclass(slots=True)
class Wait:
    """Come back with WaitEnded after `seconds`; the client is not read meanwhile."""

    seconds: float


@dataclass(slots=True)
class SetPhase:
    """Another time-out holds from now on: its name is a key of Timeouts (config.settings); empty: none.

    Each leg has its own clock, the session as a whole that of CLIENT (-1): what a server leg is given time for does not
    give the client more. ``login`` counts from the first time it is set.
    """

    phase: str
    leg: int = -1


class Ending(NamedTuple):
    """How a tunnel ended, as far as its last octets tell."""

    reason: Reason
    side: str
    whole: bool
    """The client has seen a whole status line last: a line of ours may follow."""
    answered: bool = False
    """And its last command has been answered, or is an IDLE."""


@dataclass(slots=True)
class Tunnel:
    """Detach: from now on bytes flow between the client and `leg` untouched.

    `to_client` and `to_server` are what was read and not yet forwarded; they go first.
    The session gets no further event.
    """

    leg: int
    to_client: bytes = b""
    to_server: bytes = b""
    judge: Callable[[bytes, bytes], Ending] | None = None
    """Names the end of the tunnel from the last octets (at most 64) that came from the client and from the server."""
    bye: bytes = b""
    """What a kick or a time-out says, where `judge` allows it; ``%b`` stands for the sentence."""


@dataclass(slots=True)
class Pass:
    """What comes from `leg` next may go to the client as it is, without the session: so the relay need not cut or copy it. Passed says
    that all of it went; until then the session answers as one in whose stream a response is open. A relay that hands the octets over by
    BytesReceived all the same does nothing wrong.

    `octets`: so many. -1: all, up to the end of the first read that ends in `until`, of which `seen` has come already.
    """

    leg: int
    octets: int = -1
    until: bytes = b""
    seen: bytes = b""

    def take(self, data: bytes | memoryview) -> tuple[int, bool]:
        """How many octets of `data`, which came next, pass; and whether they are the last."""
        count = len(data)
        if self.octets >= 0:
            passed = min(count, self.octets)
            self.octets -= passed
            return passed, not self.octets
        most = len(self.until)
        self.seen = (self.seen + data[-most:])[-most:]
        return count, self.seen == self.until


@dataclass(slots=True)
class Record:
    """A log event by its dotted name, with its fields (observe.events lists them all)."""

    event: str
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Began:
    """A command of the client has begun; said only where the context is `timed`. `key` names it until it is Answered."""

    key: bytes
    command: str


@dataclass(slots=True)
class Answered:
    """The answer to a command is whole. One that has not begun, or has been answered, is nobody's: a tag may come twice."""

    key: bytes
    result: str
    """ok, no or bad; POP3: ok or err."""


@dataclass(slots=True)
class Trace:
    """A piece of protocol text for the per-user trace, already free of credentials.

    `direction` is one of ``C>`` ``<C`` ``S>`` ``<S`` with the leg's number behind S where it is not 0.
    """

    direction: str
    data: bytes


@dataclass(slots=True)
class Close:
    """Send what is pending to the client, then end every leg. Nothing follows a Close."""

    reason: Reason
    side: str
    """Who is to blame: client, server, portico, operator."""
    detail: str = ""
    """For the log only."""


Decision = (
    SendToClient
    | SendToServer
    | StartTls
    | Connect
    | Disconnect
    | CheckLogin
    | OpenSession
    | HoldClient
    | ReadClient
    | HoldServer
    | ReadServer
    | LoginEnded
    | Wait
    | SetPhase
    | Tunnel
    | Pass
    | Record
    | Began
    | Answered
    | Trace
    | Close
)
