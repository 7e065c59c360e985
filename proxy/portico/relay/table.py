"""The sessions that run in this worker.

Rule of this file: an index and those who ask by it; what a session does is its own matter (relay.driver, relay.tunnel).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from portico.config.units import SECONDS
from portico.session.context import SessionView

_STEP: Final = 0.05 * SECONDS


@dataclass(frozen=True, slots=True)
class Now:
    """How a session is at the moment. Octets are counted in clear, as in its Summary; seconds since it came, and since an octet passed."""

    state: Literal["login", "tunnel", "watch", "closing"]
    seconds: float
    idle: float
    bytes_in: int
    bytes_out: int


class Running(Protocol):
    """A session that runs: a Driver, later perhaps a Tunnel."""

    @property
    def view(self) -> SessionView: ...

    def now(self) -> Now:
        """How it is; found out when somebody asks."""
        ...

    def trace(self, on: bool) -> None:
        """From now on give its protocol text to Generation.trace, or no more."""
        ...

    def kick(self, text: str, *, shutdown: bool = False, patient: bool = False) -> None:
        """Tell it to end; the client is told `text` where that is possible. `patient`: once what is under way is done."""

    def abort(self) -> None:
        """End it now; nobody is told."""


class Sessions:
    """All running sessions by their id."""

    __slots__ = ("_empty", "_running", "left")

    def __init__(self) -> None:
        self._running: dict[str, Running] = {}
        self._empty: asyncio.Event | None = None
        self.left: Callable[[], object] | None = None
        """Called when one has ended."""

    def __len__(self) -> int:
        return len(self._running)

    def __iter__(self) -> Iterator[Running]:
        return iter(list(self._running.values()))

    def __repr__(self) -> str:
        return f"<Sessions {len(self._running)}>"

    # -- for those who run

    def put(self, running: Running) -> None:
        """Enter a session, or replace a Driver by the Tunnel that it became."""
        self._running[running.view.id] = running

    def remove(self, session_id: str) -> None:
        """It has ended."""
        self._running.pop(session_id, None)
        if self.left is not None:
            self.left()
        if not self._running and self._empty is not None:
            self._empty.set()

    # -- for those who ask

    def find(self, *, id: str = "", user: str = "", address: str = "") -> list[Running]:
        """Those for which all that is given holds; nothing given: all."""
        if id:
            found = self._running.get(id)
            candidates = [found] if found is not None else []
        else:
            candidates = list(self._running.values())
        return [each for each in candidates if (not user or each.view.user == user) and (not address or each.view.peer.rip == address)]

    def kick(self, text: str, *, id: str = "", user: str = "", address: str = "") -> list[str]:
        """End those found; at least one selector must be given. Returns their ids."""
        if not (id or user or address):
            raise ValueError("whom to kick must be said: id, user or address")
        return self._tell(self.find(id=id, user=user, address=address), lambda each: each.kick(text))

    async def stop(self, text: str, seconds: float, spread: float = 0.0) -> int:
        """Tell all to end when what is under way is done, wait until they have, at most `seconds`, then end the rest: with a word where
        one may stand. `spread`: tell them one after the other for so many seconds, so that they do not all come back at once. Returns
        how many had to be ended at last."""
        if self._running:
            self._empty = asyncio.Event()
            asking = asyncio.ensure_future(self._ask_to_leave(text, spread))
            try:
                async with asyncio.timeout(seconds):
                    await self._empty.wait()  # also before all are asked: who has left or was ended need not be
            except TimeoutError:
                pass
            asking.cancel()
            self._empty = None
        return self.end(text)

    def end(self, text: str) -> int:
        """End all now, with a word where one may stand. Returns how many."""
        late = self._tell(list(self), lambda each: each.kick(text, shutdown=True))
        self._tell(list(self), lambda each: each.abort())
        return len(late)

    async def _ask_to_leave(self, text: str, spread: float) -> None:
        ids = list(self._running)
        steps = max(1, min(len(ids), int(spread / _STEP)))
        for step in range(steps):
            if step:
                await asyncio.sleep(spread / steps)
            for session_id in ids[step::steps]:
                running = self._running.get(session_id)  # by now it may be gone, or a Tunnel
                if running is not None:
                    running.kick(text, shutdown=True, patient=True)

    def _tell(self, whom: list[Running], what: Callable[[Running], None]) -> list[str]:
        ids = [each.view.id for each in whom]
        for each in whom:
            what(each)
        return ids
