"""What has happened since the process began, counted for the operator's console.

Rule of this file: a number is added to at the beginning or end of something, never on the data path.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """Sessions counted when they end have their octets in here; what runs has not."""

    connections: int = 0
    logins: int = 0
    failed_logins: int = 0
    closed: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    """Sessions closed, by reason."""

    def ended(self, reason: str, bytes_in: int, bytes_out: int) -> None:
        """A session is over."""
        self.closed += 1
        self.bytes_in += bytes_in
        self.bytes_out += bytes_out
        self.reasons[reason] += 1
