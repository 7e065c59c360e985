"""A session with a plugin, played as an exchange of letters: no sockets, no server, no clock.

Rule of this file: the session, the gate and the host are the real ones; this stands where the relay is, and where the server is while
somebody signs in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from inspect import isawaitable
from types import TracebackType
from typing import Any, Final, Literal, Self

from portico.config.settings import Portico
from portico.gate.gate import Gate
from portico.gate.limits import Counts
from portico.gate.way import way_of
from portico.plugin.host import Host
from portico.relay.ports import Summary
from portico.session.close import Reason
from portico.session.context import Peer, Protocol, Refusal, SessionView, TlsInfo
from portico.session.decisions import CheckLogin, Decision, OpenSession, Record, Tunnel
from portico.session.events import CLIENT, MAIN, BytesReceived, ClientConnected, Closed, Event, LoginAllowed, LoginRefused, SessionOpened
from portico.session.interests import Compiled
from portico.testing.doorman import Doorman
from portico.testing.life import TLS, Life, Question, session_of
from portico.testing.playbook import Letter, PlaybookFailed, difference, letters
from portico.wire.imap import quote
from portico.wire.lines import Line, Reader

LISTENER: Final = "here"
_GENEROUS: Final = 1 << 20

Mode = Literal["front", "tunnel", "watch", "closed"]


class Correspondence(Life):
    """One session of a client with a server, and a plugin in between. A context manager; outside of an event loop.

    `plugin`: an object, class or module, as an entry point names it; None: nobody takes part. `options` are its options as the
    settings would have them. `rip` is the client's address, `tls` what it agreed on (None: nothing; then `listener` must have
    plain_login). `capabilities` are the server's, separated by spaces. `listener`: further settings of the listener.
    """

    def __init__(
        self,
        plugin: object | None = None,
        options: Mapping[str, Any] | None = None,
        *,
        protocol: Protocol = "imap",
        name: str = "plugin",
        rip: str = "192.0.2.1",
        tls: TlsInfo | None = TLS,
        capabilities: bytes = b"",
        servers: Sequence[str] = ("main",),
        listener: Mapping[str, Any] | None = None,
        wrap: Callable[[Compiled], Compiled | None] | None = None,
    ) -> None:
        self.protocol = protocol
        self.events: list[tuple[str, dict[str, Any]]] = []
        """What the log would get of the session and its plugin: names and fields."""
        self.wrap = wrap
        self.route: Any = None
        self.interests: Any = None
        self.to_client = self.to_server = b""
        self.decisions: list[Decision] = []
        self._capabilities = capabilities
        self._tunnel = self._ended = False
        self._watched = False
        table: dict[str, Any] = {"protocol": protocol, "addresses": ["127.0.0.1:0"], "tls": "none", "server": servers[0]}
        if tls is not None:
            table["tls"] = "implicit"
        settings = Portico.model_validate(
            {
                "servers": {server: {protocol: f"127.0.0.{number}:143"} for number, server in enumerate(servers, 1)},
                "listeners": {LISTENER: {**table, **(listener or {}), "plugins": {} if plugin is None else {name: dict(options or {})}}},
            }
        )
        self.host = Host.load(settings, self._event, extra={} if plugin is None else {name: plugin})
        way = way_of(settings.listeners[LISTENER], settings.servers, plugins_route=self.host.chooses_routes(LISTENER))
        self._gate = Gate({LISTENER: way}, settings.limits, Counts(), self.host if self.host.active else None, self._bug)
        ticket, _ = self._gate.arrive(rip)
        self._ticket = ticket
        peer = Peer(rip, 4711, "192.0.2.2", 993 if protocol == "imap" else 995, tls)
        self.session = session_of("sid", protocol, LISTENER, peer, settings.listeners[LISTENER])
        self._runner = asyncio.Runner()
        self._runner.run(self._begin())
        self.greeting = self.to_client
        """What the client is told first."""

    # -- what there is to see

    @property
    def view(self) -> SessionView:
        """What the plugin sees of the session (portico.plugin.Session)."""
        return self.session.view

    @property
    def mode(self) -> Mode:
        """``front``: nobody has signed in. ``tunnel``: no plugin is interested. ``watch``: one is. ``closed``: it is over."""
        if self.end is not None:
            return "closed"
        return "tunnel" if self._tunnel else "watch" if self._watched else "front"

    @property
    def faults(self) -> list[str]:
        """What the plugin did wrong, one sentence each; the proxy would go on by the rule of the hook."""
        return [f"{fields.get('hook')}: {fields.get('error')}" for event, fields in self.events if event == "plugin.failed"]

    # -- letters

    def sign_in(self, user: str = "alice", password: str = "secret", *, client_id: Mapping[str, str] | None = None) -> bytes:  # noqa: S107
        """Sign in as a mail program does; what the client is told in answer to its LOGIN (tag ``in``), or to its PASS.

        `client_id`: said by IMAP ID before the login. The server takes any password.
        """
        if client_id:
            words = b" ".join(_string(word) for pair in client_id.items() for word in pair)
            self.client(b"id ID (%b)\r\n" % words)
        if self.protocol == "imap":
            said = b"in LOGIN %b %b\r\n" % (_string(user), _string(password))
        else:
            self.client(f"USER {user}\r\n".encode())
            said = f"PASS {password}\r\n".encode()
        told, asked = self.letter(CLIENT, said)
        if self._server_wanted:
            told += self._let_in(asked)
        self.to_client = self.to_server = b""
        return told

    def play(self, playbook: str | Sequence[Letter], *, cut: int = 0) -> None:
        """Exchange the letters of a playbook (portico.testing.playbook). `cut`: each arrives in pieces of so many octets.

        Raises PlaybookFailed, an AssertionError, at the first letter of which becomes something else than is written.
        """
        for letter in letters(playbook) if isinstance(playbook, str) else playbook:
            if self.end is not None:
                raise PlaybookFailed(f"{letter}\n  the session is over: {self.end[0]}")
            told, asked = self.pieces(CLIENT if letter.speaker == "C" else MAIN, letter.octets, cut)
            wrong = difference("to C", letter.to_client, told) + difference("to S", letter.to_server, asked)
            if wrong:
                raise PlaybookFailed(f"{letter}{wrong}" + "".join(f"\n  {fault}" for fault in self.faults))

    def pieces(self, leg: int, data: bytes, size: int) -> tuple[bytes, bytes]:
        """As `letter`, in pieces of `size` octets; 0: whole."""
        told = asked = b""
        for start in range(0, len(data), size or len(data) or 1):
            one, other = self.letter(leg, data[start : start + (size or len(data))])
            told, asked = told + one, asked + other
        return told, asked

    def close(self) -> None:
        """The client leaves; the plugin is told that the session and the proxy are over. May be called twice."""
        if self._ended:
            return
        self._ended = True
        if self.end is None and not self._tunnel:
            self.tell(Closed(CLIENT))
        reason, side = self.end or (Reason.CLIENT_CLOSED, "client")
        self._gate.leave(self._ticket)

        async def over() -> None:
            self.host.session_closed(self.view, Summary(reason, side, "", 1.0, 0, 0, self._tunnel))
            await self.host.stopping()

        self._runner.run(over())
        self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # -- in place of the relay

    async def _begin(self) -> None:
        await self.host.started()
        said = self.host.client_connected(self.session.view)
        if said is not None and isawaitable(said):
            said = await said
        self.session.context.refusal = said
        await self._tell(ClientConnected())

    def tell(self, event: Event) -> None:
        if self._tunnel:
            if isinstance(event, BytesReceived) and event.leg == CLIENT:
                self.to_server += event.data
            elif isinstance(event, BytesReceived):
                self.to_client += event.data
            return
        self._runner.run(self._tell(event))

    async def _tell(self, event: Event) -> None:
        steps = self.steps(event)
        try:
            question = next(steps)
            while True:
                question = steps.send(await self._asked(question))
        except StopIteration:
            return

    async def _asked(self, question: Question) -> Event:
        said: Any
        if isinstance(question, CheckLogin):
            said = self._gate.check(self._ticket, self.view, question.attempt)
            verdict = await said if isawaitable(said) else said
            return LoginRefused(verdict) if isinstance(verdict, Refusal) else LoginAllowed(verdict)
        if isinstance(question, OpenSession):
            said = self.host.session_opened(self.view)
            compiled: Compiled | None = await said if isawaitable(said) else said
            self._watched = True
            return SessionOpened(self.wrap(compiled) if self.wrap is not None and compiled is not None else compiled)
        return self.answer(question)

    def obey(self, decision: Decision) -> None:
        super().obey(decision)
        if isinstance(decision, Tunnel):
            self._tunnel = True
            self.to_client += decision.to_client
            self.to_server += decision.to_server
        elif isinstance(decision, Record):
            self._event(decision.event, decision.fields)

    # -- in place of the server

    @property
    def _server_wanted(self) -> bool:
        """Somebody has been let pass, and the server has not yet let him in."""
        return bool(self.view.server) and not (self._tunnel or self._watched or self.end)

    def _let_in(self, asked: bytes) -> bytes:
        """Answer what the proxy says to the server, up to and with the sign-in; what the client is told."""
        doorman = Doorman(self.protocol, self._capabilities)
        reader = Reader(_GENEROUS, _GENEROUS)
        told, asked = self.letter(MAIN, doorman.greeting)
        while asked or self._server_wanted:
            reader.feed(asked)
            answer, whole = b"", b""
            while (piece := reader.next()) is not None:
                whole += piece.data
                if isinstance(piece, Line) and piece.literal < 0:
                    answer += doorman.command(whole)
                    whole = b""
                elif isinstance(piece, Line) and piece.sync:
                    answer += b"+ go on\r\n"
            if not answer:
                break
            one, asked = self.letter(MAIN, answer)
            told += one
        return told

    # -- the log

    def _event(self, event: str, fields: dict[str, Any]) -> None:
        self.events.append((event, fields))

    def _bug(self, view: SessionView, error: Exception) -> None:
        raise error


def _string(text: str) -> bytes:
    """Quoted, or as a literal."""
    octets = text.encode()
    return quote(octets) or b"{%d+}\r\n%b" % (len(octets), octets)
