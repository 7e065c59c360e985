"""MIME: where the parts of a message are, told while it passes.

Rule of this file: a Scanner takes the octets of one message in any pieces and knows, at the first octet that tells it, where each part's
header and body begin and end. It holds a header that is not yet whole, a line that may be a delimiter, and the heads that were asked for;
never a body. The parts, their numbers and sizes are those that a server would tell in BODYSTRUCTURE. Where RFC 2046 leaves it open it is
as Dovecot and Cyrus read it: the first of two equal fields counts; a delimiter also ends a header; the longest boundary that fits is meant;
the line end of a close delimiter belongs to its multipart; a multipart without a boundary has no parts.

A line ends at LF, a CR before it belongs to the line end. Offsets are of the octets that were fed. Broken beyond what can be bounded
(`MOST_…`) is a PeerError, after which the Scanner is of no more use.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from portico.errors import PeerError
from portico.wire.bodystructure import OPAQUE, Envelope, Part
from portico.wire.fields import ABOUT, CONTENT, first_word, parse_content_type, parse_envelope_fields, parse_fields, parse_parameters
from portico.wire.words import decode_words, parameters, plain

KIB: Final = 1024
HEAD: Final = 16 * KIB
"""Octets of a part's body in which the place of an insertion is looked for."""
MOST_HEADER: Final = 256 * KIB
"""Octets of one header, of the message or of a part."""
MOST_NESTING: Final = 50
MOST_PARTS: Final = 1000
MOST_BOUNDARY: Final = 80
"""RFC 2046 5.1.1 allows 70."""
_MOST_KEPT: Final = 1024 * KIB
"""Octets of all content fields together."""
_WINDOW: Final = 2 + MOST_BOUNDARY + 2
"""Octets of a line that say whether it is a delimiter."""

_MESSAGES: Final = ("message/rfc822", "message/global")


@dataclass(slots=True)
class Place:
    """Where a part is. -1: not known yet."""

    header: int
    """First octet of its own header; of the whole message 0."""
    body: int = -1
    """First octet behind the empty line that ends the header."""
    end: int = -1
    """Behind its last octet; the line end before a delimiter belongs to the delimiter (RFC 2046 5.1.1), except behind a close delimiter."""


@dataclass(slots=True)
class _Open:
    """A part whose end has not come yet. Two for a message/rfc822: itself, and the message in it."""

    place: Place
    single: str
    """Its number if it is no multipart."""
    multiple: str
    """Its number if it is one."""
    prefix: str
    """Of the numbers of its parts, if it is a multipart."""
    around: Part | None
    """The multipart or message/rfc822 that it is in."""
    digest: bool = False
    boundary: bytes | None = None
    """Of a multipart whose close delimiter has not come."""
    part: Part | None = None
    """None: its header is being read."""
    line_ends: int = 0
    """In the message up to the begin of its body."""


