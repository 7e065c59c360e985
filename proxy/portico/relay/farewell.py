"""The end of a session: what still waits for the client, and the last word to the rooms above.

Rule of this file: a session is over for the others (limits, log, plugins) when nothing waits for its client any more, and they are
told exactly once.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from portico.relay.channel import Channel
from portico.relay.ports import Generation, Session, Summary
from portico.relay.reactor import OUT
from portico.relay.table import Now, Sessions
from portico.session.close import Reason
from portico.session.context import SessionView

_LINGER: Final = 2.0
"""Seconds for the client to end its half after ours has ended."""
_DISCARDS: Final = 8


def report_bug(generation: Generation, session: Session | None, error: BaseException) -> None:
    """A fault of ours, for the log: what kind and where, no values."""
    with suppress(Exception):
        generation.record(session, "session.bug", {"error": error})


def conclude(generation: Generation, sessions: Sessions, session: Session, summary: Summary) -> None:
    """The session is over: it leaves the table, and the rooms above are told."""
    sessions.remove(session.context.id)
    try:
        generation.ended(session, summary)
    except Exception as error:
        report_bug(generation, session, error)


class Farewell:
    """Takes the client's channel over when its session is over: sends what waits, ends our half, throws away what still comes until the
    client has ended its half too. Closing at once would reset the connection under what the client has not read yet (RFC 9293 3.6.1).

    `whole` False: what the client has got is not complete and must not look so: no close_notify, and a reset where there is no TLS.
    """

    __slots__ = ("_channel", "_generation", "_session", "_sessions", "_summary", "_whole", "_write", "due")

    def __init__(
        self, channel: Channel, generation: Generation, sessions: Sessions, session: Session, summary: Summary, *, whole: bool = True
    ) -> None:
        self._channel: Channel | None = channel
        self._generation = generation
        self._sessions = sessions
        self._session: Session | None = session
        self._summary = summary
        self._whole = whole
        self._write = 0.0
        self.due = channel.reactor.now

    def __repr__(self) -> str:
        return f"<Farewell {self._summary.reason} {self._channel!r}>"

    def start(self) -> None:
        """Take over; everything may be done when this returns."""
        channel, session = self._channel, self._session
        assert channel is not None and session is not None
        channel.owner = self
        channel.peer = None
        channel.early = b""
        channel.flush()
        if channel.unsent is None and self._summary.reason is Reason.LOGOUT:
            # Nothing more can come from a client that has said LOGOUT or QUIT, so closing at once resets nothing.
            self._channel = None
            channel.depart()
            self._tell()
            return
        if channel.unsent is not None:
            self._write = self._generation.timeout(session, "write")
            self._sessions.put(self)
            self.due = channel.stalled + self._write
        if self._whole:
            channel.finish()
        channel.reactor.watch(self)
        self._advance(channel)

    # -- as a handler of the reactor

    def ready(self, channel: Channel, mask: int) -> None:
        channel.note(mask)
        if mask & OUT and channel.unsent is not None:
            channel.flush()
        self._advance(channel)

    def resume(self, channel: Channel) -> None:
        self._advance(channel)

    def _advance(self, channel: Channel) -> None:
        if channel.unsent is not None and not channel.lost:
            return  # a client whose half has ended still gets the rest: its end is looked at later
        if self._session is not None:
            self._tell()
            self.due = channel.reactor.now + _LINGER
        if not self._whole and channel.tls is None:
            self._close(abort=True)
        elif channel.lost or channel.eof or not self._whole:
            self._close()
        else:
            self._discard(channel)

    def _discard(self, channel: Channel) -> None:
        for _ in range(_DISCARDS):
            if not channel.readable or channel.sock is None:
                return
            try:
                count = channel.sock.recv_into(channel.reactor.buffer)
            except BlockingIOError:
                channel.readable = False
                return
            except OSError:
                count = 0
            if not count:
                self._close()
                return
        channel.reactor.later(channel)

    def sweep(self, now: float) -> None:
        channel = self._channel
        if channel is None:
            return
        if channel.unsent is not None:
            self.due = channel.stalled + self._write
            if now < self.due:
                return
            self._summary.reason, self._summary.side = Reason.TIMEOUT_WRITE, "client"
            self._close(abort=True)
        else:
            self._close()

    # -- as one of the running, while something waits

    @property
    def view(self) -> SessionView:
        assert self._session is not None
        return self._session.view

    def now(self) -> Now:
        summary, channel = self._summary, self._channel
        idle = channel.reactor.tick() - channel.stalled if channel is not None else 0.0
        return Now("closing", summary.seconds, idle, summary.bytes_in, summary.bytes_out)

    def trace(self, on: bool) -> None:
        """Nothing is said any more."""

    def kick(self, text: str, *, shutdown: bool = False, patient: bool = False) -> None:
        """It is leaving already."""

    def abort(self) -> None:
        self._close(abort=True)

    def _tell(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            conclude(self._generation, self._sessions, session, self._summary)

    def _close(self, *, abort: bool = False) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.reactor.forget(self)
            if abort:
                channel.abort()
            else:
                channel.close()
            self._tell()
