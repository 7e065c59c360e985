"""Reaching a server: every address of its name in turn, without blocking.

Rule of this file: it ends in a connected socket or in a reason word of session.events.ServerFailed, once. TLS is not its
business, nor what the socket is for. A literal address and a unix socket need no task. Where somebody else connects (an SSH host), the
socket is asked of him.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import select
import socket
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, Final, Protocol

from portico.config.address import parse_address
from portico.errors import PorticoError

_READY: Final = select.EPOLLOUT | select.EPOLLHUP | select.EPOLLERR
_LEAST: Final = 1.0
"""Seconds that each address gets at least, where the whole time allows it."""

_Place = tuple[int, Any]
"""Family and address, as connect takes it."""

Carry = Callable[[], Awaitable[socket.socket]]
"""Gives a socket that is connected to the server, by a way of its own; raises CannotCarry. Cancelled, it leaves nothing open."""


class CannotCarry(PorticoError):
    """`reason` is a word as in session.events.ServerFailed; `detail` is for the log."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


@lru_cache(maxsize=64)
def _place(address: str) -> _Place:
    """What an address says by itself; AF_UNSPEC: a name that has to be resolved. Raises ValueError."""
    where = parse_address(address)
    if where.path:
        return socket.AF_UNIX, where.path
    try:
        version = ipaddress.ip_address(where.host).version
    except ValueError:
        return socket.AF_UNSPEC, (where.host, where.port)
    return socket.AF_INET6 if version == 6 else socket.AF_INET, (where.host, where.port)


class Board(Protocol):
    """What is needed of the reactor."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    @property
    def now(self) -> float: ...

    def register(self, fd: int, handler: Dial) -> None: ...

    def release(self, sock: socket.SocketType) -> None: ...


class Dial:
    """One try to reach `address` within `seconds`, by `carry` where there is one. Exactly one of `connected(socket, mask, registered)` and
    `failed(reason, detail)` is called, once, perhaps before `start` returns; none after `cancel`.

    `mask`: what epoll has already said about the socket; `registered`: it is in the epoll, and its new owner must take it over.
    The owner calls `sweep` when `due` has passed.
    """

    __slots__ = ("_address", "_board", "_carry", "_connected", "_ends", "_failed", "_last", "_places", "_sock", "_task", "due", "started")

    def __init__(
        self,
        board: Board,
        address: str,
        seconds: float,
        connected: Callable[[socket.SocketType, int, bool], None],
        failed: Callable[[str, str], None],
        carry: Carry | None = None,
    ) -> None:
        self._board = board
        self._address = address
        self._carry = carry
        self._connected: Callable[[socket.SocketType, int, bool], None] | None = connected
        self._failed: Callable[[str, str], None] | None = failed
        self._places: list[_Place] = []
        self._sock: socket.SocketType | None = None
        self._task: asyncio.Task[None] | None = None
        self._last = ("unreachable", "no address")
        self.started = board.now
        self._ends = board.now + seconds
        self.due = self._ends

    def __repr__(self) -> str:
        state = "over" if self._connected is None else "resolving" if self._task is not None else "connecting"
        return f"<Dial {self._address} {state}>"

    def start(self) -> None:
        """Begin."""
        if self._carry is not None:
            self._task = self._board.loop.create_task(self._carried(self._carry))
            return
        try:
            family, at = _place(self._address)
        except ValueError as error:
            self._fail("unreachable", str(error))
            return
        if family == socket.AF_UNSPEC:
            self._task = self._board.loop.create_task(self._resolve(*at))
            return
        self._places = [(family, at)]
        self._next()

    async def _carried(self, carry: Carry) -> None:
        try:
            self._sock = await carry()
        except CannotCarry as error:
            self._task = None
            self._fail(error.reason, error.detail)
            return
        self._task = None
        self._succeed(0, registered=False)

    async def _resolve(self, host: str, port: int) -> None:
        try:
            found = await self._board.loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            self._task = None
            self._fail("dns", getattr(error, "strerror", None) or type(error).__name__)
            return
        self._task = None
        self._places = list(dict.fromkeys((family, at) for family, _, _, _, at in found))
        self._next()

    def _next(self) -> None:
        """Try the next address."""
        while self._places:
            family, at = self._places.pop(0)
            left = self._ends - self._board.now
            share = left / (len(self._places) + 1)
            self.due = self._board.now + min(left, max(share, _LEAST))
            try:
                self._sock = sock = socket.SocketType(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
                if family != socket.AF_UNIX:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                code = sock.connect_ex(at)
            except OSError as error:  # no descriptor, or an address that this machine cannot use
                code = error.errno or errno.EINVAL
            if code == 0:
                self._succeed(0, registered=False)
                return
            if code == errno.EINPROGRESS:
                self._board.register(sock.fileno(), self)
                return
            self._note(code)
            if self._sock is not None:
                self._sock.close()
                self._sock = None
        self._fail(*self._last)

    def ready(self, mask: int) -> None:
        """The connection that was begun has come about, or not (connect(2), EINPROGRESS)."""
        sock = self._sock
        if sock is None or not mask & _READY:
            return
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code == 0:
            self._succeed(mask, registered=True)
            return
        self._note(code)
        self._drop()
        self._next()

    def sweep(self, now: float) -> None:
        """The time of this address, or the whole time, has passed."""
        if now < self.due or self._connected is None:
            return
        self._last = ("timeout", "no answer")
        self._drop()
        if now < self._ends and self._places:
            self._next()
        else:
            self._fail(*self._last)

    def cancel(self) -> None:
        """Nobody wants it any more."""
        self._connected = self._failed = None
        self._drop()

    def _note(self, code: int) -> None:
        if code in (errno.ECONNREFUSED, errno.ENOENT, errno.EAGAIN):  # the last two: a unix socket that is not there, or is full
            self._last = ("refused", os.strerror(code))
        elif code == errno.ETIMEDOUT:
            self._last = ("timeout", os.strerror(code))
        else:
            self._last = ("unreachable", os.strerror(code))

    def _drop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._sock is not None:
            self._board.release(self._sock)
            self._sock = None

    def _succeed(self, mask: int, *, registered: bool) -> None:
        sock, tell = self._sock, self._connected
        self._sock = self._connected = self._failed = None
        if tell is not None and sock is not None:
            tell(sock, mask, registered)

    def _fail(self, reason: str, detail: str) -> None:
        tell = self._failed
        self._connected = self._failed = None
        if tell is not None:
            tell(reason, detail)
