"""Insertions in a run of octets, and ranges of the run with them in it.

Rule of this file: arithmetic on offsets; it holds no octets but those that are inserted. A section (BODY[], BODY[1], …) is seen in two
ways: as the server has it, and annotated, with `octets` of each Insert standing before the octet at `at`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Insert(NamedTuple):
    """`octets` stand before the server's octet number `at` (from 0; the section's length: at its end)."""

    at: int
    octets: bytes


class Range(NamedTuple):
    """A client's ``<start.length>`` (RFC 9051 6.4.5): `start` from 0, `length` at least 1."""

    start: int
    length: int


def total(inserts: Sequence[Insert]) -> int:
    """Octets by which the section grows."""
    return sum(len(insert.octets) for insert in inserts)


def asked_of_server(wanted: Range, most: int) -> Range:
    """What to ask of the server so that `wanted` of the annotated section can be made of the answer, for any section that grows by at
    most `most` octets."""
    start = max(0, wanted.start - most)
    return Range(start, wanted.length + wanted.start - start if wanted.start < most else wanted.length + most)


class Splice:
    """One literal of the server turned into one for the client, in pieces.

    `begin`: number of the literal's first octet in the server's section. `size`: octets of the literal. `wanted`: what the
    client asked of the annotated section; None: from its begin to its end.
    """

    __slots__ = ("_at", "_end", "_first", "_last", "_position", "_waiting", "count")

    def __init__(self, begin: int, size: int, inserts: Sequence[Insert], wanted: Range | None = None) -> None:
        end = begin + size
        inside = sorted(insert for insert in inserts if begin <= insert.at <= end)
        before = sum(len(insert.octets) for insert in inserts if insert.at < begin)
        first = begin + before
        last = first + size + total(inside)
        self._at = begin
        self._position = first  # in the annotated section, of what comes next
        self._first = first if wanted is None else max(first, wanted.start)
        self._last = last if wanted is None else min(last, wanted.start + wanted.length)
        self._waiting = inside
        self._end = last
        self.count = max(0, self._last - self._first)
        """Octets that will come out."""

    def feed(self, data: bytes) -> bytes:
        """The next octets of the server's literal; what they give. Empty insertions at the end come with `finish`."""
        out: list[bytes] = []
        pos = 0
        while self._waiting and self._waiting[0].at < self._at + len(data) - pos:
            insert = self._waiting.pop(0)
            step = insert.at - self._at
            out.append(self._cut(data[pos : pos + step]))
            out.append(self._cut(insert.octets))
            pos += step
            self._at = insert.at
        rest = data[pos:] if pos else data
        self._at += len(rest)
        out.append(self._cut(rest))
        return b"".join(out) if len(out) > 1 else out[0]

    @property
    def passes(self) -> bool:
        """Whether all that is still to come goes out as it comes, and nothing behind it."""
        return not self._waiting and self._first <= self._position and self._end <= self._last

    def finish(self) -> bytes:
        """All of the literal has been fed: what stands behind its last octet."""
        out = b"".join(self._cut(insert.octets) for insert in self._waiting)
        self._waiting = []
        return out

    def _cut(self, data: bytes) -> bytes:
        """The part of `data` that is wanted; it stands at the position reached."""
        start = self._position
        self._position = end = start + len(data)
        if start >= self._first and end <= self._last:
            return data
        return data[max(0, self._first - start) : max(0, self._last - start)]
