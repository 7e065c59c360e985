"""An asyncio loop that waits with one epoll for asyncio's descriptors and the relay's.

Rule of this file: a selector for asyncio that gives every event to the Reactor first and returns to asyncio when there is something for
asyncio to do. A Reactor runs in any loop; in this one it needs one system call less, and no trip through asyncio, for each time
that something happens.
"""

from __future__ import annotations

import asyncio
import math
import os
import select
import selectors
import time
from collections.abc import Callable
from contextvars import Context
from typing import Final, TypeVarTuple, Unpack

_BATCH: Final = 256
_WRITES: Final = ~select.EPOLLIN
_READS: Final = ~select.EPOLLOUT
_Args = TypeVarTuple("_Args")

Events = list[tuple[int, int]]
"""Descriptors, and what holds for each (select.epoll.poll)."""


class SharedSelector(selectors.EpollSelector):
    """asyncio's descriptors, level-triggered, in an epoll in which somebody else's are too."""

    def __init__(self) -> None:
        super().__init__()
        self.epoll = select.epoll.fromfd(os.dup(self.fileno()))  # a descriptor of its own, so that each side may close its own
        self.serve: Callable[[Events], Events] | None = None
        """Takes all events; returns those that it does not know."""
        self.called = False
        """Somebody has asked asyncio for a call since this was last set to False."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See selectors.BaseSelector.select; waits for whole milliseconds, not less than it is told to, as EpollSelector does.

        While there is nothing but the relay's events, and asyncio has got nothing to do by them, it goes on waiting.
        """
        self.called = False
        poll, serve = self.epoll.poll, self.serve
        until = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            events = poll(-1 if timeout is None else timeout if timeout > 0 else 0, _BATCH)  # which rounds up, as select.epoll does
            if not events:
                return []
            if serve is not None:
                events = serve(events)
                if not events and not self.called:
                    if timeout is not None:
                        timeout = until - time.monotonic()
                        if timeout <= 0:
                            return []
                    continue
            return self._asyncios(events)

    def _asyncios(self, events: Events) -> list[tuple[selectors.SelectorKey, int]]:
        ready = []
        for fd, mask in events:
            try:
                key = self.get_key(fd)
            except KeyError:
                continue  # gone while the others were served
            found = (selectors.EVENT_WRITE if mask & _WRITES else 0) | (selectors.EVENT_READ if mask & _READS else 0)
            if found & key.events:
                ready.append((key, found & key.events))
        return ready

    def close(self) -> None:
        self.epoll.close()
        super().close()


class RelayLoop(asyncio.SelectorEventLoop):
    """A loop in which one Reactor at a time has the first look at what happens."""

    def __init__(self) -> None:
        self.selector = SharedSelector()
        super().__init__(self.selector)

    def call_soon(self, callback: Callable[[Unpack[_Args]], object], *args: *_Args, context: Context | None = None) -> asyncio.Handle:
        self.selector.called = True
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[Unpack[_Args]], object], *args: *_Args, context: Context | None = None
    ) -> asyncio.TimerHandle:
        self.selector.called = True
        return super().call_at(when, callback, *args, context=context)
