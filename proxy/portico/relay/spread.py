"""How many sessions each of several workers has, in memory that all of them see, so that none takes more than its share.

Rule of this file: numbers only. A kernel gives a new connection to whoever waits first, which is mostly the same worker; with sessions
that last for hours that is never made good. So a worker that has more than the least loaded one, and some, rests until the others have
caught up. Nobody rests for one that rests itself, or that does not beat: somebody always listens.
"""

from __future__ import annotations

import mmap
import struct
import time
from collections.abc import Callable
from typing import Final

from portico.config.units import SECONDS

_SLOT: Final = struct.Struct("<dqq")
"""When it was last seen (0: there is none), its sessions, and whether it rests."""
_STALE: Final = 3 * SECONDS
BEAT: Final = 1 * SECONDS
"""A worker is seen so often."""
_SLACK: Final = 4
_PART: Final = 64
"""Further slack: this part of what the least loaded one has."""


class Shares:
    """The memory of all. Made before the processes are forked that use it."""

    def __init__(self, workers: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._memory = mmap.mmap(-1, workers * _SLOT.size)
        self._clock = clock
        self.workers = workers

    def of(self, worker: int) -> Share:
        return Share(self, worker)

    def sessions(self, worker: int) -> int:
        """As it last said."""
        return int(_SLOT.unpack_from(self._memory, worker * _SLOT.size)[1])

    def seen(self, worker: int) -> float:
        """When it last beat, on the monotonic clock; 0: not yet, or it has left."""
        return float(_SLOT.unpack_from(self._memory, worker * _SLOT.size)[0])

    def clear(self, worker: int) -> None:
        """It is not there any more."""
        self._write(worker, 0.0, 0, False)

    def _write(self, worker: int, seen: float, sessions: int, resting: bool) -> None:
        _SLOT.pack_into(self._memory, worker * _SLOT.size, seen, sessions, resting)

    def least(self, worker: int) -> int | None:
        """The fewest sessions that another one has; None: there is no other that lives and listens."""
        now = self._clock()
        found = [
            sessions
            for number, (seen, sessions, resting) in enumerate(_SLOT.iter_unpack(self._memory[:]))
            if number != worker and not resting and seen and now - seen < _STALE
        ]
        return min(found) if found else None


class Share:
    """One worker's."""

    __slots__ = ("_seen", "_shares", "_worker", "resting")

    def __init__(self, shares: Shares, worker: int) -> None:
        self._shares = shares
        self._worker = worker
        self._seen = shares._clock()
        self.resting = False

    @property
    def number(self) -> int:
        """Whose it is, from 0."""
        return self._worker

    def note(self, sessions: int) -> None:
        """So many now."""
        self._shares._write(self._worker, self._seen, sessions, self.resting)

    def beat(self, sessions: int) -> None:
        """We live."""
        self._seen = self._shares._clock()
        self.note(sessions)

    def over(self, sessions: int) -> bool:
        """We have more than our share."""
        least = self._shares.least(self._worker)
        return least is not None and sessions > least + _SLACK + least // _PART

    def leave(self) -> None:
        """We take no more."""
        self._shares.clear(self._worker)
