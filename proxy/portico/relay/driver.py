"""Runs one session: what happens on its connections becomes events, what the session decides is done, in order.

Rule of this file: it executes and decides nothing; how octets travel is in channel.py, what becomes of connections in connections.py, and
what all of it means in the session. Whatever escapes from the session is a fault of ours: this session ends, the others never notice.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from portico.relay.channel import Channel
from portico.relay.connections import Connections
from portico.relay.farewell import Farewell, conclude, report_bug
from portico.relay.leg import SESSION, START, WAIT
from portico.relay.ports import Generation, Session, Summary
from portico.relay.reactor import ERROR, Reactor
from portico.relay.table import Now, Sessions
from portico.relay.tunnel import Tunnel
from portico.session import decisions as do
from portico.session import events
from portico.session.close import Reason
from portico.session.context import Refusal, Route, SessionView
from portico.session.decisions import Decision
from portico.session.events import CLIENT, Event

_ROUNDS: Final = 4
"""Reads in a row before others are served."""
_INTERNAL_ERROR: Final = {"imap": b"* BYE Internal error\r\n", "pop3": b"-ERR [SYS/TEMP] Internal error\r\n"}


class Driver(Connections):
    """One session, from accept until it has ended or is a tunnel."""

    __slots__ = ("_began", "_busy", "_line_open", "_queue", "_sessions", "_tasks", "_timer", "_timing")

    def __init__(
        self, reactor: Reactor, client: Channel, session: Session, generation: Generation, sessions: Sessions, listener: str
    ) -> None:
        super().__init__(reactor, client, session, generation, listener)
        self._sessions = sessions
        self._queue: list[tuple[Event, int]] = []
        self._tasks: set[asyncio.Future[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timing: dict[bytes, tuple[str, float]] | None = None  # commands that have begun, where somebody wants to know
        self._busy = False
        self._line_open = False
        self._began = reactor.now

    def __repr__(self) -> str:
        state = "over" if self._over else " ".join(repr(leg) for leg in self._legs.values())
        return f"<Driver {self._session!r} {state}>"

    def start(self) -> None:
        """Begin; the connection has just been accepted."""
        client = self._channel
        client.owner = self
        client.holds = START
        self._sessions.put(self)
        self._reactor.watch(self)
        assert client.sock is not None
        try:
            self._reactor.register(client.sock.fileno(), client)
            if self._session.context.settings.tls == "implicit":
                self._start_tls(CLIENT)
            else:
                self._admit()
        except Exception as error:
            self._bug(error)

    # -- as owner of its channels

    def ready(self, channel: Channel, mask: int) -> None:
        try:
            channel.note(mask)
            if channel.unsent is not None:
                self._flush(channel)
            if channel.owner is not self:
                return
            if channel.shaking:
                self._shake(channel)
            elif not channel.holds:
                self._read(channel)
            elif mask & ERROR and channel.leg == CLIENT and channel.sock is not None:
                code = channel.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code and not channel.eof:  # it is held, but there is nobody any more to be read
                    channel.eof = True
                    self._feed(events.Closed(CLIENT, False, "connection lost"), CLIENT)
        except Exception as error:
            self._bug(error)

    def resume(self, channel: Channel) -> None:
        try:
            if channel.shaking:
                self._shake(channel)
            elif not channel.holds:
                self._read(channel)
        except Exception as error:
            self._bug(error)

    def _read(self, channel: Channel) -> None:
        leg = channel.leg
        for _ in range(_ROUNDS):
            if not (channel.readable or channel.early) or channel.holds:
                break
            data = channel.pull()
            if data is not None:
                self._active = self._reactor.now
                passing = self._passing
                if passing is not None and passing.leg == leg:
                    self._through(passing, data)
                else:
                    self._feed(events.BytesReceived(leg, bytes(data)), leg)
                if channel.owner is not self or channel.shaking:
                    return
            if channel.eof:
                self._closed(channel)
                return
        else:
            self._reactor.later(channel)
        if channel.lost and not channel.readable and not channel.eof and leg != CLIENT:
            channel.eof = True
            self._feed(events.Closed(leg, False, channel.lost), leg)

    def _through(self, passing: do.Pass, data: memoryview) -> None:
        """Octets that the session does not want to see: to the client, uncopied."""
        leg = passing.leg
        count, last = passing.take(data)
        rest = bytes(data[count:]) if count < len(data) else b""
        if count:
            client = self._channel
            if not client.push(data[:count] if rest else data):
                self._blocked(client, leg)
            elif client.lost:
                self._lost(client)
            # What passes is the middle of a response; only what is known to be its end is a line's.
            self._line_open = not last or not passing.until
        if self._over or not last:
            return
        self._passing = None
        self._feed(events.Passed(leg, rest), leg)

    def _closed(self, channel: Channel) -> None:
        clean = not channel.reset and not (channel.truncated and channel.leg != CLIENT)
        detail = channel.reset or ("without close_notify" if channel.truncated and not clean else "")
        self._feed(events.Closed(channel.leg, clean, detail), channel.leg)

    # -- events in, decisions out

    def _feed(self, event: Event, cause: int = CLIENT) -> None:
        """Give the session an event; one that comes while another is being worked on waits for its turn."""
        self._queue.append((event, cause))
        if self._busy:
            return
        self._busy = True
        try:
            while self._queue and not self._over:
                event, cause = self._queue.pop(0)
                self._execute(self._session.handle(event), cause)
        except Exception as error:
            self._bug(error)
        finally:
            self._busy = False

    def _execute(self, decided: list[Decision], cause: int) -> None:
        to, parts = CLIENT, list[bytes]()
        for decision in decided:
            if isinstance(decision, do.SendToClient):
                leg = CLIENT
            elif isinstance(decision, do.SendToServer):
                leg = decision.leg
            else:
                kind = type(decision)
                if kind is do.Began or kind is do.Answered:  # not worth a packet of its own for what stands before
                    _DO[kind](self, decision)
                    continue
                if parts:
                    self._send(to, parts, cause)
                    parts = []
                _DO[kind](self, decision)
                if self._over:
                    return
                continue
            if parts and leg != to:
                self._send(to, parts, cause)
                parts = []
            to = leg
            if decision.data:
                parts.append(decision.data)
        if parts:
            self._send(to, parts, cause)

    def _send(self, to: int, parts: list[bytes], cause: int) -> None:
        record = self._legs.get(to)
        if record is None or record.channel is None:
            return  # the leg has gone, and Closed is on its way to the session
        channel = record.channel
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        if to == CLIENT:
            self._line_open = data[-1] != 0x0A
        if not channel.push(data) and not channel.flush():
            self._blocked(channel, cause)
        elif channel.lost:
            self._lost(channel)

    def _pass(self, decision: do.Pass) -> None:
        self._passing = decision

    def _record(self, decision: do.Record) -> None:
        self._generation.record(self._session, decision.event, decision.fields)

    def _command_began(self, decision: do.Began) -> None:
        if self._timing is None:
            self._timing = {}
        self._timing[decision.key] = (decision.command, self._reactor.tick())

    def _command_answered(self, decision: do.Answered) -> None:
        if self._timing is not None and (begun := self._timing.pop(decision.key, None)) is not None:
            command, since = begun
            self._generation.commanded(self._session, command, decision.result, self._reactor.tick() - since)

    def _trace(self, decision: do.Trace) -> None:
        self._generation.trace(self._session, decision.direction, decision.data)

    def _hold_client(self, decision: do.HoldClient) -> None:
        self._hold(CLIENT, SESSION)

    def _read_client(self, decision: do.ReadClient) -> None:
        self._release(CLIENT, SESSION)

    def _hold_server(self, decision: do.HoldServer) -> None:
        self._hold(decision.leg, SESSION)

    def _read_server(self, decision: do.ReadServer) -> None:
        self._release(decision.leg, SESSION)

    # -- questions to the rooms above

    def _admit(self) -> None:
        said = self._generation.admit(self._session)
        if said is None:
            self._admitted(None)
        else:
            self._await(said, self._admitted)

    def _admitted(self, nothing: None) -> None:
        self._release(CLIENT, START)
        self._feed(events.ClientConnected())

    def _check_login(self, decision: do.CheckLogin) -> None:
        said = self._generation.check_login(self._session, decision.attempt)
        if isinstance(said, Route) or isinstance(said, Refusal):  # noqa: SIM101 (a tuple is looked through, a class is compared)
            self._verdict(said)
        else:
            self._await(said, self._verdict)

    def _verdict(self, verdict: Any) -> None:
        self._feed(events.LoginAllowed(verdict) if isinstance(verdict, Route) else events.LoginRefused(verdict))

    def _open_session(self, decision: do.OpenSession) -> None:
        said = self._generation.open_plugins(self._session, decision.view)
        if said is None or not isinstance(said, Awaitable):
            self._opened(said)
        else:
            self._await(said, self._opened)

    def _opened(self, interests: Any) -> None:
        self._feed(events.SessionOpened(interests))

    def _login_ended(self, decision: do.LoginEnded) -> None:
        self._generation.login_ended(self._session, decision.ok, decision.counts)

    def _await(self, awaitable: Awaitable[Any], then: Callable[[Any], None]) -> None:
        task: asyncio.Future[Any] = asyncio.ensure_future(awaitable, loop=self._reactor.loop)
        self._tasks.add(task)
        task.add_done_callback(partial(self._came, then))

    def _came(self, then: Callable[[Any], None], task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        error: BaseException | None = asyncio.CancelledError() if task.cancelled() else task.exception()
        if self._over:
            return
        self._reactor.tick()
        try:
            if error is not None:
                raise error
            then(task.result())
        except (Exception, asyncio.CancelledError) as fault:
            self._bug(fault)

    # -- delays

    def _wait(self, decision: do.Wait) -> None:
        self._hold(CLIENT, WAIT)
        self._timer = self._reactor.loop.call_later(decision.seconds, self._waited)

    def _waited(self) -> None:
        self._timer = None
        self._reactor.tick()
        self._release(CLIENT, WAIT)
        self._feed(events.WaitEnded())

    # -- ends

    def _tunnel(self, decision: do.Tunnel) -> None:
        leg = self._legs.pop(decision.leg)
        client, server = self._channel, leg.channel
        assert server is not None
        tunnel = Tunnel(client, server, self._session, self._generation, self._sessions, self._began, decision)
        self._leave()
        tunnel.start(decision.to_client, decision.to_server)

    def _close(self, decision: do.Close) -> None:
        self._end(decision.reason, decision.side, decision.detail)

    def _leave(self) -> None:
        """Stop everything but the client's channel."""
        self._over = True
        self._reactor.forget(self)
        for task in list(self._tasks):
            task.cancel()
        self._tasks.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._queue.clear()
        self._waits.clear()
        for leg in list(self._legs.values()):
            if leg.number != CLIENT:
                self._drop(leg)
        self._legs.clear()

    def _end(self, reason: Reason, side: str, detail: str = "", *, whole: bool = True) -> None:
        if self._over:
            return
        self._leave()
        client = self._channel
        seconds = self._reactor.now - self._began
        summary = Summary(reason, side, detail, seconds, client.received, client.sent, False)
        if client.lost or client.reset:
            client.close()
        elif not whole and client.unsent is not None:
            client.abort()
        else:
            Farewell(client, self._generation, self._sessions, self._session, summary, whole=whole).start()
            return
        conclude(self._generation, self._sessions, self._session, summary)

    def _bug(self, error: BaseException) -> None:
        self._reactor.wipe()
        report_bug(self._generation, self._session, error)
        if self._over:
            return
        client = self._channel
        tell = not client.shaking and not self._line_open
        if tell:
            client.push(_INTERNAL_ERROR[self._session.context.protocol])
        self._end(Reason.BUG, "portico", type(error).__name__, whole=tell)

    # -- as one of the running

    @property
    def view(self) -> SessionView:
        return self._session.view

    def now(self) -> Now:
        now, client = self._reactor.tick(), self._channel
        state: Final = "watch" if self._session.phase == "watch" else "login"
        return Now(state, now - self._began, now - self._active, client.received, client.sent)

    def trace(self, on: bool) -> None:
        self._session.trace(on)

    def kick(self, text: str, *, shutdown: bool = False, patient: bool = False) -> None:
        """Tell the session to end; while there is nobody to tell it to, end it, or, if there is time, tell him in place of the greeting."""
        self._reactor.tick()
        if self._channel.holds & START and patient:
            self._session.context.refusal = self._session.context.refusal or Refusal(text, "UNAVAILABLE", "shutdown")
        elif self._channel.holds & START:
            self._end(Reason.SHUTDOWN if shutdown else Reason.KICKED, "operator", whole=False)
        else:
            self._feed(events.Kicked(text, shutdown, patient))

    def abort(self) -> None:
        """End it now."""
        self._reactor.tick()
        self._end(Reason.TIMEOUT_DRAIN, "operator", whole=False)


_DO: Final[dict[type[Any], Callable[[Driver, Any], None]]] = {
    do.StartTls: Driver._start_tls_decision,
    do.Connect: Driver._connect,
    do.Disconnect: Driver._disconnect,
    do.CheckLogin: Driver._check_login,
    do.OpenSession: Driver._open_session,
    do.HoldClient: Driver._hold_client,
    do.ReadClient: Driver._read_client,
    do.HoldServer: Driver._hold_server,
    do.ReadServer: Driver._read_server,
    do.LoginEnded: Driver._login_ended,
    do.Wait: Driver._wait,
    do.SetPhase: Driver._set_phase,
    do.Tunnel: Driver._tunnel,
    do.Pass: Driver._pass,
    do.Record: Driver._record,
    do.Began: Driver._command_began,
    do.Answered: Driver._command_answered,
    do.Trace: Driver._trace,
    do.Close: Driver._close,
}
