"""One epoll for all sockets of a worker, shared with the asyncio loop or nested in it.

Rule of this file: it says which handler is ready and when time has passed; it reads and writes nothing itself. Each socket is
registered once, edge-triggered, for everything, and never touched by epoll_ctl again. A RelayLoop waits with our own epoll; any other
loop watches our epoll's descriptor.

What all connections of a worker share is here: one buffer for what is received, one for what was decrypted, and one pair of
memory BIOs. What makes sharing right: a channel leaves both BIOs empty before another one is served (relay.channel).
"""

from __future__ import annotations

import asyncio
import gc
import select
import socket
import ssl
import time
from typing import Final, Protocol

from portico.config.units import KIB
from portico.relay.loop import Events, RelayLoop

IN: Final = select.EPOLLIN
OUT: Final = select.EPOLLOUT
ENDS: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
ERROR: Final = select.EPOLLERR
_EDGES: Final = select.EPOLLET | IN | OUT | select.EPOLLRDHUP

BUFFER: Final = 256 * KIB
CLEAR: Final = BUFFER + 64 * KIB
"""What one full buffer decrypts to, with the part of a record that OpenSSL had kept from before, and room for another whole one."""
_BATCH: Final = 256
_MANY: Final = 8
_POLLS: Final = 4
"""Polls in one turn: while there is much to do, the asyncio loop is asked for its turn only every fourth time."""


class Handler(Protocol):
    """Somebody with a descriptor."""

    def ready(self, mask: int) -> None:
        """Something of `mask` (IN, OUT, ENDS) holds. Must read or write until the socket has no more, or come back by `later`."""


class Busy(Protocol):
    """Somebody who was not done and gave way to others."""

    def resume(self) -> None: ...


class Timed(Protocol):
    """Somebody who waits for a time."""

    due: float
    """Of the reactor's clock: `sweep` is called soon after, not before. May be earlier than needed: then it is set anew."""

    def sweep(self, now: float) -> None: ...


