"""A session, its two correspondents, and a gate that lets everybody in: what the letters of both protocols are played with.

Rule of this file: it does what the relay does with decisions, without sockets. Our own tests use it as it is; authors of plugins
use `portico.testing.Correspondence`, which asks a plugin.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final

from portico.config.settings import Listener
from portico.ledger.ledger import SqliteLedger
from portico.session.close import Reason
from portico.session.context import Context, Peer, Protocol, Refusal, Route, ServerFacts, Target, TlsInfo
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

TLS: Final = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384")
TARGET: Final = Target("main", "127.0.0.1:143")

Question = CheckLogin | Connect | OpenSession | Wait
"""The decisions that are answered by an event."""


class Life:
    """Letters go in by `client` and `server`; what is answered comes back, all decisions stay in `decisions`."""

    protocol: Protocol = "imap"

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
        listener = Listener.model_validate({"protocol": self.protocol, "addresses": ["127.0.0.1:0"], **(settings or {}), **more})
        peer = Peer("192.0.2.1", 4711, "192.0.2.2", 993, tls)
        self.route = route
        self.interests = interests
        self.to_client = b""
        self.to_server = b""
        self.decisions: list[Decision] = []
        self.session = session_of("sid", self.protocol, "l", peer, listener, facts, known, trace, refusal)
        self.tell(ClientConnected())

    def tell(self, event: Event) -> None:
        """Hand `event` in, obey what is decided, and so on until nothing is asked any more."""
        steps = self.steps(event)
        try:
            question = next(steps)
            while True:
                question = steps.send(self.answer(question))
        except StopIteration:
            return

    def steps(self, event: Event) -> Generator[Question, Event]:
        """As `tell`, but each question is yielded and its answer taken."""
        queue = [event]
        while queue:
            for decision in self.session.handle(queue.pop(0)):
                self.decisions.append(decision)
                if isinstance(decision, CheckLogin | Connect | OpenSession | Wait):
                    queue.append((yield decision))
                else:
                    self.obey(decision)

    def obey(self, decision: Decision) -> None:
        """Carry out what is no question."""
        if isinstance(decision, SendToClient):
            self.to_client += decision.data
        elif isinstance(decision, SendToServer):
            self.to_server += decision.data

    def answer(self, question: Question) -> Event:
        """What gate, server, plugins and clock say."""
        if isinstance(question, CheckLogin):
            route = self.route or Route(TARGET, question.attempt.user)
            return LoginRefused(route) if isinstance(route, Refusal) else LoginAllowed(route)
        if isinstance(question, Connect):
            return ServerConnected(MAIN)
        return WaitEnded() if isinstance(question, Wait) else SessionOpened(self.compiled(question))

    def compiled(self, decision: OpenSession) -> Compiled | None:
        """What the plugins are interested in."""
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
        """The decisions of one kind so far."""
        return [decision for decision in self.decisions if isinstance(decision, kind)]

    @property
    def end(self) -> tuple[Reason, str] | None:
        """Why the session ended and who is to blame; None: it has not."""
        closes = self.all(Close)
        return (closes[0].reason, closes[0].side) if closes else None


class Pop3Life(Life):
    """As Life, with a POP3 session."""

    protocol = "pop3"


def session_of(
    id: str,
    protocol: Protocol,
    listener: str,
    peer: Peer,
    settings: Listener,
    facts: ServerFacts | None = None,
    known: Target | None = None,
    trace: tuple[str, ...] = (),
    refusal: Refusal | None = None,
) -> Session:
    """A session that has not been told anything yet."""
    ledger = SqliteLedger()
    context = Context(id, protocol, listener, peer, settings, facts or ServerFacts(), known, trace, refusal, ledger)
    context.sizes = context.subscriptions = ledger
    return ImapSession(context) if protocol == "imap" else Pop3Session(context)
