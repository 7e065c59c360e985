"""How often a thing that strangers can bring about is said in the log.

Rule of this file: ten times in ten seconds, whatever happens. The clock is the caller's.
"""

from __future__ import annotations

from typing import Final

_MOST: Final = 10
_SECONDS: Final = 10.0


class Sparing:
    """Of one kind of event."""

    __slots__ = ("_said", "_since")

    def __init__(self) -> None:
        self._since = -_SECONDS
        self._said = 0

    def may(self, now: float) -> bool:
        """Whether it may be said once more."""
        if now - self._since >= _SECONDS:
            self._since, self._said = now, 0
        self._said += 1
        return self._said <= _MOST
