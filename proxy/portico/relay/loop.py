"""An asyncio loop that waits for the relay's sockets with its own epoll.

Rule of this file: a selector for asyncio, which passes on what is not asyncio's to the Reactor before asyncio has its turn. A Reactor runs in any
loop; nested in this one it needs one system call less, and no trip through asyncio, for each time that something happens.
"""

from __future__ import annotations

import select
import selectors
from collections.abc import Callable
from typing import Final

_BATCH: Final = 256
_READ: Final = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP
_WRITE: Final = select.EPOLLOUT | select.EPOLLHUP | select.EPOLLERR

Events = list[tuple[int, int]]


class SharedSelector(selectors._BaseSelectorImpl):
    """asyncio's descriptors, level-triggered, in an epoll that others use too."""

    def __init__(self) -> None:
        super().__init__()
        self.epoll = select.epoll()
        self.serve: Callable[[Events], None] | None = None
        """Takes what is not asyncio's."""