class Scanner:
    """Reads one message. `heads`: numbers of parts of whose bodies the first `most` octets are kept."""

    __slots__ = (
        "_after",
        "_boundaries",
        "_buffer",
        "_count",
        "_done",
        "_envelope",
        "_fields",
        "_header_octets",
        "_heads",
        "_in_header",
        "_kept",
        "_last",
        "_line_ends",
        "_line_start",
        "_most",
        "_newline",
        "_open",
        "_pos",
        "_root",
        "_scanned",
        "_start",
        "places",
    )  # fmt: skip

    def __init__(self, heads: Collection[str] = (), most: int = HEAD) -> None:
        self.places: dict[str, Place] = {}
        """By part number, as the parts are found; ``""`` is the message, whose body is its text."""
        self._heads = {number: bytearray() for number in heads}
        self._most = most
        self._buffer = bytearray()
        self._start = 0  # offset of the buffer's first octet
        self._pos = 0  # in the buffer: what is before has been understood
        self._scanned = 0  # in the buffer: no line end between _pos and here
        self._last = 0  # the octet before the buffer
        self._newline = 0  # octets of the line end before _pos
        self._line_start = True
        self._line_ends = 0
        self._in_header = True
        self._after = ""  # "header" or "body": the rest of a delimiter line is passed over, then this comes
        self._fields: list[bytes] = []
        self._header_octets = 0
        self._kept = 0
        self._count = 0
        self._open: list[_Open] = []
        self._boundaries: tuple[bytes, ...] = ()
        self._root: Part | None = None
        self._envelope = Envelope()
        self._done = False
        self._begin_header(0, "1", "", "", None)

    @property
    def fed(self) -> int:
        """Octets fed so far."""
        return self._start + len(self._buffer)

    @property
    def envelope(self) -> Envelope:
        """Of the message itself; empty until its header has been read."""
        return self._envelope

    @property
    def structure(self) -> Part | None:
        """What the message is, as far as it has been read: types and encodings hold, sizes only when all has been. None: no header yet."""
        return self._root

    def head(self, number: str) -> bytes | None:
        """The first octets of the body of one of the `heads`, or all of them if there are fewer than `most`; None: not known yet."""
        place = self.places.get(number)
        if place is None or place.body < 0:
            return None
        # The line end before a delimiter is known to be one only with the delimiter.
        if place.end < 0 and self._start + self._pos < place.body + self._most + 2:
            return None
        return bytes(self._heads[number])

    def feed(self, data: bytes) -> None:
        """The next octets of the message. Raises PeerError."""
        begin = self.fed
        self._buffer += data
        self._advance(eof=False)
        self._keep_heads(begin, data)
        if self._pos:
            self._last = self._buffer[self._pos - 1]
            del self._buffer[: self._pos]
            self._start += self._pos
            self._scanned = max(0, self._scanned - self._pos)
            self._pos = 0

    def finish(self) -> Part:
        """The message has ended; what it is, with the sizes of its parts. Raises PeerError."""
        if not self._done:
            self._done = True
            self._advance(eof=True)
            end = self.fed
            while self._open:
                self._close(end, self._line_ends)
            self._keep_heads(end, b"")
        assert self._root is not None
        return self._root

    # -- the stream

    def _advance(self, *, eof: bool) -> None:
        more = True
        while more:
            if self._after:
                more = self._pass_over()
            elif self._in_header:
                more = self._header_lines(eof)
            else:
                more = self._body_lines(eof)

    def _pass_over(self) -> bool:
        """The rest of a delimiter line; True: it is behind us."""
        end = self._buffer.find(b"\n", self._pos) + 1
        if not end:
            self._pos = len(self._buffer)
            return False
        self._newline = _newline(self._buffer, end, self._last)
        self._pos = self._scanned = end
        self._line_ends += 1
        self._line_start = True
        if self._after == "header":
            self._begin_child(self._start + end)
        else:
            self._newline = 0
        self._after = ""
        return True

    def _header_lines(self, eof: bool) -> bool:
        """Lines up to the end of the header; True: it has ended."""
        buffer = self._buffer
        while True:
            pos = self._pos
            end = buffer.find(b"\n", max(pos, self._scanned)) + 1
            if self._header_octets + (end or len(buffer)) - pos > MOST_HEADER:
                raise PeerError("Header too large")
            if not end:
                if not eof:
                    self._scanned = len(buffer)
                    return False
                end = len(buffer)
                if end == pos:
                    self._end_header(self._start + pos)
                    return not self._at_end
            line = bytes(buffer[pos:end])
            if line.startswith(b"--") and line.startswith(self._boundaries, 2):
                place = self._open[-1].place
                at = max(place.header, self._start + pos - self._newline)
                meant = self._meant(line[:_WINDOW])
                self._end_header(at)
                self._delimiter(*meant)
                return True
            ended = line.endswith(b"\n")
            self._header_octets += len(line)
            self._line_ends += ended
            self._newline = 0 if not ended else 2 if line.endswith(b"\r\n") else 1
            self._pos = self._scanned = end
            if line in (b"\r\n", b"\n"):
                self._end_header(self._start + end)
                return True
            self._fields.append(line)

    @property
    def _at_end(self) -> bool:
        """All that was fed has been understood."""
        return self._pos >= len(self._buffer)

    def _body_lines(self, eof: bool) -> bool:
        """Octets of a body up to the next delimiter; True: one was found."""
        buffer, boundaries = self._buffer, self._boundaries
        size = len(buffer)
        pos = self._pos
        if not self._line_start:
            pos = self._next_dashes(pos, size)
        while self._line_start and boundaries:
            if size - pos < _WINDOW + 1 and not eof and buffer.find(b"\n", pos) < 0 and b"--".startswith(bytes(buffer[pos : pos + 2])):
                self._pos = pos
                return False  # the line is too short yet to be judged
            if buffer.startswith(b"--", pos) and buffer.startswith(boundaries, pos + 2):
                self._pos = pos
                end = buffer.find(b"\n", pos, pos + _WINDOW) + 1
                self._delimiter(*self._meant(bytes(buffer[pos : end or pos + _WINDOW])))
                return True
            if pos >= size:
                break
            pos = self._next_dashes(pos, size)
        if not boundaries:
            self._line_ends += buffer.count(b"\n", pos)
            pos = size
            self._line_start = False
        self._pos = pos
        return False

    def _next_dashes(self, pos: int, size: int) -> int:
        """The start of the next line that begins, or may begin, with ``--``; or the end of what there is."""
        buffer = self._buffer
        found = buffer.find(b"\n--", pos) + 1
        if not found:
            if buffer.endswith(b"\n", pos):
                found = size
            elif buffer.endswith(b"\n-", pos):
                found = size - 1
        self._line_start = bool(found)
        end = found or size
        self._line_ends += buffer.count(b"\n", pos, end)
        if found:
            self._newline = _newline(buffer, end, self._last)
        return end

    def _meant(self, line: bytes) -> tuple[int, bool]:
        """Of a line that begins with a boundary: the open multipart that it belongs to, and whether it closes it."""
        text = line[2:].removesuffix(b"\n").removesuffix(b"\r")
        best: tuple[int, bytes] | None = None
        for index in range(len(self._open) - 1, -1, -1):
            boundary = self._open[index].boundary
            if boundary is None or not text.startswith(boundary) or (best is not None and len(boundary) <= len(best[1])):
                continue
            best = index, boundary
            if text in (boundary, boundary + b"--"):
                break  # ``x--`` may be the end of "x" or the boundary "x--"
        assert best is not None
        return best[0], text.startswith(b"--", len(best[1]))

    def _delimiter(self, index: int, closes: bool) -> None:
        """The line at `_pos` is a delimiter of an open multipart: all parts in it end."""
        at = self._start + self._pos
        while len(self._open) > index + 1:
            place = self._open[-1].place
            if 0 <= place.body <= at - self._newline:
                self._close(at - self._newline, self._line_ends - (self._newline > 0))
            else:
                self._close(max(place.body, 0), self._open[-1].line_ends)
        if closes:
            self._open[index].boundary = None
            self._after = "body"
        else:
            self._after = "header"
        self._in_header = False
        self._line_start = False
        self._compile()

    def _keep_heads(self, begin: int, data: bytes) -> None:
        """`data`, whose first octet has the offset `begin`, may hold octets of the heads wanted."""
        for number, head in self._heads.items():
            place = self.places.get(number)
            if place is None or place.body < 0:
                continue
            first = max(place.body + len(head), begin)
            if len(head) < self._most and first == place.body + len(head):
                head += data[first - begin : place.body + self._most - begin]
            if place.end >= 0:
                del head[place.end - place.body :]

    # -- parts

    def _begin_header(self, at: int, single: str, multiple: str, prefix: str, around: Part | None, *, digest: bool = False) -> None:
        self._count += 1
        if self._count > MOST_PARTS:
            raise PeerError("Too many parts")
        if len(self._open) >= MOST_NESTING:
            raise PeerError("Parts nested too deep")
        self._open.append(_Open(Place(at), single, multiple, prefix, around, digest))
        self._fields = []
        self._header_octets = 0
        self._in_header = True

    def _begin_child(self, at: int) -> None:
        """The next part of the innermost open multipart."""
        parent = self._open[-1]
        assert parent.part is not None
        number = f"{parent.prefix}{len(parent.part.parts) + 1}"
        digest = parent.part.type == "multipart/digest"
        self._begin_header(at, number, number, number + ".", parent.part, digest=digest)

    def _end_header(self, at: int) -> None:
        """The header of the innermost part is known; its body begins at `at`."""
        opened = self._open[-1]
        fields = parse_fields(self._fields, CONTENT if self._root is not None else CONTENT | ABOUT)
        self._fields = []
        self._kept += sum(len(value) for name, value in fields.items() if name in CONTENT)
        if self._kept > _MOST_KEPT:
            raise PeerError("Header too large")
        kind, pairs = parse_content_type(fields.get(b"content-type"))
        boundary = dict(reversed([(key.lower(), value) for key, value in pairs])).get(b"boundary")
        told = parameters(pairs)
        if kind.startswith("multipart/"):
            boundary = boundary if boundary is not None else told.get("boundary", "").encode("utf-8")
            if len(boundary) > MOST_BOUNDARY:
                raise PeerError("Boundary too long")
        elif b"content-type" not in fields:
            kind = "message/rfc822" if opened.digest else "text/plain"
        multipart = kind.startswith("multipart/")
        if kind.startswith("text/"):
            told.setdefault("charset", "us-ascii")  # RFC 2045 5.2
        part = Part(opened.multiple if multipart else opened.single, kind or OPAQUE, told)
        if not multipart:
            part.encoding = first_word(fields.get(b"content-transfer-encoding", b"")) or "7bit"
            part.md5 = plain(fields.get(b"content-md5", b""))
            part.id = plain(fields.get(b"content-id", b""))
            part.description = decode_words(fields.get(b"content-description", b""))
        disposition, more = parse_parameters(fields.get(b"content-disposition", b""))
        part.disposition, part.disposition_parameters = disposition, parameters(more) if disposition else {}
        self._place(opened, part, at)
        if self._root is None:
            self._root = part
            self.places[""] = opened.place
            self._envelope = parse_envelope_fields(fields)
        elif opened.around is not None and opened.around.type in _MESSAGES:
            opened.around.message = part
        elif opened.around is not None:
            opened.around.parts.append(part)
        self._in_header = False
        self._line_start = True
        if multipart:
            opened.boundary = boundary or None
            self._compile()
        elif kind in _MESSAGES:
            below = part.number + "."
            self._begin_header(at, below + "1", below + "TEXT", below, part)

    def _place(self, opened: _Open, part: Part, at: int) -> None:
        opened.part = part
        opened.place.body = at
        opened.line_ends = self._line_ends
        self.places[part.number] = opened.place

    def _close(self, end: int, line_ends: int) -> None:
        """The innermost part ends at `end`, with so many line ends before it."""
        opened = self._open[-1]
        if opened.part is None:
            # Its header was being read: all that came of it is header.
            self._end_header(max(end, opened.place.header))
            if self._open[-1] is not opened:
                self._close(end, line_ends)
            opened = self._open[-1]
        part = opened.part
        assert part is not None
        opened.place.end = max(end, opened.place.body)
        if not part.type.startswith("multipart/"):
            part.octets = opened.place.end - opened.place.body
            if part.type.startswith("text/") or part.type in _MESSAGES:
                part.lines = max(0, line_ends - opened.line_ends)
        self._open.pop()

    def _compile(self) -> None:
        self._boundaries = tuple(opened.boundary for opened in self._open if opened.boundary is not None)


def scan(message: bytes) -> Scanner:
    """A Scanner that has read a whole message. Raises PeerError."""
    scanner = Scanner()
    scanner.feed(message)
    scanner.finish()
    return scanner


def _newline(buffer: bytearray, end: int, before: int) -> int:
    """Octets of the line end that ends at `end`; `before` is the octet before the buffer."""
    return 2 if (buffer[end - 2] if end > 1 else before) == 0x0D else 1
