"""Users whose logins wait: while their mail moves from one server to another.

Rule of this file: a name is held until it is released or its time has passed, and whoever waits for it goes on then. Names differing
in case only are one user, as in limits.py. It needs a running loop only where somebody waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from math import inf


@dataclass(slots=True)
class _Hold:
    user: str
    until: float
    waiting: set[asyncio.Future[None]] = field(default_factory=set)


class Holds:
    """Of all users."""

    __slots__ = ("_clock", "_held")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._held: dict[str, _Hold] = {}

    def __repr__(self) -> str:
        return f"<Holds {' '.join(hold.user for hold in self._held.values()) or 'nobody'}>"

    def hold(self, user: str, seconds: float | None = None) -> None:
        """Logins of `user` wait from now on; again: for so long from now. None: until `release`."""
        known = self._held.get(user.casefold())
        until = inf if seconds is None else self._clock() + seconds
        if known is None:
            self._held[user.casefold()] = _Hold(user, until)
        else:
            known.until = until

    def release(self, user: str) -> bool:
        """They go on. False: nobody held them."""
        known = self._held.pop(user.casefold(), None)
        if known is None:
            return False
        for each in known.waiting:
            if not each.done():
                each.set_result(None)
        return True

    def held(self) -> list[dict[str, object]]:
        """Who is held: ``user``, ``seconds`` left (null: until he is released), ``waiting`` logins."""
        now = self._clock()
        for hold in list(self._held.values()):
            if hold.until <= now:
                self.release(hold.user)
        return [
            {"user": hold.user, "seconds": None if hold.until == inf else round(hold.until - now, 3), "waiting": len(hold.waiting)}
            for hold in self._held.values()
        ]

    def is_held(self, user: str) -> bool:
        known = self._held.get(user.casefold())
        if known is not None and known.until <= self._clock():
            self.release(user)
            return False
        return known is not None

    def pass_hold(self, user: str, seconds: float) -> bool | Awaitable[bool]:
        """True once `user` is not held; False: he still is after so many seconds."""
        return self._wait(user, seconds) if self.is_held(user) else True

    async def _wait(self, user: str, seconds: float) -> bool:
        ends = self._clock() + seconds
        while self.is_held(user):
            hold, now = self._held[user.casefold()], self._clock()
            if now >= ends:
                return False
            waiting = asyncio.get_running_loop().create_future()
            hold.waiting.add(waiting)
            try:
                await asyncio.wait((waiting,), timeout=min(ends, hold.until) - now)
            finally:
                hold.waiting.discard(waiting)
        return True
