"""The connections of one session: how they come about and are secured, why one is held, what time each has, and how it goes.

Rule of this file: it tells what has become of a connection and decides nothing; what octets travel is the Driver's.
"""

from __future__ import annotations

import math
import socket
import ssl
from abc import ABC, abstractmethod
from functools import partial
from typing import Final

from portico.config.units import KIB
from portico.relay.channel import Channel
from portico.relay.leg import FLOW, START, Leg
from portico.relay.ports import Generation, Session
from portico.relay.reactor import Reactor
from portico.session import decisions as do
from portico.session import events
from portico.session.close import Reason
from portico.session.context import TlsInfo
from portico.session.events import CLIENT, Event
from portico.tls.contexts import check_fingerprint, tls_info
from portico.upstream.dial import Dial
from portico.wire.proxy_protocol import Tls, compose

_SLACK: Final = 64 * KIB
"""What may wait for one server before another one, whose octets caused it, is held."""
_SINCE_LAST_OCTET: Final = ("idle", "half_close")
"""Phases whose time counts from the last octet in either direction."""


class Connections(ABC):
    """What the Driver stands on: legs, their clocks, and who waits for whom."""

    __slots__ = (
        "_active", "_client", "_generation", "_legs", "_listener", "_login_began", "_over", "_passing", "_reactor", "_session", "_waits",
        "due",
    )  # fmt: skip

    def __init__(self, reactor: Reactor, client: Channel, session: Session, generation: Generation, listener: str) -> None:
        self._reactor = reactor
        self._session = session
        self._generation = generation
        self._listener = listener
        self._client = Leg(CLIENT, client)
        self._legs: dict[int, Leg] = {CLIENT: self._client}
        self._waits: set[tuple[int, int]] = set()  # (leg that takes nothing, leg that is held for it)
        self._over = False
        self._passing: do.Pass | None = None
        self._active = reactor.now
        self._login_began = 0.0
        self.due = math.inf

    # -- what the Driver does of it

    @abstractmethod
    def ready(self, channel: Channel, mask: int) -> None:
        """See reactor.Handler; of one of the channels."""

    @abstractmethod
    def resume(self, channel: Channel) -> None:
        """See reactor.Busy; of one of the channels."""

    @abstractmethod
    def _feed(self, event: Event, cause: int = CLIENT) -> None:
        """Tell the session what has happened."""

    @abstractmethod
    def _admit(self) -> None:
        """The client is there, and its TLS if it has any from the beginning."""

    @abstractmethod
    def _end(self, reason: Reason, side: str, detail: str = "", *, whole: bool = True) -> None:
        """The session is over."""

    @abstractmethod
    def _bug(self, error: BaseException) -> None:
        """It is over by a fault of ours."""

    @property
    def _channel(self) -> Channel:
        channel = self._client.channel
        assert channel is not None
        return channel

    # -- back-pressure

    def _flush(self, channel: Channel) -> None:
        before = channel.stalled
        sent = channel.flush()
        if channel.stalled != before:
            self._active = self._reactor.now
        if sent:
            self._drained(channel.leg)
        if channel.lost:
            self._lost(channel)

    def _lost(self, channel: Channel) -> None:
        """Nothing can be sent to it any more."""
        if channel.leg == CLIENT:
            if not channel.eof or not channel.reset:
                channel.eof, channel.reset = True, channel.lost
                self._feed(events.Closed(CLIENT, False, channel.lost), CLIENT)
        elif not channel.eof:
            channel.readable = True  # the server may have said why; its end is found behind that
            self._reactor.later(channel)

    def _blocked(self, channel: Channel, cause: int) -> None:
        """What was sent to `channel` because of leg `cause` has not been taken."""
        to = channel.leg
        self.due = min(self.due, self._reactor.now + self._generation.timeout(self._session, "write"))
        # A server whose output is full takes no input: were it held for itself, both would wait for ever.
        if to == CLIENT or cause == CLIENT or (to != cause and channel.waiting > _SLACK):
            self._waits.add((to, cause))
            self._hold(cause, FLOW)

    def _drained(self, to: int) -> None:
        """Nothing waits for leg `to` any more, or it is gone."""
        if not self._waits:
            return
        held = {cause for blocked, cause in self._waits if blocked == to}
        self._waits = {wait for wait in self._waits if wait[0] != to}
        for cause in held - {cause for _, cause in self._waits}:
            self._release(cause, FLOW)

    def _hold(self, leg: int, why: int) -> None:
        record = self._legs.get(leg)
        if record is not None and record.channel is not None:
            record.channel.holds |= why

    def _release(self, leg: int, why: int) -> None:
        record = self._legs.get(leg)
        if record is None or record.channel is None:
            return
        channel = record.channel
        if channel.holds & why:
            channel.holds &= ~why
            if not channel.holds and (channel.readable or channel.early):
                self._reactor.later(channel)

    # -- time

    def _set_phase(self, decision: do.SetPhase) -> None:
        leg = self._leg(decision.leg)
        leg.phase = decision.phase
        leg.span = self._generation.timeout(self._session, decision.phase) if decision.phase else math.inf
        leg.since = self._reactor.now
        if decision.phase == "login":
            leg.since = self._login_began = self._login_began or self._reactor.now
        self.due = min(self.due, leg.since + leg.span)

    def sweep(self, now: float) -> None:
        try:
            self.due = math.inf
            for leg in list(self._legs.values()):
                self._sweep_leg(leg, now)
                if self._over:
                    return
            self.due = min([self.due, *(self._due(leg) for leg in self._legs.values())])
        except Exception as error:
            self._bug(error)

    def _sweep_leg(self, leg: Leg, now: float) -> None:
        if leg.dial is not None:
            leg.dial.sweep(now)
        channel = leg.channel
        if channel is not None:
            if channel.shaking and leg.shake_by <= now:
                if leg.number == CLIENT:
                    self._end(Reason.TIMEOUT_TLS, "client", whole=False)
                else:
                    self._tls_failed(leg, "timeout", "no end of the TLS handshake")
                return
            if channel.unsent is not None and channel.stalled + self._generation.timeout(self._session, "write") <= now:
                if leg.number == CLIENT:
                    self._end(Reason.TIMEOUT_WRITE, "client", whole=False)
                else:
                    channel.unsent, channel.lost, channel.eof = None, "takes nothing", True
                    self._drained(leg.number)
                    self._feed(events.Closed(leg.number, False, "takes nothing"), leg.number)
                return
        if leg.phase and self._phase_ends(leg) <= now:
            phase, leg.phase, leg.span = leg.phase, "", math.inf
            self._feed(events.TimedOut(phase, leg.number), leg.number)

    def _phase_ends(self, leg: Leg) -> float:
        since = max(leg.since, self._active) if leg.phase in _SINCE_LAST_OCTET else leg.since
        return since + leg.span

    def _due(self, leg: Leg) -> float:
        due = self._phase_ends(leg)
        if leg.dial is not None:
            due = min(due, leg.dial.due)
        channel = leg.channel
        if channel is not None:
            if channel.shaking:
                due = min(due, leg.shake_by)
            if channel.unsent is not None:
                due = min(due, channel.stalled + self._generation.timeout(self._session, "write"))
        return due

    # -- connections to servers

    def _leg(self, number: int) -> Leg:
        leg = self._legs.get(number)
        if leg is None:
            leg = self._legs[number] = Leg(number)
        return leg

    def _connect(self, decision: do.Connect) -> None:
        target = decision.target
        leg = self._leg(decision.leg)
        self._drop(leg)
        leg.target = target
        leg.dialling = dialling = self._generation.dialling(target)
        seconds = self._generation.timeout(self._session, "connect")
        leg.shake_by = self._reactor.now + seconds
        done, failed = partial(self._connected, leg), partial(self._dial_failed, leg)
        dial = Dial(self._reactor, dialling.address, seconds, done, failed, dialling.carry)
        leg.dial = dial
        dial.start()
        self.due = min(self.due, dial.due)

    def _connected(self, leg: Leg, sock: socket.SocketType, mask: int, registered: bool) -> None:
        try:
            leg.dial = None
            leg.channel = channel = Channel(self._reactor, sock, leg.number, self, mask)
            if registered:
                self._reactor.hand_over(sock.fileno(), channel)
            else:
                self._reactor.register(sock.fileno(), channel)
            if leg.dialling is not None and leg.dialling.proxy_protocol is not None:
                self._announce(channel, leg.dialling.proxy_protocol)
            if leg.target is not None and leg.target.tls == "implicit":
                self._start_tls(leg.number)
            else:
                self._reached(leg, None)
        except Exception as error:
            self._bug(error)

    def _announce(self, channel: Channel, version: int) -> None:
        """Say to the server whose connection it is; it is said before TLS."""
        context = self._session.context
        peer, info = context.peer, context.peer.tls
        tls = Tls(info.version, info.cipher, info.client_name or "", info.client_name is not None) if info is not None else None
        sni = (info.sni or "") if info is not None else ""
        ends = (peer.rip, peer.rport), (peer.lip, peer.lport)
        channel.push(compose(version, *ends, tls=tls, authority=sni, unique_id=context.id.encode()))

    def _reached(self, leg: Leg, error: str | None, info: TlsInfo | None = None) -> None:
        """The dial has ended: health is told, then the session."""
        if leg.reached or leg.target is None:
            return
        leg.reached = True
        seconds = self._reactor.now - (leg.shake_by - self._generation.timeout(self._session, "connect"))
        self._generation.connected(leg.target, error, max(0.0, seconds))
        if error is None:
            channel = leg.channel
            assert channel is not None
            self._feed(events.ServerConnected(leg.number, info), leg.number)
            if channel.readable or channel.early:
                self._reactor.later(channel)

    def _dial_failed(self, leg: Leg, reason: str, detail: str) -> None:
        try:
            self._reached(leg, reason)
            self._drop(leg)
            self._feed(events.ServerFailed(leg.number, reason, detail), leg.number)
        except Exception as error:
            self._bug(error)

    def _disconnect(self, decision: do.Disconnect) -> None:
        leg = self._legs.get(decision.leg)
        if leg is not None:
            self._drop(leg)

    def _drop(self, leg: Leg) -> None:
        """Close a server leg; its clock stays what the session set it to."""
        if leg.dial is not None:
            leg.dial.cancel()
            leg.dial = None
        channel, leg.channel = leg.channel, None
        leg.reached = False
        if self._passing is not None and self._passing.leg == leg.number:
            self._passing = None
        if channel is not None:
            channel.depart()
            self._drained(leg.number)
        if self._waits:
            self._waits = {wait for wait in self._waits if wait[1] != leg.number}

    # -- TLS

    def _start_tls_decision(self, decision: do.StartTls) -> None:
        self._start_tls(decision.leg)

    def _start_tls(self, number: int) -> None:
        leg = self._legs[number]
        channel = leg.channel
        assert channel is not None
        if number == CLIENT:
            context = self._generation.client_tls(self._listener)
            assert context is not None, "no certificate"
            channel.start_tls(context, server_side=True)
            leg.shake_by = self._reactor.now + self._generation.timeout(self._session, "tls")
        else:
            assert leg.dialling is not None
            if leg.dialling.context is None:
                self._tls_failed(leg, "tls", "no TLS context")
                return
            if leg.reached:  # STARTTLS: the time to connect has been used already
                leg.shake_by = self._reactor.now + self._generation.timeout(self._session, "connect")
            try:
                channel.start_tls(leg.dialling.context, server_side=False, hostname=leg.dialling.server_hostname)
            except (OSError, ValueError) as error:
                self._tls_failed(leg, "tls", getattr(error, "reason", None) or str(error))
                return
        self.due = min(self.due, leg.shake_by)
        if channel.readable:
            self._shake(channel)

    def _shake(self, channel: Channel) -> None:
        leg = self._legs[channel.leg]
        try:
            if not channel.shake():
                return
        except ssl.SSLCertVerificationError as error:
            self._tls_failed(leg, "tls_verify", error.verify_message)
            return
        except OSError as error:
            self._tls_failed(leg, "tls", getattr(error, "reason", None) or error.strerror or "failed")
            return
        shaken = channel.agreed()
        if leg.number == CLIENT:
            self._client_secured(channel, tls_info(shaken))
            return
        assert leg.dialling is not None
        if leg.dialling.fingerprint is not None and not check_fingerprint(shaken, leg.dialling.fingerprint):
            self._tls_failed(leg, "tls_verify", "another certificate than the one pinned")
        elif leg.reached:
            assert leg.target is not None
            self._generation.secured(leg.target, None)
            self._feed(events.TlsStarted(leg.number, tls_info(shaken)), leg.number)
            if channel.early or channel.readable:
                self._reactor.later(channel)
        else:
            self._reached(leg, None, tls_info(shaken))

    def _client_secured(self, channel: Channel, info: TlsInfo) -> None:
        self._session.context.peer.tls = info
        self._generation.record(self._session, "session.tls", {"resumed": info.resumed})
        if channel.holds & START:
            self._admit()
        else:
            self._feed(events.TlsStarted(CLIENT, info), CLIENT)
        if channel.owner is self:
            if channel.unsent is not None:
                self._flush(channel)
            if (channel.early or channel.readable) and not channel.holds:
                self._reactor.later(channel)

    def _tls_failed(self, leg: Leg, reason: str, detail: str) -> None:
        if leg.number == CLIENT:
            self._end(Reason.TLS_FAILED, "client", detail)
        else:
            if leg.reached and leg.target is not None:
                self._generation.secured(leg.target, reason)
            self._dial_failed(leg, reason, detail)
