"""What happened: the past tense. The relay makes these, a session takes them.

Rule of this file: no event holds a socket, a clock or a callback; all can be made in a
test by hand. A `leg` is CLIENT (-1) or the number of a server connection, 0 first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from portico.session.context import Refusal, Route, TlsInfo
from portico.session.interests import Compiled

CLIENT: Final = -1
MAIN: Final = 0


@dataclass(slots=True)
class ClientConnected:
    """The client is there; with implicit TLS the handshake is done. First event, once."""


@dataclass(slots=True)
class TlsStarted:
    """A StartTls was carried out; everything from here on is encrypted on that leg."""

    leg: int
    info: TlsInfo


@dataclass(slots=True)
class BytesReceived:
    """`data`, never empty, came in on `leg`, in clear (TLS is ended before)."""

    leg: int
    data: bytes


@dataclass(slots=True)
class Passed:
    """All that a Pass was about has gone from `leg` to the client; `data` came in behind it."""

    leg: int
    data: bytes = b""


@dataclass(slots=True)
class Closed:
    """No more will come from `leg`. `clean`: an orderly end (FIN, close_notify), not a reset."""

    leg: int
    clean: bool = True
    detail: str = ""


@dataclass(slots=True)
class ServerConnected:
    """The Connect for `leg` succeeded; with implicit TLS the handshake is done and verified."""

    leg: int
    tls: TlsInfo | None = None


@dataclass(slots=True)
class ServerFailed:
    """The Connect (or StartTls) for `leg` failed before the server said anything that counts.

    `reason` is a word for the log (refused, timeout, dns, tls_verify, tls, unreachable; of an SSH host on the way ssh_unreachable,
    ssh_host_key, ssh_auth, ssh_forbidden, ssh_protocol);
    `detail` is for the log only and never reaches the client.
    """

    leg: int
    reason: str
    detail: str = ""


@dataclass(slots=True)
class LoginAllowed:
    """The gate let a CheckLogin pass and chose the route."""

    route: Route


@dataclass(slots=True)
class LoginRefused:
    """The gate refused a CheckLogin: a limit, a plugin, no route."""

    refusal: Refusal


@dataclass(slots=True)
class SessionOpened:
    """The plugins have said what they are interested in; None: nobody is."""

    interests: Compiled | None


@dataclass(slots=True)
class WaitEnded:
    """The time asked for by Wait has passed."""


@dataclass(slots=True)
class TimedOut:
    """The time-out of the phase last set for `leg` passed without the phase being left."""

    phase: str
    leg: int = CLIENT


@dataclass(slots=True)
class Kicked:
    """Somebody who may do so wants the session to end. `shutdown`: the whole proxy ends. `patient`: the command that is under way is
    to be finished first; whoever is patient comes again when it takes too long."""

    text: str
    shutdown: bool = False
    patient: bool = False


Event = (
    ClientConnected
    | TlsStarted
    | BytesReceived
    | Passed
    | Closed
    | ServerConnected
    | ServerFailed
    | LoginAllowed
    | LoginRefused
    | SessionOpened
    | WaitEnded
    | TimedOut
    | Kicked
)
