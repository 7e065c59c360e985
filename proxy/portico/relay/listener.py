"""Listening sockets: binding them, and accepting.

Rule of this file: from an address to a Driver that has a connection; what happens on the connection is not known here.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from portico.config.address import parse_address
from portico.relay.channel import Channel, Socket
from portico.relay.driver import Driver
from portico.relay.entrance import Entrance
from portico.relay.farewell import report_bug
from portico.relay.ports import Generation
from portico.relay.reactor import Reactor
from portico.relay.spread import Share
from portico.relay.table import Sessions
from portico.session.context import Peer
from portico.session.events import CLIENT

_BACKLOG: Final = 4096
_ACCEPTS: Final = 64
"""Connections taken in one turn."""
_PAUSE: Final = 0.5
"""Seconds without accepting when the process or the machine has no descriptors or memory left."""
_REST: Final = 0.002
_REST_MAX: Final = 0.1
"""Seconds that a worker with more than its share does not listen before it looks again; doubled each time up to the second."""
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_MAPPED: Final = "::ffff:"
"""An IPv4 client on a socket for both families (ipv6(7)), as a service manager may have opened it: its address is the IPv4 one."""
_WILDCARDS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 (compared, not bound)


def bind(address: str, *, mode: int = 0o666) -> list[socket.socket]:
    """Listen on ``host:port``, ``[v6]:port`` or ``unix:/path``; a name gives a socket for each of its addresses.

    `mode`: permissions of a unix socket. A stale unix socket is removed; one that somebody answers on is not.
    Port 0: the system chooses. Raises OSError (with the reason of the system) and ValueError (not an address).
    """
    where = parse_address(address, any_port=True)
    if where.path:
        return [_bind_unix(where.path, mode)]
    found = socket.getaddrinfo(where.host, where.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, at in dict.fromkeys(found):
            sock = socket.socket(family, kind, protocol)
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(at)
            sock.listen(_BACKLOG)
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _bind_unix(path: str, mode: int) -> socket.socket:
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        Path(path).chmod(mode)
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _remove_stale(path: str) -> None:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(errno.EADDRINUSE, "there is a file in its place that is not a socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
            return
        except BlockingIOError:
            pass  # its queue is full: somebody is there
    raise OSError(errno.EADDRINUSE, "another process answers on it")


class Turnstile:
    """Lets a worker take no more than its share of what comes to all its Listeners."""

    __slots__ = ("_doors", "_loop", "_pause", "_sessions", "_share")

    def __init__(self, loop: asyncio.AbstractEventLoop, share: Share, sessions: Sessions) -> None:
        self._loop = loop
        self._share = share
        self._sessions = sessions
        self._doors: set[_Door] = set()
        self._pause = 0.0
        sessions.left = self._note

    def add(self, door: _Door) -> None:
        self._doors.add(door)

    def discard(self, door: _Door) -> None:
        self._doors.discard(door)

    def passed(self) -> bool:
        """One more was taken. False: no more now."""
        self._note()
        if self._pause:
            return False
        if not self._share.over(len(self._sessions)):
            return True
        self._share.resting = True
        self._note()
        for door in self._doors:
            door.rest()
        self._pause = _REST
        self._loop.call_later(self._pause, self._look)
        return False

    def look(self) -> None:
        """Take what waits and nobody was woken for: a worker that was killed may have been the only one (EPOLLEXCLUSIVE)."""
        for door in list(self._doors):
            door.look()

    def _look(self) -> None:
        if self._share.over(len(self._sessions)):
            self._pause = min(self._pause * 2, _REST_MAX)
            self._loop.call_later(self._pause, self._look)
            return
        self._pause = 0.0
        self._share.resting = False
        self._note()
        for door in self._doors:
            door.wake()

    def _note(self) -> None:
        self._share.note(len(self._sessions))


class Listener:
    """Accepts on `sockets` (bound and listening, made here or inherited) for the virtual server `name`.

    `generation` may be replaced at any time: it holds for connections accepted from then on. `turnstile`: that of the worker, where
    several have the same sockets.
    """

    __slots__ = ("_doors", "_entrances", "_reactor", "_sessions", "generation", "name", "turnstile")

    def __init__(
        self,
        reactor: Reactor,
        name: str,
        sockets: Sequence[socket.socket],
        generation: Generation,
        sessions: Sessions,
        turnstile: Turnstile | None = None,
    ) -> None:
        self.name = name
        self.turnstile = turnstile
        self.generation = generation
        self._reactor = reactor
        self._sessions = sessions
        self._entrances: set[Entrance] = set()
        self._doors = [_Door(self, sock) for sock in sockets]

    def __repr__(self) -> str:
        return f"<Listener {self.name} {' '.join(self.addresses)}>"

    @property
    def addresses(self) -> list[str]:
        """Where it listens, as settings write it, with the ports that the system chose."""
        return [door.address for door in self._doors]

    def close(self, *, unlink: bool = True) -> None:
        """Accept nothing more; unix sockets are unlinked, unless they are somebody else's."""
        self._close_entrances()
        for door in self._doors:
            door.close(unlink)
        self._doors = []

    def let_go(self) -> None:
        """Accept nothing more here; the sockets stay open, and what waits in them waits for their next listener."""
        self._close_entrances()
        for door in self._doors:
            door.leave()
        self._doors = []

    def accepted(self, sock: Socket, peer: Peer) -> None:
        """A connection has come in; it is closed if it cannot be served."""
        try:
            seconds = self.generation.entrance(self.name, peer)
            if seconds is None:
                sock.close()
                self.generation.turned_away(self.name, peer, "not_listed", "")
            elif seconds:
                entrance = Entrance(self._reactor, sock, peer, seconds, self._passed, self._failed)
                entrance.start()
                self._entrances.add(entrance)
            else:
                self._serve(sock, peer)
        except Exception as error:
            report_bug(self.generation, None, error)
            sock.close()

    def _passed(self, entrance: Entrance, sock: Socket, peer: Peer) -> None:
        self._entrances.discard(entrance)
        self._serve(sock, peer)

    def _failed(self, entrance: Entrance, peer: Peer, reason: str, detail: str) -> None:
        self._entrances.discard(entrance)
        if reason:
            self.generation.turned_away(self.name, peer, reason, detail)

    def _close_entrances(self) -> None:
        for entrance in self._entrances:
            entrance.close()
        self._entrances.clear()

    def _serve(self, sock: Socket, peer: Peer) -> None:
        """Who comes is known."""
        generation = self.generation
        try:
            session = generation.open_session(self.name, peer)
        except Exception as error:
            report_bug(generation, None, error)
            session = None
        if session is None:
            sock.close()
            return
        channel = Channel(self._reactor, sock, CLIENT)
        Driver(self._reactor, channel, session, generation, self._sessions, self.name).start()


