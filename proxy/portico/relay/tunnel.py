"""The pump: two channels, and octets that pass from one to the other untouched.

Rule of this file: it knows nothing but the last octets that passed, for the question how it ended. Nothing is kept per session that
the pump does not need; the session object is gone.
"""

from __future__ import annotations

from typing import Final

from portico.relay.channel import Channel
from portico.relay.farewell import Farewell, conclude, report_bug
from portico.relay.ports import Generation, Session, Summary
from portico.relay.reactor import ENDS, ERROR, OUT
from portico.relay.table import Now, Sessions
from portico.session import decisions
from portico.session.close import Reason
from portico.session.context import Context, SessionView
from portico.session.decisions import Decision, Ending
from portico.session.events import Event

_ROUNDS: Final = 4
"""Reads in a row before others are served."""
_TAIL: Final = 128
"""Octets kept of what passed last, each way."""
_SAID: Final = (Reason.LOGOUT, Reason.SERVER_BYE)
_SILENT: Final = (Reason.SERVER_CLOSED, Reason.SERVER_RESET)
_GONE: Final = "The mail server closed the connection."


class Remains:
    """What is left of a session once it is a tunnel: enough for the log and the plugins."""

    __slots__ = ("context", "view")
    phase: Final = "tunnel"

    def __init__(self, context: Context, view: SessionView) -> None:
        self.context = context
        self.view = view

    def handle(self, event: Event) -> list[Decision]:
        """A tunnel has no events."""
        return []

    def trace(self, on: bool) -> None:
        """The Tunnel does it."""


