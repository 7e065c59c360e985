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

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from portico.errors import PeerError
from portico.wire.bodystructure import OPAQUE, Envelope, Part
from portico.wire.words import MOST, decode_words, parameters, plain

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

_CONTENT: Final = frozenset(
    [b"content-type", b"content-transfer-encoding", b"content-disposition", b"content-md5", b"content-id", b"content-description"]
)
_ABOUT: Final = frozenset([b"subject", b"message-id", b"date", b"from", b"in-reply-to"])
_TOKEN: Final = re.compile(rb"[^\s;()\"/=,<>@:\\\[\]?]+")
_BARE: Final = re.compile(rb"[^\s;(\"]+")
_NAME: Final = re.compile(rb"[^\s;()\"=]+")
_QUOTED: Final = re.compile(rb'"((?:[^"\\]++|\\.)*+)(?:"|\\?\Z)', re.DOTALL)
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
_SPACE: Final = re.compile(rb"\s*+")
_COMMENT_OCTET: Final = re.compile(rb"[()\\]")
_AUTHOR: Final = re.compile(
    r'\s*+(?:(?:"(?P<quoted>(?:[^"\\]++|\\.)*+)"\s*+|(?P<phrase>[^<,"]*+))<(?P<address>[^<>]*+)>|(?P<bare>[^\s(,<"]++)\s*+(?:\((?P<comment>[^()]*+)\))?)'
)
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
        fields = _fields(self._fields, _CONTENT if self._root is not None else _CONTENT | _ABOUT)
        self._fields = []
        self._kept += sum(len(value) for name, value in fields.items() if name in _CONTENT)
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
            part.encoding = _first_word(fields.get(b"content-transfer-encoding", b"")) or "7bit"
            part.md5 = plain(fields.get(b"content-md5", b""))
            part.id = plain(fields.get(b"content-id", b""))
            part.description = decode_words(fields.get(b"content-description", b""))
        disposition, more = parse_parameters(fields.get(b"content-disposition", b""))
        part.disposition, part.disposition_parameters = disposition, parameters(more) if disposition else {}
        self._place(opened, part, at)
        if self._root is None:
            self._root = part
            self.places[""] = opened.place
            self._envelope = _envelope(fields)
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


def parse_content_type(value: bytes | None) -> tuple[str, list[tuple[bytes, bytes]]]:
    """Type and parameters of a Content-Type (RFC 2045 5.1), unfolded or not; the type is empty where there is none that makes sense."""
    if value is None:
        return "", []
    pos = _skip(value, 0)
    main = _TOKEN.match(value, pos)
    pos = _skip(value, main.end() if main is not None else pos)
    if main is None or value[pos : pos + 1] != b"/":
        return "", []
    pos = _skip(value, pos + 1)
    sub = _TOKEN.match(value, pos)
    if sub is None or value[sub.end() : sub.end() + 1].strip() not in (b"", b";", b"("):
        return "", []
    return plain(main[0] + b"/" + sub[0]).lower(), _parameters(value, sub.end())


def parse_parameters(value: bytes) -> tuple[str, list[tuple[bytes, bytes]]]:
    """A word and its parameters, as in Content-Disposition (RFC 2183 2)."""
    pos = _skip(value, 0)
    word = _TOKEN.match(value, pos)
    return (plain(word[0]).lower(), _parameters(value, word.end())) if word is not None else ("", [])


def _parameters(value: bytes, pos: int) -> list[tuple[bytes, bytes]]:
    """``; name=value`` as often as it comes; what is not understood is passed over up to the next semicolon."""
    found: list[tuple[bytes, bytes]] = []
    while True:
        pos = value.find(b";", _skip(value, pos)) + 1
        if not pos:
            return found
        name = _NAME.match(value, _skip(value, pos))
        if name is None:
            continue
        pos = _skip(value, name.end())
        if value[pos : pos + 1] != b"=":
            continue
        pos = _skip(value, pos + 1)
        quoted = _QUOTED.match(value, pos)
        bare = _BARE.match(value, pos) if quoted is None else None
        if quoted is not None:
            found.append((name[0], _ESCAPED.sub(rb"\1", quoted[1].replace(b"\r\n", b"").replace(b"\n", b""))))
            pos = quoted.end()
        elif bare is not None:
            found.append((name[0], bare[0]))
            pos = bare.end()


def _skip(value: bytes, pos: int) -> int:
    """Behind white space and comments (RFC 2045 5.1, RFC 5322 3.2.2)."""
    while True:
        match = _SPACE.match(value, pos)
        pos = match.end() if match is not None else pos
        if value[pos : pos + 1] != b"(":
            return pos
        depth = 0
        while True:
            octet = _COMMENT_OCTET.search(value, pos)
            if octet is None:
                return len(value)
            pos = octet.end()
            if octet[0] == b"\\":
                pos += 1
            else:
                depth += 1 if octet[0] == b"(" else -1
            if depth == 0:
                break


def _first_word(value: bytes) -> str:
    word = re.match(rb"[^\s;(]+", value[_skip(value, 0) :])
    return plain(word[0]).lower() if word is not None else ""


def _newline(buffer: bytearray, end: int, before: int) -> int:
    """Octets of the line end that ends at `end`; `before` is the octet before the buffer."""
    return 2 if (buffer[end - 2] if end > 1 else before) == 0x0D else 1


def _fields(lines: Iterable[bytes], wanted: frozenset[bytes]) -> dict[bytes, bytes]:
    """The wanted fields of a header by lower-case name, as they stand behind the colon; of two of a name the first. Raises PeerError for
    a content field that is too long; others are cut."""
    found: dict[bytes, bytes] = {}
    name, value, octets = b"", [b""], 0

    def take() -> None:
        if name in wanted and name not in found:
            found[name] = b"".join(line.rstrip(b"\r\n") for line in value).strip()  # RFC 5322 2.2.3: unfolded

    for line in lines:
        if line[:1] in b" \t":
            if name not in wanted:
                continue
        else:
            take()
            name, colon, line = line.partition(b":")
            name = name.strip().lower() if colon else b""
            value, octets = [], 0
        octets += len(line)
        if octets <= MOST:
            value.append(line)
        elif name in _CONTENT:
            raise PeerError("Header too large")
    take()
    return found


def _envelope(fields: dict[bytes, bytes]) -> Envelope:
    """As the server would tell it in ENVELOPE."""
    return Envelope(
        subject=decode_words(fields.get(b"subject", b"")),
        message_id=plain(fields.get(b"message-id", b"")),
        date=plain(fields.get(b"date", b"")),
        sender=_sender(fields.get(b"from", b"")),
        in_reply_to=plain(fields.get(b"in-reply-to", b"")),
    )


def _sender(value: bytes) -> str:
    """The first author of a From field, as `Envelope.sender` has it."""
    text = plain(value)
    match = _AUTHOR.match(text)
    if match is None:
        return ""
    name = (match["quoted"] or "").replace("\\", "") or match["phrase"] or match["comment"] or ""
    address = "".join((match["address"] or match["bare"] or "").split())
    name = decode_words(name.encode("utf-8"))
    return f"{name} <{address}>" if name and address else address or name
