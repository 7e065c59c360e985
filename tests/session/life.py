"""A session, its two correspondents, and a gate that lets everybody in: what the letters of both protocols are played with.

Rule of this file: it does what the relay does with decisions, without sockets.
"""

from __future__ import annotations

from typing import Any

from portico.config.settings import Listener
from portico.session.close import Reason
from portico.session.context import Context, Peer, Refusal, Route, ServerFacts, Target, TlsInfo
from portico.session.decisions import CheckLogin, Close, Connect, Decision, OpenSession, SendToClient, SendToServer, Wait
from portico.session.events import (
    CLIENT,
    MAIN,
    BytesReceived,
    ClientConnected,
    Event,
    LoginAllowed,
    LoginRefused,
    ServerConnected,
    SessionOpened,
    WaitEnded,
)
from portico.session.imap.session import ImapSession
from portico.session.interests import Compiled, Interests, compile_interests
from portico.session.life import Life as Session
from portico.session.pop3.session import Pop3Session

TLS = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384")
TARGET = Target("main", "127.0.0.1:143")


class Life:
    """Letters go in by `client` and `server`; what is answered comes back, all decisions stay in `decisions`."""

    protocol = "imap"

    def __init__(
        self,
        *,
        tls: TlsInfo | None = TLS,
        route: Route | Refusal | None = None,
        interests: Interests | None = None,
        facts: ServerFacts | None = None,
        known: Target | None = None,
        trace: tuple[str, ...] = (),
        refusal: Refusal | None = None,
        settings: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        kind: type[Session] = ImapSession if self.protocol == "imap" else Pop3Session
        listener = Listener.model_validate({"protocol": self.protocol, "addresses": ["127.0.0.1:0"], **(settings or {}), **more})
        peer = Peer("192.0.2.1", 4711, "192.0.2.2", 993, tls)
        context = Context("sid", listener.protocol, "l", peer, listener, facts or ServerFacts(), known, trace, refusal)
        self.session = kind(context)
        self.route = route
        self.interests = interests
        self.to_client = b""
        self.to_server = b""
        self.decisions: list[Decision] = []
        self.tell(ClientConnected())

    def tell(self, event: Event) -> None:
        queue = [event]
        while queue:
            for decision in self.session.handle(queue.pop(0)):
                self.decisions.append(decision)
                if isinstance(decision, SendToClient):
                    self.to_client += decision.data
                elif isinstance(decision, SendToServer):
                    self.to_server += decision.data
                elif isinstance(decision, CheckLogin):
                    route = self.route or Route(TARGET, decision.attempt.user)
                    queue.append(LoginRefused(route) if isinstance(route, Refusal) else LoginAllowed(route))
                elif isinstance(decision, Connect):
                    queue.append(ServerConnected(MAIN))
                elif isinstance(decision, OpenSession):
                    queue.append(SessionOpened(self.compiled(decision)))
                elif isinstance(decision, Wait):
                    queue.append(WaitEnded())

    def compiled(self, decision: OpenSession) -> Compiled | None:
        return compile_interests(decision.view, [("p", self.interests)])

    def client(self, data: bytes) -> bytes:
        """The client says `data`; what it is answered."""
        return self.letter(CLIENT, data)[0]

    def server(self, data: bytes) -> bytes:
        """The server says `data`; what goes to the client."""
        return self.letter(MAIN, data)[0]

    def asked(self, data: bytes) -> bytes:
        """The client says `data`; what goes to the server."""
        return self.letter(CLIENT, data)[1]

    def answered(self, data: bytes) -> bytes:
        """The server says `data`; what goes back to it."""
        return self.letter(MAIN, data)[1]

    def letter(self, leg: int, data: bytes) -> tuple[bytes, bytes]:
        """`leg` says `data`; what then goes to the client and to the server."""
        self.to_client = self.to_server = b""
        self.tell(BytesReceived(leg, data))
        return self.to_client, self.to_server

    def all(self, kind: type[Any]) -> list[Any]:
        return [decision for decision in self.decisions if isinstance(decision, kind)]

    @property
    def end(self) -> tuple[Reason, str] | None:
        closes = self.all(Close)
        return (closes[0].reason, closes[0].side) if closes else None


class Pop3Life(Life):
    protocol = "pop3"