class Reactor:
    """One per worker. `interval`: seconds between two looks at who is due."""

    __slots__ = (
        "_again", "_closing", "_epoll", "_handlers", "_interval", "_scheduled", "_selector", "_sweeper", "_timed", "_turning",
        "buffer", "clear", "incoming", "loop", "now", "outgoing",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, *, interval: float = 1.0) -> None:
        self.loop = loop
        self.buffer = memoryview(bytearray(BUFFER))
        """What `recv_into` filled last; anybody's until the next read."""
        self.clear = memoryview(bytearray(CLEAR))
        """What was decrypted last, likewise."""
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.now = time.monotonic()
        """Seconds; read once per turn."""
        self._selector = loop.selector if isinstance(loop, RelayLoop) and loop.selector.serve is None else None
        self._epoll = self._selector.epoll if self._selector is not None else select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._again: dict[Busy, None] = {}  # in the order in which they gave way
        self._closing: list[socket.SocketType] = []
        self._timed: set[Timed] = set()
        self._turning = False
        self._scheduled = False
        self._interval = interval
        self._sweeper: asyncio.TimerHandle | None = loop.call_later(interval, self._sweep)
        if self._selector is not None:
            self._selector.serve = self._serve
        else:
            loop.add_reader(self._epoll.fileno(), self.turn)

    def __repr__(self) -> str:
        return f"<Reactor {len(self._handlers)} sockets, {len(self._again)} busy, {len(self._timed)} timed>"

    # -- who is served

    def register(self, fd: int, handler: Handler) -> None:
        """Serve a descriptor from now on. What already holds is reported in the next turn."""
        self._handlers[fd] = handler
        self._epoll.register(fd, _EDGES)

    def listen(self, fd: int, handler: Handler, *, exclusive: bool = True) -> None:
        """Serve a listening socket: level-triggered, so that what `ready` leaves is reported again. `exclusive`: of
        several workers with the same socket one is woken."""
        self._handlers[fd] = handler
        self._epoll.register(fd, IN | (select.EPOLLEXCLUSIVE if exclusive else 0))

    def hand_over(self, fd: int, handler: Handler) -> None:
        """Somebody else serves a registered descriptor from now on."""
        self._handlers[fd] = handler

    def pause(self, fd: int) -> None:
        """Take a listening socket out; `listen` brings it back."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def release(self, sock: socket.SocketType) -> None:
        """Close a registered socket. Inside a turn the descriptor stays taken until the turn's end, so that an event
        that is still in the batch cannot be given to a new socket of the same number."""
        self._handlers.pop(sock.fileno(), None)
        if self._turning:
            self._closing.append(sock)
        else:
            sock.close()

    def later(self, busy: Busy) -> None:
        """Come back to `busy`, once, when everybody else has been served."""
        self._again[busy] = None
        if not self._turning:
            self._schedule()

    # -- time

    def watch(self, timed: Timed) -> None:
        """Call `timed.sweep` when it is due, until `forget`."""
        self._timed.add(timed)

    def forget(self, timed: Timed) -> None:
        self._timed.discard(timed)

    def tick(self) -> float:
        """Read the clock; for those who come from outside of a turn."""
        self.now = now = time.monotonic()
        return now

    def _sweep(self) -> None:
        now = self.tick()
        self._sweeper = self.loop.call_later(self._interval, self._sweep)
        for timed in [timed for timed in self._timed if timed.due <= now]:
            if timed in self._timed:  # one that was due may have ended another
                try:
                    timed.sweep(now)
                except Exception as error:
                    self._failed(timed, error)

    # -- the turn

    def turn(self) -> None:
        """Serve all who are ready."""
        self._scheduled = False
        if self._sweeper is not None:  # else it was closed since
            self._serve(self._epoll.poll(0, _BATCH))

    def _serve(self, events: Events) -> Events:
        """Serve those of `events` who are ready and whoever gave way before; what is left is nobody's here."""
        self._turning = True
        self.now = time.monotonic()
        get = self._handlers.get
        strange: Events = []
        try:
            for polls_left in range(_POLLS, 0, -1):
                for event in events:
                    handler = get(event[0])
                    if handler is None:
                        strange.append(event)
                        continue
                    try:
                        handler.ready(event[1])
                    except Exception as error:
                        self._failed(handler, error)
                if again := self._again:
                    self._again = {}
                    for busy in again:
                        try:
                            busy.resume()
                        except Exception as error:
                            self._failed(busy, error)
                for sock in self._closing:
                    sock.close()
                self._closing.clear()
                # A poll that is likely to find nothing costs more than it saves; what is not ours is asyncio's, and has waited.
                if polls_left == 1 or strange or (not self._again and len(events) < _MANY):
                    break
                events = self._epoll.poll(0, _BATCH)
        finally:
            self._turning = False
            if self._again:
                self._schedule()
        return strange

    def wipe(self) -> None:
        """Empty the shared BIOs after a fault: what is left in them must never reach another connection."""
        if self.incoming.pending:
            self.incoming.read()
        if self.outgoing.pending:
            self.outgoing.read()

    def _failed(self, who: object, error: Exception) -> None:
        """A fault of ours that its owner did not catch. The others are served all the same: an edge that is lost does not come again."""
        self.wipe()
        self.loop.call_exception_handler({"message": f"fault while serving {who!r}", "exception": error})

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self.turn)

    def close(self) -> None:
        """Stop serving. The sockets belong to those who registered them."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        if self._selector is not None:
            self._selector.serve = None
        else:
            self.loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
        for sock in self._closing:
            sock.close()
        self._closing.clear()
        self._handlers.clear()
        self._again.clear()
        self._timed.clear()


def settle_memory() -> None:
    """After start: what lives now lives on, so the collector need not look at it; sessions leave no cycles, so it need not look often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)
