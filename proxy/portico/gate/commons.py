"""What all processes of one Portico must know together, and all machines that share a memory: who is there, who guesses, who is held.

Rule of this file: methods take and give plain JSON values. What is asked (`arrive`, `claim`, `pass_hold`, `hold`, `release`, `holds`)
may be answered by an awaitable; what is told (`unclaim`, `leave`, `wrong`, `right`) returns None at once and may be told twice. A session
is known by its id, and registered under the process that it runs in, whose end gives back all of its sessions (`LocalCommons.gone`).
Where the commons do not answer, everybody is let in, and the log says so: the limits of each process (gate.limits) hold all the same.

    LocalCommons     answers at once: in a single process, and in the supervisor for all
    RemoteCommons    in a worker: asks the supervisor
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol, TypedDict

from portico.config.sections.penalties import Penalties as PenaltySettings
from portico.config.settings import Limits
from portico.gate.holds import Holds
from portico.gate.limits import Counts, Ticket
from portico.gate.penalties import Penalties

_PATIENCE: Final = 2.0
"""Seconds for an answer of the commons; then they count as away."""
_REST: Final = 5.0
"""Seconds in which commons that were away are not asked."""


class Claimed(TypedDict):
    """What the commons say to a login."""

    refusal: str | None
    """limit_user, limit_user_address; None: claimed."""
    delay: float
    """Seconds that it has to wait first: what its address pays for wrong passwords."""
    held: bool
    """The user is held: `pass_hold` says when to go on."""


Bounds = Mapping[str, float]
"""What holds at the time: `bounds_of`."""


def bounds_of(limits: Limits, penalties: PenaltySettings) -> dict[str, float]:
    """The numbers of the settings that the commons need. They come with each question, since a reload changes them."""
    return {
        "sessions": limits.sessions,
        "sessions_per_address": limits.sessions_per_address,
        "sessions_per_user": limits.sessions_per_user,
        "sessions_per_user_and_address": limits.per_user_and_address,
        "first": penalties.delay,
        "longest": penalties.delay_max,
        "step": penalties.forget,
    }


class Commons(Protocol):
    """See the rule of this file. `network` is gate.limits.network_of, empty for what is not counted by its address."""

    def arrive(self, session: str, network: str, bounds: Bounds) -> str | Awaitable[str | None] | None:
        """A session has come, or comes from another network than it seemed (it is counted there then). limit_sessions, limit_address: it
        is one too many, and not counted; None: it is counted."""
        ...

    def claim(self, session: str, user: str, network: str, exempt: bool, digest: str, bounds: Bounds) -> Claimed | Awaitable[Claimed]:
        """The session wants to sign in as `user`, and is counted for him unless refused. `exempt`: its address pays no penalties.
        `digest`: penalties.digest_of."""
        ...

    def unclaim(self, session: str) -> None:
        """The login did not succeed."""
        ...

    def leave(self, session: str) -> None:
        """The session is over."""
        ...

    def wrong(self, network: str, user: str, digest: str, bounds: Bounds) -> None:
        """The password was wrong; `network` is empty where nobody pays for it."""
        ...

    def right(self, network: str, user: str, digest: str) -> None:
        """It was right."""
        ...

    def pass_hold(self, user: str, seconds: float) -> bool | Awaitable[bool]:
        """True once nobody holds `user` (any more); False: after so many seconds he still is held."""
        ...

    def hold(self, user: str, seconds: float | None) -> Awaitable[None] | None:
        """His logins wait: for so long, or until `release`."""
        ...

    def release(self, user: str) -> bool | Awaitable[bool]:
        """They go on. False: he was not held."""
        ...

    def holds(self) -> list[dict[str, Any]] | Awaitable[list[dict[str, Any]]]:
        """Those that are held: ``user``, ``seconds`` left or null, ``waiting`` logins."""
        ...


METHODS: Final = frozenset(("arrive", "claim", "unclaim", "leave", "wrong", "right", "pass_hold", "hold", "release", "holds"))
_OF_A_SESSION: Final = frozenset(("arrive", "claim"))


class LocalCommons:
    """The commons themselves, in memory. `clock`: seconds that only grow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, most: int = 100_000) -> None:
        self.counts = Counts()
        self.penalties = Penalties(clock, most)
        self._holds = Holds(clock)
        self._tickets: dict[str, Ticket] = {}
        self._processes: dict[str, set[str]] = {}
        """Sessions by the process that they run in; those of our own are in none."""
        self._at: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<LocalCommons {self.counts.sessions} sessions {self.penalties!r} {self._holds!r}>"

    # -- as Commons

    def arrive(self, session: str, network: str, bounds: Bounds) -> str | None:
        before = self._tickets.pop(session, None)
        if before is not None:
            self.counts.leave(before)
        ticket, word = self.counts.enter(network, int(bounds["sessions"]), int(bounds["sessions_per_address"]))
        if word is None:
            self._tickets[session] = ticket
        return word

    def claim(self, session: str, user: str, network: str, exempt: bool, digest: str, bounds: Bounds) -> Claimed:
        ticket = self._tickets.get(session)
        if ticket is None:  # it came while we were away: one more cannot be refused now
            ticket, _ = self.counts.enter(network, 1 << 60, 1 << 60)
            self._tickets[session] = ticket
        word = self.counts.take(ticket, user, int(bounds["sessions_per_user"]), int(bounds["sessions_per_user_and_address"]))
        if word is not None:
            return {"refusal": word, "delay": 0.0, "held": False}
        delay = 0.0
        if not exempt:
            delay = self.penalties.delay(network, digest, first=bounds["first"], longest=bounds["longest"], step=bounds["step"])
        return {"refusal": None, "delay": delay, "held": self._holds.is_held(user)}

    def unclaim(self, session: str) -> None:
        ticket = self._tickets.get(session)
        if ticket is not None:
            self.counts.unclaim(ticket)

    def leave(self, session: str) -> None:
        ticket = self._tickets.pop(session, None)
        if ticket is not None:
            self.counts.leave(ticket)
        process = self._at.pop(session, None)
        if process is not None:
            self._processes.get(process, set()).discard(session)

    def wrong(self, network: str, user: str, digest: str, bounds: Bounds) -> None:
        self.penalties.wrong(network, digest, first=bounds["first"], longest=bounds["longest"], step=bounds["step"])

    def right(self, network: str, user: str, digest: str) -> None:
        self.penalties.right(digest, network)

    def pass_hold(self, user: str, seconds: float) -> bool | Awaitable[bool]:
        return self._holds.pass_hold(user, seconds)

    def hold(self, user: str, seconds: float | None = None) -> None:
        self._holds.hold(user, seconds)

    def release(self, user: str) -> bool:
        return self._holds.release(user)

    def holds(self) -> list[dict[str, Any]]:
        return self._holds.held()

    # -- for other processes

    async def answer(self, process: str, method: str, arguments: Mapping[str, Any]) -> Any:
        """What a RemoteCommons in `process` asks or tells: a method by its name, with its arguments. Raises ValueError for what is none."""
        if method not in METHODS:
            raise ValueError(f"the commons have no {method}")
        if method in _OF_A_SESSION:
            session = arguments["session"]
            self._processes.setdefault(process, set()).add(session)
            self._at[session] = process
        said = getattr(self, method)(**arguments)
        return await said if isinstance(said, Awaitable) else said

    def gone(self, process: str) -> int:
        """A process has ended: its sessions are over. Returns how many there were."""
        sessions = self._processes.pop(process, set())
        for session in sessions:
            self.leave(session)
        return len(sessions)


