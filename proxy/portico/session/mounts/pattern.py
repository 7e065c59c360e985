"""Patterns of LIST (RFC 9051 6.3.9): what they match, and what is left of one below a prefix.

Rule of this file: octets in, octets out. ``*`` matches anything, ``%`` anything but the separator.
"""

from __future__ import annotations

_STAR, _PERCENT = 0x2A, 0x25


def _closure(pattern: bytes, positions: set[int]) -> set[int]:
    """With the positions that are reached without any octet: a wildcard may match nothing."""
    found = set(positions)
    for position in sorted(positions):
        while position < len(pattern) and pattern[position] in (_STAR, _PERCENT):
            position += 1
            found.add(position)
    return found


def _advance(pattern: bytes, positions: set[int], text: bytes, separator: bytes) -> set[int]:
    """Where in `pattern` one can be after `text`; not closed."""
    stop = separator[0] if separator else -1
    for octet in text:
        after: set[int] = set()
        for position in _closure(pattern, positions):
            if position >= len(pattern):
                continue
            here = pattern[position]
            if here == _STAR or (here == _PERCENT and octet != stop):
                after.add(position)
            elif here == octet and here != _PERCENT:
                after.add(position + 1)
        positions = after
        if not positions:
            break
    return positions


def matches(pattern: bytes, name: bytes, separator: bytes) -> bool:
    return len(pattern) in _closure(pattern, _advance(pattern, {0}, name, separator))


def rests(pattern: bytes, prefix: bytes, separator: bytes) -> list[bytes]:
    """The patterns which match what may follow `prefix` in a name that `pattern` matches; none: nothing may."""
    found = dict.fromkeys(pattern[position:] for position in sorted(_advance(pattern, {0}, prefix, separator)))
    return [b"*"] if b"*" in found else list(found)


def asks_below(pattern: bytes, prefix: bytes) -> bool:
    """Whether whoever wrote `pattern` knows of `prefix`: it stands there without a wildcard."""
    return pattern.startswith(prefix)
