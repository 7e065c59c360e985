"""Leaving alone a server that is ill, so that nobody waits for it and it is not overrun when it comes back.

Rule of this file: counting and a clock that is given; no I/O. Three states, in the words of the field: `closed` (logins go there), `open`
(none does), `half_open` (one at a time is let through to find out). What counts as a failure is decided by who reports it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from portico.config.sections.upstream import Health

State = Literal["closed", "open", "half_open"]


@dataclass(slots=True)
class Breaker:
    """Of one server. `changed` is called with the new state, each time it is another one."""

    health: Health
    changed: Callable[[State], None] = lambda _: None
    state: State = "closed"
    failures: int = 0
    """In a row, none of them longer than `rest_max` after the one before."""
    _until: float = 0.0
    """Open: no login before. Half open: the one that was let through is given up then."""
    _rest: float = 0.0
    _last: float = 0.0
    """When it failed."""

    def may(self, now: float) -> bool:
        """Whether a login may be sent there. Nothing changes: somebody else may be preferred."""
        return self.state == "closed" or now >= self._until

    def begin(self, now: float) -> None:
        """One is sent there."""
        if self.state == "closed" or now < self._until:
            return
        self._until = now + self.health.trial
        self._become("half_open")

    def succeeded(self) -> None:
        """The server has answered as a server does."""
        self.failures = 0
        self._rest = 0.0
        self._become("closed")

    def failed(self, now: float) -> None:
        """It has not."""
        if now - self._last > self.health.rest_max:
            self.failures = 0
        self._last = now
        self.failures += 1
        if self.state == "open" or not self.health.failures or (self.state == "closed" and self.failures < self.health.failures):
            return
        self._rest = min(self._rest * 2 or self.health.rest, self.health.rest_max)
        self._until = now + self._rest
        self._become("open")

    def opens_in(self, now: float) -> float:
        """Seconds until one is let through again; 0: at once."""
        return 0.0 if self.state == "closed" else max(0.0, self._until - now)

    def _become(self, state: State) -> None:
        if state != self.state:
            self.state = state
            self.changed(state)