class RemoteCommons:
    """Asks the supervisor. `ask(verb, arguments)` and `tell(verb, arguments)` are workers.link.Link's; `failed(text)` logs that the commons
    do not answer, once until they do."""

    def __init__(
        self,
        ask: Callable[[str, Mapping[str, Any]], Awaitable[Any]],
        tell: Callable[[str, Mapping[str, Any]], None],
        failed: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        *,
        patience: float = _PATIENCE,
    ) -> None:
        self._ask = ask
        self._tell = tell
        self._failed = failed
        self._clock = clock
        self._patience = patience
        self._away_until = 0.0
        self._away = False

    def __repr__(self) -> str:
        return f"<RemoteCommons{' away' if self._away else ''}>"

    async def _asked(self, method: str, arguments: Mapping[str, Any], otherwise: Any, more: float = 0.0) -> Any:
        if self._away and self._clock() < self._away_until:
            return otherwise
        try:
            async with asyncio.timeout(self._patience + more):
                said = await self._ask(f"commons.{method}", arguments)
        except Exception as error:  # whatever it was: nobody stays outside for it
            if not self._away:
                self._failed(str(error) or type(error).__name__)
            self._away, self._away_until = True, self._clock() + _REST
            return otherwise
        self._away = False
        return said

    def _told(self, method: str, arguments: Mapping[str, Any]) -> None:
        self._tell(f"commons.{method}", arguments)

    async def arrive(self, session: str, network: str, bounds: Bounds) -> str | None:
        said: str | None = await self._asked("arrive", {"session": session, "network": network, "bounds": bounds}, None)
        return said

    async def claim(self, session: str, user: str, network: str, exempt: bool, digest: str, bounds: Bounds) -> Claimed:
        arguments = {"session": session, "user": user, "network": network, "exempt": exempt, "digest": digest, "bounds": bounds}
        otherwise: Claimed = {"refusal": None, "delay": 0.0, "held": False}
        said: Claimed = await self._asked("claim", arguments, otherwise)
        return said

    def unclaim(self, session: str) -> None:
        self._told("unclaim", {"session": session})

    def leave(self, session: str) -> None:
        self._told("leave", {"session": session})

    def wrong(self, network: str, user: str, digest: str, bounds: Bounds) -> None:
        self._told("wrong", {"network": network, "user": user, "digest": digest, "bounds": bounds})

    def right(self, network: str, user: str, digest: str) -> None:
        self._told("right", {"network": network, "user": user, "digest": digest})

    async def pass_hold(self, user: str, seconds: float) -> bool:
        return bool(await self._asked("pass_hold", {"user": user, "seconds": seconds}, True, seconds))

    async def hold(self, user: str, seconds: float | None = None) -> None:
        await self._asked("hold", {"user": user, "seconds": seconds}, None)

    async def release(self, user: str) -> bool:
        return bool(await self._asked("release", {"user": user}, False))

    async def holds(self) -> list[dict[str, Any]]:
        return list(await self._asked("holds", {}, []))
