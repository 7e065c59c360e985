"""Patterns of LIST (RFC 9051 6.3.9): what they match, and what is left of one below a prefix.

Rule of this file: octets in, octets out. ``*`` matches anything, ``%`` anything but the separator.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_WILD: Final = re.compile(rb"[*%]{2,}")
_SHORT: Final = 4096
"""Octets of all patterns of a command, and how many there may be: each is held against each name."""
_FEW: Final = 32


def too_many(patterns: list[bytes]) -> bool:
    return len(patterns) > _FEW or sum(map(len, patterns)) > _SHORT


class Pattern:
    """A pattern, ready to be held against many names: which positions of it can be reached is one number, a bit for each position."""

    __slots__ = ("_all", "_crossing", "_here", "_literal", "_wild", "octets", "separator")

    def __init__(self, octets: bytes, separator: bytes) -> None:
        self.separator = separator
        # A wildcard beside another one says nothing more, and then one step is enough to pass it.
        self.octets = octets = _WILD.sub(lambda run: b"*" if b"*" in run[0] else b"%", octets)
        self._here: dict[int, int] = {}
        self._wild = self._crossing = 0
        for position, octet in enumerate(octets):
            bit = 1 << position
            if octet in b"*%":
                self._wild |= bit
                self._crossing |= bit if octet == 0x2A else 0
            else:
                self._here[octet] = self._here.get(octet, 0) | bit
        self._all = 1 << len(octets)
        self._literal = octets if not self._wild else octets[:-1] if self._wild == 1 << (len(octets) - 1) else None

    def after(self, text: bytes) -> int:
        """Where one can be after `text`; 0: nowhere."""
        stop = self.separator[0] if self.separator else -1
        at = 1
        for octet in text:
            at |= (at & self._wild) << 1
            at = (at & self._here.get(octet, 0)) << 1 | (at & (self._crossing if octet == stop else self._wild))
            if not at:
                break
        return at

    def matches(self, name: bytes) -> bool:
        if self._literal is not None:
            if not self._wild:
                return name == self._literal
            rest = name[len(self._literal) :]
            return name.startswith(self._literal) and (bool(self._crossing) or not self.separator or self.separator not in rest)
        at = self.after(name)
        return bool((at | (at & self._wild) << 1) & self._all)


@lru_cache(maxsize=256)
def _pattern(octets: bytes, separator: bytes) -> Pattern:
    return Pattern(octets, separator)


def matches(pattern: bytes, name: bytes, separator: bytes) -> bool:
    return _pattern(pattern, separator).matches(name)


def rests(pattern: bytes, prefix: bytes, separator: bytes) -> list[bytes]:
    """The patterns which match what may follow `prefix` in a name that `pattern` matches; none: nothing may."""
    ready = _pattern(pattern, separator)
    at = ready.after(prefix)
    found = dict.fromkeys(ready.octets[position:] for position in range(len(ready.octets) + 1) if at >> position & 1)
    return [b"*"] if b"*" in found else list(found)


def asks_below(pattern: bytes, prefix: bytes) -> bool:
    """Whether whoever wrote `pattern` knows of `prefix`: it stands there without a wildcard."""
    return pattern.startswith(prefix)
