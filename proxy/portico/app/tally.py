"""What has happened since the process began, counted for the operator's console.

Rule of this file: a number is added to at the beginning or end of something, never on the data path.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

SLOW: Final = 1.0
"""Seconds."""


@dataclass(slots=True)
class Tally:
    """Sessions counted when they end have their octets in here; what runs has not."""

    connections: int = 0
    logins: int = 0
    failed_logins: int = 0
    closed: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    slow: deque[dict[str, Any]] = field(default_factory=partial(deque, maxlen=20))
    """The last commands that took long, in sessions that are watched: at, command, seconds, user, server."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Sessions closed, by reason."""

    def commanded(self, command: str, seconds: float, user: str, server: str) -> None:
        """A command was answered after so long."""
        if seconds >= SLOW:
            self.slow.append({"at": time.time(), "command": command, "seconds": round(seconds, 3), "user": user, "server": server})

    def ended(self, reason: str, bytes_in: int, bytes_out: int) -> None:
        """A session is over."""
        self.closed += 1
        self.bytes_in += bytes_in
        self.bytes_out += bytes_out
        self.reasons[reason] += 1
