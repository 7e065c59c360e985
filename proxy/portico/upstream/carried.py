"""One session's way through an SSH connection: a socket on this side, a channel on the other.

Rule of this file: octets, ends and back-pressure pass in both directions; nothing is looked at. What waits is bounded: towards the session
by the channel's window, towards the server by the SSH host's. The session's socket is one of a pair, so that whoever serves it need not
know of SSH.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, cast

from portico.config.ssh_library import asyncssh
from portico.config.units import KIB, SECONDS

_LOOK: Final = 5 * SECONDS
"""How often a session that has closed its half is looked at, whether it is still there."""
_SMALL: Final = 8 * KIB


class Near(asyncio.Protocol):
    """Our end of the pair. `gone` is called once, when the way is over."""

    def __init__(self, gone: Callable[[], None]) -> None:
        self.far = Far(self)
        self.transport: asyncio.Transport | None = None
        self._gone: Callable[[], None] | None = gone
        self._sock: socket.socket | None = None
        self._watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._sock = transport.get_extra_info("socket")

    def data_received(self, data: bytes) -> None:
        self.far.write(data)

    def eof_received(self) -> bool:
        """The session has closed its half, or all: the kernel tells these two apart on a pair of sockets."""
        if self._left():
            return False  # and the transport closes
        self.far.write_eof()
        self._look()
        return True

    def pause_writing(self) -> None:
        self.far.hold(True)

    def resume_writing(self) -> None:
        self.far.hold(False)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = self._sock = None
        if self._watch is not None:
            self._watch.cancel()
        self.far.close()
        gone, self._gone = self._gone, None
        if gone is not None:
            gone()

    def close(self) -> None:
        """What is written is sent yet."""
        if self.transport is not None:
            self.transport.close()

    def _left(self) -> bool:
        assert self._sock is not None
        poll = select.poll()
        poll.register(self._sock.fileno(), 0)
        return any(mask & select.POLLHUP for _, mask in poll.poll(0))

    def _look(self) -> None:
        """Nobody reads our end any more, so asyncio does not tell when the rest is closed too."""
        if self.transport is None or self.transport.is_closing():
            return
        if self._left():
            self.transport.abort()
        else:
            self._watch = asyncio.get_running_loop().call_later(_LOOK, self._look)


class Far(asyncssh.SSHTCPSession[bytes]):
    """The channel's end."""

    def __init__(self, near: Near) -> None:
        self._near = near
        self._channel: asyncssh.SSHTCPChannel[bytes] | None = None
        self._ended = False
        self._sock: socket.socket | None = None

    def connection_made(self, chan: Any) -> None:
        self._channel = chan
        self._sock = chan.get_extra_info("socket")
        self._acknowledge()
        if self._near.transport is None:  # nobody waits for it any more
            chan.close()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if self._near.transport is not None:
            self._near.transport.write(data)
        if len(data) < _SMALL:
            self._acknowledge()

    def eof_received(self) -> bool:
        transport = self._near.transport
        if transport is not None:
            if self._ended:  # both halves are closed
                transport.close()
            else:
                transport.write_eof()
        return True

    def pause_writing(self) -> None:
        if self._near.transport is not None:
            self._near.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._near.transport is not None:
            self._near.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._channel = None
        self._near.close()

    def _acknowledge(self) -> None:
        """sshd leaves Nagle's algorithm on where it only forwards: the next small thing that it has to say waits for the acknowledgement of
        the last, and the kernel would give that after 40 ms (tcp(7), TCP_QUICKACK; it does not stay set)."""
        if self._sock is not None and self._sock.family != socket.AF_UNIX:
            with suppress(OSError):
                self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    # -- what the session's side does

    def write(self, data: bytes) -> None:
        if self._channel is not None and not self._channel.is_closing():
            self._channel.write(data)

    def write_eof(self) -> None:
        self._ended = True
        if self._channel is not None and not self._channel.is_closing():
            self._channel.write_eof()

    def hold(self, held: bool) -> None:
        if self._channel is not None:
            if held:
                self._channel.pause_reading()
            else:
                self._channel.resume_reading()

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()


def _heard(opening: asyncio.Future[None]) -> None:
    if not opening.cancelled():
        opening.exception()


async def open_way(open_channel: Callable[[Far], Awaitable[None]], gone: Callable[[], None]) -> socket.socket:
    """The session's socket, when `open_channel` has opened a channel for the Far that it is given. Raises what it raises, and then nothing
    is left open; `gone` is called when the way is over, also in that case."""
    try:
        ours, theirs = socket.socketpair()
    except OSError:  # no descriptor is left
        gone()
        raise
    ours.setblocking(False)
    theirs.setblocking(False)
    near = Near(gone)
    try:
        await asyncio.get_running_loop().create_connection(lambda: near, sock=ours)
    except BaseException:  # asyncio closes our end, and says connection_lost
        theirs.close()
        raise
    # A channel that is asked for is not taken back: asyncssh would leave it open at the host for good. It is closed when it is there.
    opening = asyncio.ensure_future(open_channel(near.far))
    try:
        await asyncio.shield(opening)
    except BaseException:
        opening.add_done_callback(_heard)
        theirs.close()
        if near.transport is not None:
            near.transport.abort()
        raise
    return theirs