class Tunnel:
    """`client` and `server` are pumped into each other until one ends. `began` is the reactor's time at accept."""

    __slots__ = (
        "_began", "_bye", "_client", "_from_client", "_from_server", "_generation", "_half", "_idle", "_judge", "_leaving", "_reactor",
        "_server", "_session", "_sessions", "_talker", "_write", "active", "due", "traced",
    )  # fmt: skip

    def __init__(
        self,
        client: Channel,
        server: Channel,
        session: Session,
        generation: Generation,
        sessions: Sessions,
        began: float,
        decision: decisions.Tunnel,
    ) -> None:
        self._client = client
        self._server = server
        self._reactor = client.reactor
        self._session: Session = Remains(session.context, session.view)
        self._generation = generation
        self._sessions = sessions
        self._began = began
        self._judge = decision.judge
        self._bye = decision.bye
        self._from_client = b""
        self._from_server = b""
        self._talker = server
        self._half = False  # the client's half has ended
        self._leaving = ""  # what the client is told when its last command has been answered, and it ends
        self.traced = False  # somebody looks at what passes
        self._idle = generation.timeout(session, "idle")
        self._write = generation.timeout(session, "write")
        self.active = self._reactor.now
        """When an octet passed last."""
        self.due = self.active + self._idle

    def __repr__(self) -> str:
        return f"<Tunnel {self.view.id} {self.view.user or '-'} {self._client!r} {self._server!r}>"

    @property
    def view(self) -> SessionView:
        return self._session.view

    def start(self, to_client: bytes, to_server: bytes) -> None:
        """Take both channels over; what was read and not forwarded goes first."""
        client, server = self._client, self._server
        client.owner = server.owner = self
        client.peer, server.peer = server, client
        client.holds = server.holds = 0
        self._sessions.put(self)
        self._reactor.watch(self)
        for channel, peer, data in ((server, client, to_client), (client, server, to_server)):
            if data:
                self._pass(channel, peer, memoryview(data))
            # What was seen before may be there still, and no event will come for it.
            if channel.readable or channel.early or channel.eof:
                self._reactor.later(channel)

    # -- as owner of both channels

    def ready(self, channel: Channel, mask: int) -> None:
        try:
            if mask & ~OUT and not channel.eof:
                channel.readable = True
                if mask & ENDS:
                    channel.fin = True
            if channel.unsent is not None:
                self._flush(channel)
            peer = channel.peer
            if peer is None:
                return
            if peer.unsent is None:
                if channel.readable:
                    self._pump(channel, peer)
            elif mask & ERROR and channel is self._client:
                # It is not read now, because the server takes nothing; but there is nobody any more to read from.
                self._end(Reason.CLIENT_RESET, "client", "connection lost")
        except Exception as error:
            self._bug(error)

    def resume(self, channel: Channel) -> None:
        try:
            peer = channel.peer
            if peer is not None and peer.unsent is None and (channel.readable or channel.early or channel.eof):
                self._pump(channel, peer)
        except Exception as error:
            self._bug(error)

    def _pump(self, channel: Channel, peer: Channel) -> None:
        for _ in range(_ROUNDS):
            data = channel.pull()
            if data is not None:
                self._pass(channel, peer, data)
                if peer.lost:
                    self._lost(peer)
                    return
                if self._leaving and self._resting():
                    self.kick(self._leaving, shutdown=True)
                    return
            if channel.eof:
                self._ended(channel)
                return
            if not channel.readable or peer.unsent is not None:
                return
        self._reactor.later(channel)

    def _pass(self, channel: Channel, peer: Channel, data: memoryview) -> None:
        if self.traced:
            self._show(channel, data)
        if channel is self._server:
            self._from_server = bytes(data[-_TAIL:]) if len(data) >= _TAIL else (self._from_server + data)[-_TAIL:]
        else:
            self._from_client = bytes(data[-_TAIL:]) if len(data) >= _TAIL else (self._from_client + data)[-_TAIL:]
        self._talker = channel
        self.active = self._reactor.now
        if not peer.push(data):
            self.due = min(self.due, self.active + self._write)

    def _show(self, channel: Channel, data: memoryview) -> None:
        try:
            self._generation.trace(self._session, "<C" if channel is self._server else "C>", bytes(data))
        except Exception as error:  # what is shown to somebody else must not end the session
            report_bug(self._generation, self._session, error)

    def _flush(self, channel: Channel) -> None:
        before = channel.stalled
        sent = channel.flush()
        if channel.stalled != before:
            self.active = self._reactor.now
        if channel.lost:
            self._lost(channel)
        elif sent:
            peer = channel.peer
            if peer is not None and (peer.readable or peer.eof):
                self._reactor.later(peer)

    # -- ends

    def _lost(self, channel: Channel) -> None:
        """Nothing can be sent to it any more."""
        if channel is self._client:
            self._end(Reason.CLIENT_RESET, "client", channel.lost)
            return
        # The server may have said why before it went; that is still there to be read.
        if channel.eof or channel.fin or channel.readable:
            channel.readable = not channel.eof
            channel.fin = True
            if self._client.unsent is None:
                self._reactor.later(channel)
            return
        self._end(Reason.SERVER_RESET, "server", channel.lost, whole=self._tell(_GONE))

    def _ended(self, channel: Channel) -> None:
        if channel is self._server:
            self._server_ended(channel)
        elif channel.reset:
            self._end(Reason.CLIENT_RESET, "client", channel.reset)
        elif not self._half:
            self._half = True
            server = self._server
            if server.half_closes:
                server.finish()
            elif self._talker is server:
                # TLS 1.2 cannot pass a half's end on (RFC 5246 7.2.1), and the server owes no answer.
                self._end(Reason.CLIENT_CLOSED, "client")
                return
            self.active = self._reactor.now
            self._idle = self._generation.timeout(self._session, "half_close")
            self.due = min(self.due, self.active + self._idle)

    def _server_ended(self, server: Channel) -> None:
        ending = self._ending()
        said = ending.reason in _SAID and ending.whole
        broken = bool(server.reset) or server.truncated
        reason, side, detail = ending.reason, ending.side, ""
        if broken and not said:
            detail = server.reset or "without close_notify"
            if server.reset:
                reason, side = Reason.SERVER_RESET, "server"
        if self._half and not said and not server.reset:
            reason, side = Reason.CLIENT_CLOSED, "client"
        elif reason in _SILENT:
            said = self._tell(_GONE)
        self._end(reason, side, detail, whole=said or not broken)

    def _ending(self) -> Ending:
        if self._judge is None:
            return Ending(Reason.SERVER_CLOSED, "server", False)
        return self._judge(self._from_client, self._from_server)

    def _tell(self, text: str) -> bool:
        """Say `text` to the client if the last that it saw was a whole status line. Octets sent, or not, are at a boundary then."""
        if not self._bye or not self._ending().whole:
            return False
        self._client.push(self._bye % text.encode("utf-8", "replace"))
        return True

    def _end(self, reason: Reason, side: str, detail: str = "", *, whole: bool = True) -> None:
        client, server = self._client, self._server
        if client.owner is not self:
            return
        self._reactor.forget(self)
        seconds = self._reactor.now - self._began
        summary = Summary(reason, side, detail, seconds, client.received, client.sent, True)
        server.depart()
        if reason is Reason.CLIENT_RESET or client.lost or client.reset:
            client.close()
        elif reason is Reason.TIMEOUT_WRITE:
            client.abort()
        else:
            Farewell(client, self._generation, self._sessions, self._session, summary, whole=whole).start()
            return
        conclude(self._generation, self._sessions, self._session, summary)

    def _bug(self, error: Exception) -> None:
        self._reactor.wipe()
        report_bug(self._generation, self._session, error)
        self._end(Reason.BUG, "portico", type(error).__name__, whole=False)

    # -- as one of the running

    def now(self) -> Now:
        now, client = self._reactor.tick(), self._client
        return Now("tunnel", now - self._began, now - self.active, client.received, client.sent)

    def trace(self, on: bool) -> None:
        self.traced = on

    def sweep(self, now: float) -> None:
        client, server = self._client, self._server
        due = self.active + self._idle
        for channel, side in ((client, "client"), (server, "server")):
            if channel.unsent is not None:
                if channel.stalled + self._write <= now:
                    self._end(Reason.TIMEOUT_WRITE, side)
                    return
                due = min(due, channel.stalled + self._write)
        if self.active + self._idle <= now:
            if self._half:
                self._end(Reason.CLIENT_CLOSED, "client", "the server did not end", whole=False)
            else:
                self._end(Reason.TIMEOUT_IDLE, "client", whole=self._tell("Autologout; idle for too long."))
            return
        self.due = due

    def _resting(self) -> bool:
        """Nothing is under way, as far as the last octets tell."""
        return self._talker is self._server and self._ending().answered

    def kick(self, text: str, *, shutdown: bool = False, patient: bool = False) -> None:
        """End it; the client is told where a line of ours may stand. `patient`: when its last command has been answered."""
        if patient and not self._resting():
            self._leaving = text
            return
        self._reactor.tick()
        self._end(Reason.SHUTDOWN if shutdown else Reason.KICKED, "operator", whole=self._tell(text))

    def abort(self) -> None:
        """End it now."""
        self._reactor.tick()
        self._client.unsent = None
        self._end(Reason.TIMEOUT_DRAIN, "operator", whole=False)
