"""The FETCH command: its set of messages, and its items with their sections and ranges.

Rule of this file: pure functions from the arguments of a FETCH (RFC 9051 6.4.5; BINARY: RFC 3516) to values and back; all octets that
nobody changes stay as they were. Raises PeerError where the arguments make no sense, so that the server may judge them.
"""

from __future__ import annotations

import re
import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from portico.errors import PeerError

_SET: Final = re.compile(rb"[0-9*:,$]+")
_NAME: Final = re.compile(rb"[A-Za-z0-9.\-]+")
_PARTIAL: Final = re.compile(rb"<(\d{1,19})\.(\d{1,19})>")
_LITERAL: Final = re.compile(rb"\{(\d{1,10})\+?\}\r?\n")
MACROS: Final = {
    "ALL": ("FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE"),
    "FAST": ("FLAGS", "INTERNALDATE", "RFC822.SIZE"),
    "FULL": ("FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODY"),
}
"""RFC 9051 6.4.5."""


class Item(NamedTuple):
    """One item asked for."""

    name: str
    """Upper case: ``RFC822.SIZE``, ``BODY.PEEK``, ``BINARY``, …"""
    section: str | None
    """What stands in brackets, upper case; None: there are none."""
    start: int
    """``<start.length>``; -1: the whole."""
    length: int
    span: tuple[int, int]
    """Where ``<start.length>`` stands in the arguments; empty, behind the item, where it does not."""
    begin: int = 0
    """Where the item begins in the arguments; it ends with `span`."""

    @property
    def answered_as(self) -> tuple[str, str | None]:
        """Name and section in the response: BODY.PEEK is answered as BODY."""
        return self.name.replace(".PEEK", ""), self.section


@dataclass(slots=True, frozen=True)
class FetchCommand:
    """The arguments of a FETCH, understood."""

    raw: bytes
    messages: bytes
    """The sequence set as it stands."""
    items: tuple[Item, ...]
    end: int = 0
    """Where the items end; modifiers (RFC 4466) follow."""

    @property
    def names(self) -> frozenset[str]:
        """All that is asked for, macros spelled out."""
        found: set[str] = set()
        for item in self.items:
            found |= set(MACROS.get(item.name, (item.name,)))
        return frozenset(found)

    def written(self, item: Item) -> bytes:
        """An item as it stands."""
        return self.raw[item.begin : item.span[1]]

    def with_items(self, items: Sequence[bytes]) -> bytes:
        """The arguments with these items."""
        return b"%b (%b)%b" % (self.messages, b" ".join(items), self.raw[self.end :])

    def with_ranges(self, ranges: Sequence[tuple[int, int] | None]) -> bytes:
        """The arguments with other ``<start.length>``, one entry for each item; None: as it was."""
        raw = self.raw
        for item, asked in reversed(list(zip(self.items, ranges, strict=True))):
            if asked is not None:
                raw = raw[: item.span[0]] + b"<%d.%d>" % asked + raw[item.span[1] :]
        return raw


def parse_fetch_command(arguments: bytes) -> FetchCommand:
    """Understand the arguments of FETCH or UID FETCH, literals standing in them as they came."""
    found = _SET.match(arguments)
    if found is None:
        raise PeerError("FETCH takes a set of messages")
    pos = found.end()
    if arguments[pos : pos + 1] != b" ":
        raise PeerError("FETCH takes items")
    while arguments[pos : pos + 1] == b" ":
        pos += 1
    items: list[Item] = []
    if arguments[pos : pos + 1] != b"(":
        item, pos = _item(arguments, pos)
        return FetchCommand(arguments, found[0], (item,), pos)
    pos += 1
    while True:
        while arguments[pos : pos + 1] == b" ":
            pos += 1
        if arguments[pos : pos + 1] == b")":
            break
        item, pos = _item(arguments, pos)
        items.append(item)
    if not items:
        raise PeerError("FETCH takes items")
    return FetchCommand(arguments, found[0], tuple(items), pos + 1)


def _item(raw: bytes, pos: int) -> tuple[Item, int]:
    name = _NAME.match(raw, pos)
    if name is None:
        raise PeerError("FETCH takes items")
    begin, pos = pos, name.end()
    section: str | None = None
    if raw[pos : pos + 1] == b"[":
        end = _section_end(raw, pos + 1)
        section = raw[pos + 1 : end].decode("latin-1").upper()
        pos = end + 1
    start = length = -1
    span = (pos, pos)
    partial = _PARTIAL.match(raw, pos)
    if partial is not None:
        start, length = int(partial[1]), int(partial[2])
        span = partial.span()
        pos = partial.end()
    return Item(name[0].decode("ascii").upper(), section, start, length, span, begin), pos


def _section_end(raw: bytes, pos: int) -> int:
    """Where the bracket closes: names of header fields in it may be strings of any kind."""
    size = len(raw)
    while pos < size:
        octet = raw[pos]
        if octet == 0x5D:
            return pos
        if octet == 0x22:
            pos += 1
            while pos < size and raw[pos] != 0x22:
                pos += 2 if raw[pos] == 0x5C else 1
        elif octet == 0x7B:
            literal = _LITERAL.match(raw, pos)
            if literal is None:
                break
            pos = literal.end() + int(literal[1])
            continue
        pos += 1
    raise PeerError("Missing ']'")


def ranges_of(messages: bytes, last: int) -> Iterator[tuple[int, int]]:
    """A sequence set as ranges, low end first (RFC 9051 9, sequence-set); ``*`` is `last`. ``$`` (RFC 5182) is everything.

    What is no number, or one that cannot be, is 0.
    """
    for piece in messages.split(b","):
        if piece == b"$":
            yield 1, max(last, 1)
            continue
        low, _, high = piece.partition(b":")
        ends = [last if end == b"*" else int(end) if end.isdigit() and len(end) < 20 else 0 for end in (low, high or low)]
        yield min(ends), max(ends)


def chosen(messages: bytes, among: Iterable[int], last: int) -> list[int]:
    """Those of `among` that the set names, rising."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges_of(messages, last)):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(high, merged[-1][1])
        else:
            merged.append((low, high))
    found = []
    for number in among:
        at = bisect_right(merged, (number, sys.maxsize)) - 1
        if at >= 0 and number <= merged[at][1]:
            found.append(number)
    return sorted(found)


def sequence_set(numbers: Iterable[int]) -> bytes:
    """A sequence set (RFC 9051 9), in the order given, runs written short."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return b",".join(b"%d" % low if low == high else b"%d:%d" % (low, high) for low, high in runs)
