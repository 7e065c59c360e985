"""A connection that has to say first whose it is: the PROXY protocol (wire.proxy_protocol), before TLS and before there is a session.

Rule of this file: the header is taken from the socket and not an octet more; what comes in time and is right goes on, everything
else is closed without a word (proxy-protocol.txt 2: there must be no guess). Nothing here is counted as a session.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

from portico.errors import PeerError
from portico.relay.reactor import ENDS, Reactor
from portico.session.context import Peer, TlsInfo
from portico.wire.proxy_protocol import Header, parse

_LONGEST: Final = 16 + 4096


class Entrance:
    """One such connection. Exactly one of `passed(self, socket, peer)` and `failed(self, peer, reason, detail)` is called, once;
    none after `close`. `reason` is for the log: not_proxied, timeout; empty: it only looked whether
    somebody is there."""

    __slots__ = ("_failed", "_passed", "_peer", "_reactor", "_sock", "due")

    def __init__(
        self,
        reactor: Reactor,
        sock: socket.SocketType,
        peer: Peer,
        seconds: float,
        passed: Callable[[Entrance, socket.SocketType, Peer], None],
        failed: Callable[[Entrance, Peer, str, str], None],
    ) -> None:
        self._reactor = reactor
        self._sock: socket.SocketType | None = sock
        self._peer = peer
        self._passed = passed
        self._failed = failed
        self.due = reactor.now + seconds

    def __repr__(self) -> str:
        return f"<Entrance {self._peer.rip} {'waits' if self._sock is not None else 'over'}>"

    def start(self) -> None:
        assert self._sock is not None
        self._reactor.register(self._sock.fileno(), self)
        self._reactor.watch(self)

    def ready(self, mask: int) -> None:
        sock = self._sock
        if sock is None:
            return
        try:
            data = sock.recv(_LONGEST, socket.MSG_PEEK)
            header = parse(data) if data else None
        except BlockingIOError:
            return
        except OSError:
            self._fail("", "")
            return
        except PeerError as error:
            self._fail("not_proxied", error.text)
            return
        if header is None:
            if not data or mask & ENDS:
                self._fail("not_proxied" if data else "", "PROXY header without end")
            return  # more will come, and is a new edge
        sock.recv(header.length)
        self._leave()
        self._reactor.pause(sock.fileno())
        self._passed(self, sock, _peer(header, self._peer))

    def sweep(self, now: float) -> None:
        if now >= self.due:
            self._fail("timeout", "no PROXY header in time")

    def close(self) -> None:
        """Nobody wants it any more."""
        sock = self._sock
        if sock is not None:
            self._leave()
            self._reactor.release(sock)

    def _leave(self) -> None:
        self._sock = None
        self._reactor.forget(self)

    def _fail(self, reason: str, detail: str) -> None:
        self.close()
        self._failed(self, self._peer, reason, detail)


def _peer(header: Header, own: Peer) -> Peer:
    """The client, as the header says; `own` is the balancer's connection."""
    if header.unix:
        peer = Peer("", 0, "", 0, real_rip=own.rip)
    elif header.source is None or header.destination is None:
        return own
    else:
        peer = Peer(*header.source, *header.destination, real_rip=own.rip)
    if header.tls is not None:
        # The name in a certificate that somebody else has checked is not taken for EXTERNAL.
        peer.tls = TlsInfo(header.tls.version, header.tls.cipher, sni=header.authority or None)
    return peer