class _Door:
    """One listening socket."""

    __slots__ = ("_family", "_heirs", "_local", "_paused", "accept", "address", "listener", "sock")

    def __init__(self, listener: Listener, sock: socket.socket) -> None:
        self.listener = listener
        self.sock = sock
        self._paused = False
        self._family = sock.family
        # What socket.accept calls; what it does besides, in Python, costs as much again.
        self.accept: Callable[[], tuple[int, Any]] = sock._accept  # type: ignore[attr-defined]
        self._heirs = False
        """Whoever is accepted now has come since what he inherits from this socket was set (tcp(7)): nobody was left who came before."""
        sock.setblocking(False)
        if self._family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        name = sock.getsockname()
        self._local: tuple[str, int] | None = None
        if self._family == socket.AF_UNIX:
            self.address = f"unix:{name if isinstance(name, str) else os.fsdecode(name)}"
            self._local = ("", 0)
        else:
            self.address = f"[{name[0]}]:{name[1]}" if self._family == socket.AF_INET6 else f"{name[0]}:{name[1]}"
            if name[0] not in _WILDCARDS:
                self._local = (name[0], name[1])
        listener._reactor.listen(sock.fileno(), self)
        if listener.turnstile is not None:
            listener.turnstile.add(self)

    def ready(self, mask: int) -> None:
        # As many as there are: one a turn saves the question that finds none, and costs more turns, and more messages to the supervisor.
        for _ in range(_ACCEPTS):
            try:
                number, remote = self.accept()
            except BlockingIOError:
                self._heirs = True
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause(error)
                    return
                continue  # accept(2): what went wrong on the new connection is reported here; the next one may be well
            sock = Socket(self._family, socket.SOCK_STREAM, 0, number)
            try:
                peer = self._prepare(sock, remote)
            except OSError:  # gone already
                sock.close()
                continue
            self.listener.accepted(sock, peer)
            turnstile = self.listener.turnstile
            if turnstile is not None and not turnstile.passed():
                return

    def _prepare(self, sock: Socket, remote: tuple[str, int] | str) -> Peer:
        sock.setblocking(False)
        if self._family == socket.AF_UNIX:
            return Peer("", 0, "", 0)
        if not self._heirs:  # it waited here before we did
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        local = self._local or sock.getsockname()
        return Peer(remote[0].removeprefix(_MAPPED), int(remote[1]), local[0].removeprefix(_MAPPED), local[1])

    def _pause(self, error: OSError) -> None:
        """Without descriptors a waiting connection would wake us for ever (accept(2), EMFILE)."""
        listener = self.listener
        listener._reactor.pause(self.sock.fileno())
        self._paused = True
        fields = {"listener": listener.name, "detail": error.strerror or ""}
        listener.generation.record(None, "listener.accept_failed", fields)
        listener._reactor.loop.call_later(_PAUSE, self._go_on)

    def _go_on(self) -> None:
        if self._paused:
            self._paused = False
            self.listener._reactor.listen(self.sock.fileno(), self)

    def rest(self) -> None:
        """Accept nothing until `wake`."""
        if not self._paused:
            self._paused = True
            self.listener._reactor.pause(self.sock.fileno())

    def wake(self) -> None:
        self._go_on()

    def look(self) -> None:
        if not self._paused:
            self.ready(select.EPOLLIN)

    def leave(self) -> None:
        self._paused = False
        self.listener._reactor.pause(self.sock.fileno())
        if self.listener.turnstile is not None:
            self.listener.turnstile.discard(self)

    def close(self, unlink: bool) -> None:
        self.leave()
        self.sock.close()
        if unlink and self.address.startswith("unix:"):
            with suppress(OSError):
                Path(self.address[5:]).unlink()
