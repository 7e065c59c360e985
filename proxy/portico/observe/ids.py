"""Session ids: short, unique, and in the order of time.

Rule of this file: an id is 16 characters of Crockford's base32 in lower case, so it is an IMAP atom, safe in a quoted
string, in a file name and in a shell, and can be read out on the telephone. It is not a secret.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

_DIGITS: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS: Final = tuple(high + low for high in _DIGITS for low in _DIGITS)


class Ids:
    """Makes ids: 41 bits of milliseconds, 24 of this process, 15 of a counter.

    Two processes differ by pid and chance; one process would have to make 32,768 ids in a millisecond to repeat one.
    Make one per process, after the fork.
    """

    __slots__ = ("_clock", "_count", "_worker")

    def __init__(self, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock
        self._worker: Final = (os.getpid() * 0x9E3779B1 ^ int.from_bytes(os.urandom(3), "big")) & 0xFFFFFF
        self._count = int.from_bytes(os.urandom(2), "big")

    def new(self) -> str:
        """The next id."""
        self._count = count = (self._count + 1) & 0x7FFF
        number = ((self._clock() // 1_000_000) & 0x1FFFFFFFFFF) << 39 | self._worker << 15 | count
        pairs = _PAIRS
        return (
            pairs[number >> 70]
            + pairs[number >> 60 & 1023]
            + pairs[number >> 50 & 1023]
            + pairs[number >> 40 & 1023]
            + pairs[number >> 30 & 1023]
            + pairs[number >> 20 & 1023]
            + pairs[number >> 10 & 1023]
            + pairs[number & 1023]
        )
