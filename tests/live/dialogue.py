"""portico.testing's client, under the name that the live tests have for it."""

from __future__ import annotations

import time
from collections.abc import Callable

from portico.testing.client import LITERAL, WAIT_SECONDS, Dialogue, eventually

__all__ = ["LITERAL", "WAIT_SECONDS", "Dialogue", "at_rest", "eventually"]


def at_rest(count: Callable[[], int], seconds: float = 1.0) -> int:
    """What `count()` is once it has not changed for `seconds`."""
    last, now = -1, count()
    while now != last:
        time.sleep(seconds)
        last, now = now, count()
    return now
