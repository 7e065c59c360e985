"""An asyncio loop that waits with one epoll for asyncio's descriptors and the relay's.

Rule of this file: a selector for asyncio that gives every event to the Reactor first and returns to asyncio what the Reactor does
not know. A Reactor runs in any loop; in this one it needs one system call less, and no trip through asyncio, for each time that
something happens.
"""

from __future__ import annotations

import asyncio
import math
import os
import select
import selectors
from collections.abc import Callable
from typing import Final

_BATCH: Final = 256
_WRITES: Final = ~select.EPOLLIN
_READS: Final = ~select.EPOLLOUT

Events = list[tuple[int, int]]
"""Descriptors, and what holds for each (select.epoll.poll)."""


class SharedSelector(selectors.EpollSelector):
    """asyncio's descriptors, level-triggered, in an epoll in which somebody else's are too."""

    def __init__(self) -> None:
        super().__init__()
        self.epoll = select.epoll.fromfd(os.dup(self.fileno()))  # a descriptor of its own, so that each side may close its own
        self.serve: Callable[[Events], Events] | None = None
        """Takes all events; returns those that it does not know."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See selectors.BaseSelector.select; rounds up to whole milliseconds, as EpollSelector does."""
        seconds = -1 if timeout is None else math.ceil(timeout * 1e3) * 1e-3 if timeout > 0 else 0
        events = self.epoll.poll(seconds, _BATCH)
        if self.serve is not None and events:
            events = self.serve(events)
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
