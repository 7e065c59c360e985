"""Skimming a server's IMAP stream: what is wanted is cut out whole, the rest passes in runs.

Rule of this file: literals are skipped by count, lines by their end; a line is looked at once, at its head, by
one anchored pattern. Nothing is held but a started line, or a wanted response within its
limit. The runs and the wanted pieces, put together again, are the octets that came in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Set
from enum import Enum
from functools import lru_cache
from typing import Final

_LITERAL: Final = re.compile(rb"\{(\d{1,20})\+?\}\r?\n\Z")
# A tag has 128 octets at most (wire.imap.parse_command): a status response is known for one by what is held of a long line.
_STATUS: Final = re.compile(rb"\+|(?:\* |[^ *+(\r\n]{1,128} )(?:OK|NO|BAD|BYE|PREAUTH)\b", re.IGNORECASE)
_FETCH: Final = re.compile(rb"\* ([1-9]\d{0,9}) FETCH ")
_OTHER: Final = re.compile(rb"\n(?!\* [1-9]\d{0,9} FETCH )")
_EACH: Final = re.compile(rb"\n(?:\* ([1-9]\d{0,9}) FETCH )?")
_NEXT: Final = re.compile(rb'[^\r\n{"]*\)\r\n\* ([1-9]\d{0,9}) FETCH \([^\r\n{"]*\{(\d{1,10})\}\r\n')
"""From the end of a literal to the next one, where that is in the next FETCH response."""
_NONE: Final = frozenset[bytes]()
_LONG_HEAD: Final = 256
"""A started line is held until its end or until it is this long: then its head can be judged."""


class Piece(Enum):
    """What came out."""

    RUN = 1  # octets to forward as they are
    WANTED = 2  # one whole response
    TOO_MUCH = 3  # the head of a wanted response that cannot be held: it follows (and this too) as runs
    BOUNDARY = 4  # no line and no literal is open; given where `stop_at_boundary` asked for it, and then cleared
    LINE = 5  # a line of a response that is streamed: its first, or the next one behind a literal
    LITERAL = 6  # a piece of a literal in it


@lru_cache(maxsize=128)
def _wants_fetch(wanted: re.Pattern[bytes]) -> bool:
    return wanted.match(b"* 1 FETCH (UID 1)") is not None


class Skimmer:
    """Feeds on chunks and gives (Piece, octets) in order.

    `wanted` is matched at the start of each response. `limit` bounds what is held for one response. `streams` is asked about the first
    line of a wanted response, or about its begin where it is longer than `limit`: True, and it is not held but given in pieces, LINE and
    LITERAL.
    """

    __slots__ = (
        "_free_text",
        "_held",
        "_held_octets",
        "_inside",
        "_kept",
        "_left",
        "_numbers",
        "_open",
        "_plain",
        "_streaming",
        "_wanted",
        "limit",
        "stop_at_boundary",
        "streams",
    )

    def __init__(self, wanted: re.Pattern[bytes], limit: int) -> None:
        self.want(wanted)
        self.limit = limit
        self.stop_at_boundary = False
        self.streams: Callable[[bytes], bool] | None = None
        self._streaming = False
        self._kept = b""  # a started line, not given out
        self._held: list[bytes] | None = None  # the pieces of a wanted response
        self._held_octets = 0  # in them, without literals that have been counted when they were announced
        self._left = 0  # octets of a literal still to come
        self._inside = False  # behind a literal: the response goes on, the next line is not a head
        self._open = False  # the start of a line has been given out as a run
        self._free_text = False  # and it was that of a status response
        self._plain = False  # the last line was a whole response that nobody wanted: many of its kind may follow

    @property
    def wanted(self) -> re.Pattern[bytes]:
        return self._wanted

    @wanted.setter
    def wanted(self, wanted: re.Pattern[bytes]) -> None:
        self.want(wanted)

    def want(self, wanted: re.Pattern[bytes], numbers: Set[bytes] | None = None) -> None:
        """Cut out what `wanted` matches, from the next `feed` on. `numbers`: of the FETCH responses only those of these messages (and, in
        what is fed together with a response after which they may have other numbers, all behind that one); None: all."""
        self._wanted = wanted
        self._numbers = numbers if _wants_fetch(wanted) else _NONE

    @property
    def at_boundary(self) -> bool:
        """Whether the octets given out so far end with a whole response."""
        return not (self._left or self._inside or self._open) or self._held is not None

    @property
    def held(self) -> int:
        return len(self._kept) + (sum(map(len, self._held)) if self._held else 0)

    @property
    def left(self) -> int:
        """Octets still to come of a literal that is given out as it comes; 0: none is open, or it is held."""
        return self._left if self._held is None else 0

    @property
    def streaming(self) -> bool:
        """What is open is a response that `streams` wanted."""
        return self._streaming

    def skip(self) -> None:
        """All that was `left` has gone another way."""
        self._left = 0

    def feed(self, data: bytes) -> list[tuple[Piece, bytes]]:
        """Cut `data`. Never raises: whatever a server sends is a run or a wanted response."""
        out: list[tuple[Piece, bytes]] = []
        if self._kept:
            data = self._kept + data
            self._kept = b""
        pos = start = 0  # data[start:pos] is the run so far
        size = len(data)
        find, match = data.find, self._wanted.match
        numbers = self._numbers  # until a response comes by which messages may get other numbers
        while True:
            if self.stop_at_boundary and self._held is None and not (self._left or self._inside or self._open):
                if start < pos:
                    out.append((Piece.RUN, data[start:pos]))
                    start = pos
                out.append((Piece.BOUNDARY, b""))
                self.stop_at_boundary = False
            if pos >= size:
                break
            if self._left:
                end = min(pos + self._left, size)
                self._left -= end - pos
                if self._held is not None:
                    self._held.append(data[pos:end])
                    start = end
                elif self._streaming:
                    out.append((Piece.LITERAL, data[pos:end]))
                    start = end
                elif not self._left and numbers is not None and not self.stop_at_boundary:
                    end = self._bodies(data, end, numbers)
                pos = end
                continue
            if self._plain and numbers is not None and not (self._inside or self._open or self._held or self.stop_at_boundary):
                self._plain = False
                pos = _lines(data, pos, numbers)
                continue
            end = find(b"\n", pos) + 1
            head = not (self._inside or self._open)
            if not end:
                if self._streaming and size - pos <= self.limit:
                    self._kept = data[pos:]
                    return self._finish(out, data, start, pos)
                if self._held is not None:
                    if self._too_much(out, size - pos):
                        self._open = True  # and once more, for the start of an announcement at the very end
                    else:
                        self._kept = data[pos:]
                        return self._finish(out, data, start, pos)
                elif head and (size - pos < _LONG_HEAD or match(data, pos)):
                    if size - pos <= self.limit:
                        self._kept = data[pos:]
                        return self._finish(out, data, start, pos)
                    if match(data, pos):
                        if start < pos:
                            out.append((Piece.RUN, data[start:pos]))
                        start = pos
                        if self.streams is not None and self.streams(data[pos:]):
                            self._streaming = self._open = True
                            continue  # its line, too long to be kept, comes as if it were a literal
                        out.append((Piece.TOO_MUCH, data[pos : pos + _LONG_HEAD]))
                    self._open = True
                    self._free_text = _STATUS.match(data, pos) is not None
                else:
                    # The tail may be the start of a literal's announcement: keep it from its brace on.
                    keep = self._announcement(data, pos)
                    if head:
                        self._free_text = _STATUS.match(data, pos) is not None
                    self._open = self._open or keep > pos
                    self._kept = data[keep:]
                    if self._streaming:  # a line too long to be kept: not what it should be
                        out.append((Piece.LITERAL, data[pos:keep]))
                        start = keep
                    return self._finish(out, data, start, keep)
                continue
            count = -1 if self._free_text else self._literal(data, pos, end, head)
            self._open = self._free_text = False
            if head and match(data, pos) and not (numbers is not None and _passed_over(data, pos, numbers)):
                if numbers and _FETCH.match(data, pos) is None:
                    numbers = None
                if start < pos:
                    out.append((Piece.RUN, data[start:pos]))
                if self.streams is not None and self.streams(data[pos:end]):
                    out.append((Piece.LINE, data[pos:end]))
                    self._streaming = self._inside = count >= 0
                    self._left = max(count, 0)
                    start = pos = end
                    continue
                if count < 0:  # the usual case: a whole response in one line
                    out.append((Piece.WANTED, data[pos:end]))
                    start = pos = end
                    continue
                start = pos
                if end - pos + count > self.limit:
                    out.append((Piece.TOO_MUCH, data[pos:end]))
                else:
                    self._held, self._held_octets = [data[pos:end]], end - pos + count
                    start = end
            elif self._held is not None:
                if self._too_much(out, end - pos + max(count, 0)):
                    start = pos
                else:
                    self._held.append(data[pos:end])
                    self._held_octets += end - pos + max(count, 0)
                    start = end
                    if count < 0:
                        out.append((Piece.WANTED, b"".join(self._held)))
                        self._held = None
            elif self._streaming:
                out.append((Piece.LINE, data[pos:end]))
                start = end
                self._streaming = count >= 0
            else:
                self._plain = head and count < 0
            pos = end
            self._inside = count >= 0
            self._left = max(count, 0)
        return self._finish(out, data, start, pos)

    def _bodies(self, data: bytes, pos: int, numbers: Set[bytes]) -> int:
        """Behind a literal: the end of the last one that another one of a message nobody wants follows at once, or of `data`."""
        size = len(data)
        while not self._left:
            found = _NEXT.match(data, pos)
            if found is None or found[1] in numbers:
                break
            pos, left = found.end(), int(found[2])
            self._left = max(0, left - (size - pos))
            pos = min(pos + left, size)
        return pos

    def _finish(self, out: list[tuple[Piece, bytes]], data: bytes, start: int, end: int) -> list[tuple[Piece, bytes]]:
        if start < end:
            out.append((Piece.RUN, data if start == 0 and end == len(data) else data[start:end]))
        return out

    def _too_much(self, out: list[tuple[Piece, bytes]], more: int) -> bool:
        """Give up holding when `more` does not fit: what is held becomes a run."""
        if self._held is None or self._held_octets + more <= self.limit:
            return False
        held = b"".join(self._held)
        self._held = None
        out.append((Piece.TOO_MUCH, held[:_LONG_HEAD]))
        out.append((Piece.RUN, held))
        return True

    @staticmethod
    def _announcement(data: bytes, pos: int) -> int:
        """Where a ``{123`` (or a CR) at the very end of `data` begins, or its end."""
        end = len(data)
        brace = data.rfind(b"{", max(pos, end - 26))
        if brace >= 0 and re.fullmatch(rb"\{\d*\+?\}?\r?", data[brace:]):
            return brace
        return end

    @staticmethod
    def _literal(data: bytes, pos: int, end: int, head: bool) -> int:
        """The count announced at the end of data[pos:end], or -1."""
        if data[end - 3 : end - 2] != b"}" and data[end - 2 : end - 1] != b"}":
            return -1
        found = _LITERAL.search(data, max(pos, end - 26), end)
        if found is None or (head and _STATUS.match(data, pos)):
            return -1  # a status response ends in free text (RFC 9051 7.1)
        return int(found[1])


def _passed_over(data: bytes, pos: int, numbers: Set[bytes]) -> bool:
    """Whether what begins at `pos` is the FETCH response of a message that is none of `numbers`."""
    found = _FETCH.match(data, pos)
    return found is not None and found[1] not in numbers


def _lines(data: bytes, pos: int, numbers: Set[bytes]) -> int:
    """Where the FETCH responses end that are whole in a line each, hold no literal, and are of none of `numbers`."""
    if not _passed_over(data, pos, numbers):
        return pos
    brace = data.find(b"}", pos)  # a line with one is looked at as others are: it may announce a literal
    end = data.rfind(b"\n", pos, brace if brace >= 0 else len(data))
    if end < 0:
        return pos
    if not numbers:
        other = _OTHER.search(data, pos, end)
        return other.start() + 1 if other is not None else end + 1
    for line in _EACH.finditer(data, pos, end):
        if line[1] is None or line[1] in numbers:
            return line.start() + 1
    return end + 1
