"""A message that passes over POP3, annotated or looked at for the first time.

Rule of this file: the body of one RETR or TOP in pieces in, and out as the client gets it (RFC 1939 3: dot-stuffed, ended by a lone dot).
A message that nobody has seen is held from its start until it is known whether it is annotated, `MOST_HELD` octets at most; all others
stream.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final, Protocol

from portico.errors import PeerError
from portico.session.annotations.annotation import Annotation
from portico.session.annotations.judge import Judge
from portico.session.annotations.locate import Locator
from portico.session.annotations.outline import outline_of_message
from portico.session.annotations.splice import Splice
from portico.session.decisions import Decision, Record
from portico.wire.bodystructure import decoded
from portico.wire.mime import scan

MOST_HELD: Final = 256 * 1024
"""A calendar part that begins behind so many octets is not found."""
_END: Final = b".\r\n"


class Unstuffed:
    """Dot-stuffed pieces in, the message's own octets out."""

    __slots__ = ("_kept", "_line_start")

    def __init__(self) -> None:
        self._kept = b""  # the last octets may be the end of the body
        self._line_start = True

    def feed(self, piece: bytes, *, last: bool) -> bytes:
        data = self._kept + piece
        if last:
            data, self._kept = data.removesuffix(_END), b""
        else:
            data, self._kept = data[:-3], data[-3:]
        if not data:
            return b""
        if self._line_start and data[:1] == b".":
            data = data[1:]
            if not data:
                self._line_start = False
                return b""
        self._line_start = data[-1:] == b"\n"
        return data.replace(b"\n.", b"\n")


class Stuffed:
    """The other way round."""

    __slots__ = ("_line_start",)

    def __init__(self) -> None:
        self._line_start = True

    def feed(self, data: bytes) -> bytes:
        if not data:
            return b""
        out = data.replace(b"\n.", b"\n..")
        if self._line_start and data[:1] == b".":
            out = b"." + out
        self._line_start = data[-1:] == b"\n"
        return out

    def end(self) -> bytes:
        return _END if self._line_start else b"\r\n" + _END


class Passing(Protocol):
    """What becomes of a body."""

    @property
    def passes(self) -> bool:
        """Whether the rest goes out as it comes."""
        ...

    def feed(self, piece: bytes, *, last: bool) -> bytes: ...


class Annotated:
    """A message whose annotation is known and located. `lines`: of TOP, the lines of text that were asked for; -1: all."""

    __slots__ = ("_left", "_splice", "_stuffed", "_text", "_unstuffed")

    def __init__(self, made: Annotation, lines: int = -1) -> None:
        assert made.located is not None
        self._unstuffed = Unstuffed()
        self._stuffed = Stuffed()
        # The dot ends a message, not what the server told of its octets.
        self._splice = Splice(0, sys.maxsize, made.inserts(""))
        self._text = made.located.header if lines >= 0 else -1  # octets until the text begins
        self._left = lines

    @property
    def passes(self) -> bool:
        return False

    def feed(self, piece: bytes, *, last: bool) -> bytes:
        data = self._splice.feed(self._unstuffed.feed(piece, last=last))
        if last and self._left < 0:
            data += self._splice.finish()
        if self._text >= 0:
            data = self._top(data)
        out = self._stuffed.feed(data)
        return out + self._stuffed.end() if last else out

    def _top(self, data: bytes) -> bytes:
        """The header, and as many lines of the annotated text as were asked for (RFC 1939 7, TOP)."""
        header, text = data[: self._text], data[self._text :]
        self._text -= len(header)
        pos = 0
        while self._left > 0 and pos < len(text):
            end = text.find(b"\n", pos) + 1
            if not end:
                pos = len(text)
                break
            pos = end
            self._left -= 1
        return header + text[:pos]


class Examined:
    """A message that nobody has seen. `decided` is called once, with its annotation or None, and whether it was of interest at all; what it
    returns holds. `told`: the server's line before it, for a message that grows by so many octets."""

    __slots__ = ("_after", "_decided", "_held", "_judge", "_octets", "_out", "_parts", "_size", "_told", "_uid")

    def __init__(
        self,
        judge: Judge,
        uid: str,
        size: int,
        out: Callable[[], list[Decision]],
        decided: Callable[[Annotation | None, bool], Annotation | None],
        told: Callable[[int], bytes] = lambda _: b"",
    ) -> None:
        self._judge = judge
        self._uid = uid
        self._size = size
        self._out = out
        self._decided = decided
        self._told = told
        self._held: list[bytes] | None = []  # as it came; None: it has been decided
        self._octets = 0
        self._parts = False  # the header has come whole, and what it says of parts is of interest
        self._after: Annotated | None = None

    @property
    def passes(self) -> bool:
        return self._held is None and self._after is None

    def feed(self, piece: bytes, *, last: bool) -> bytes:
        if self._held is None:
            return self._after.feed(piece, last=last) if self._after is not None else piece
        self._held.append(piece)
        self._octets += len(piece)
        if not last and self._octets < MOST_HELD and self._may_be():
            return b""
        raw = self._held[0] if len(self._held) == 1 else b"".join(self._held)
        self._held = None
        made, interesting = self._annotation(raw, whole=last)
        made = self._decided(made, interesting)
        if made is None:
            return self._told(0) + raw
        self._after = Annotated(made)
        return self._told(made.octets) + self._after.feed(raw, last=last)

    def _may_be(self) -> bool:
        """Whether the header, as far as it is there, leaves it possible that somebody is interested."""
        if not self._parts:
            assert self._held is not None
            self._held = [b"".join(self._held)]
            end = self._held[0].find(b"\r\n\r\n")
            if end >= 0 and not self._of_interest(self._held[0], end):
                return False
            self._parts = end >= 0
        return True

    def _of_interest(self, raw: bytes, end: int) -> bool:
        return self._judge.single or _has_parts(raw, end)

    def _passed_over(self, text: str) -> None:
        self._out().append(Record("annotations.passed_over", {"mailbox": "INBOX", "uid": self._uid, "text": text}))

    def _annotation(self, raw: bytes, *, whole: bool) -> tuple[Annotation | None, bool]:
        # Dots that were doubled at the begin of lines hide neither the name of a type nor the end of the header.
        if not self._of_interest(raw, raw.find(b"\r\n\r\n")) or not self._judge.may_be_in(raw):
            return None, False
        message = Unstuffed().feed(raw, last=whole)
        try:
            scanner = scan(message)
            outline = outline_of_message(self._uid, self._size if self._size > 0 else len(message), scanner)
        except PeerError as error:
            self._passed_over(error.text)
            return None, True
        wishes = self._judge.wishes(outline, self._out())
        if wishes is None:
            return None, True
        encodings = {part.number: part.encoding for part in outline.structure.walk()}
        parts: dict[str, bytes] = {}
        for number in wishes.parts:
            place = scanner.places[number]
            if whole or place.end < len(message):  # one that is cut short is not read
                parts[number] = decoded(message[place.body : place.end], encodings[number])
        made = self._judge.annotation(wishes, parts, outline.size, self._out())
        if made is None:
            self._passed_over(wishes.reason)
            return None, True
        locator = Locator(made)
        locator.feed(message)
        located = locator.finish(ended=whole)
        if located is None or located.blank:
            self._passed_over(locator.trouble or "it carries a block already")
            return None, True
        return made.at(located), True


def _has_parts(message: bytes, end: int) -> bool:
    """Whether the header that ends at `end` (-1: it does not) may be that of a message with several parts."""
    return end < 0 or b"multipart/" in message[:end].lower()
