"""Lines and literals: cut before anything is parsed.

Rule of this file: a Reader takes bytes in any pieces and gives whole lines and pieces of literals, one
when asked and never more, so that whoever takes over the stream (TLS, a tunnel, another
command) gets exactly what nobody has read. It knows two facts about IMAP: a line may end in
the announcement of a literal, and a literal is counted octets (RFC 9051 4.3). POP3 uses it
with literals switched off.

A line ends at LF; a CR before it belongs to the line end (bare LF is taken as servers take it). A
bare CR ends nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from portico.errors import PeerError

_LITERAL: Final = re.compile(rb"\{(\d+)(\+?)\}\r?\n\Z")
_MOST_DIGITS: Final = 19
"""Of a count without leading zeros: RFC 9051 9, number64. Servers take any number of zeros before it, and so do we."""
_BALANCED: Final = re.compile(rb'(?:[^"]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_STATUS: Final = re.compile(rb"(?:\+|(?:\* |[^ *+(\r\n]{1,128} )(?:OK|NO|BAD|BYE|PREAUTH)\b)", re.IGNORECASE)


@dataclass(slots=True)
class Line:
    """One physical line with its line end. `literal` is the count it announces, or -1."""

    data: bytes
    literal: int = -1
    sync: bool = False
    """The literal is a synchronising one: the sender waits for ``+`` (RFC 9051 4.3; not with RFC 7888's ``{n+}``)."""

    @property
    def text(self) -> bytes:
        """The line without its line end."""
        data = self.data
        return data[:-2] if data.endswith(b"\r\n") else data[:-1]


@dataclass(slots=True)
class Literal:
    """A piece of a literal, never empty; `left` octets of it are still to come."""

    data: bytes
    left: int


class Reader:
    """Pulls lines and literals out of a stream.

    `literals` False: lines only (POP3, continuation lines of AUTHENTICATE, DONE). `responses` True: the stream comes
    from a server, where status responses end in free text and announce no literal.
    """

    __slots__ = ("_buffer", "_left", "_pos", "_scan", "literals", "max_line", "max_literal", "refused", "responses")

    def __init__(self, max_line: int, max_literal: int, *, literals: bool = True, responses: bool = False) -> None:
        self._buffer = b""
        self._pos = 0
        self._scan = 0
        self._left = 0
        self.max_line = max_line
        self.max_literal = max_literal
        self.literals = literals
        self.responses = responses
        self.refused = b""
        """The line whose literal was refused as TOOBIG: it has the tag to answer to."""

    def feed(self, data: bytes) -> None:
        """Add what came in."""
        if self._pos >= len(self._buffer):
            self._buffer, self._scan = data, 0
        else:
            self._buffer = self._buffer[self._pos :] + data
            self._scan -= self._pos
        self._pos = 0

    @property
    def held(self) -> int:
        """Octets fed and not yet read."""
        return len(self._buffer) - self._pos

    @property
    def in_literal(self) -> bool:
        """Octets of an announced literal are still to come."""
        return self._left > 0

    @property
    def at_line_start(self) -> bool:
        """Nothing is open: no literal, no started line."""
        return self._left == 0 and self._pos >= len(self._buffer)

    def next(self) -> Line | Literal | None:
        """The next line or piece of a literal; None: more has to be fed first.

        Raises PeerError (fatal) for a line longer than `max_line`, and PeerError TOOBIG (not fatal for
        a synchronising literal, of which nothing was sent yet) for a literal above `max_literal`.
        An empty literal ``{0}`` gives no Literal: the next thing read is the rest of the line.
        """
        buffer, pos = self._buffer, self._pos
        if self._left:
            if pos >= len(buffer):
                return None
            end = pos + self._left
            data = buffer[pos:end] if pos or end < len(buffer) else buffer
            self._left -= len(data)
            self._pos = self._scan = pos + len(data)
            return Literal(data, self._left)
        end = buffer.find(b"\n", max(pos, self._scan)) + 1
        if not end:
            if len(buffer) - pos > self.max_line:
                raise PeerError("Line too long", fatal=True)
            self._scan = len(buffer)
            return None
        if end - pos > self.max_line:
            raise PeerError("Line too long", fatal=True)
        data = buffer[pos:end]
        self._pos = self._scan = end
        line = Line(data)
        if self.literals and (data.endswith((b"}\r\n", b"}\n"))):
            self._announce(line)
        return line

    def _announce(self, line: Line) -> None:
        match = _LITERAL.search(line.data)
        if match is None or (self.responses and _STATUS.match(line.data)):
            return
        if _in_quotes(line.data, match.start()):
            return  # an unclosed quoted string: the server calls it BAD at this line end, and so do we
        digits = match[1].lstrip(b"0")
        count = int(digits or b"0") if len(digits) <= _MOST_DIGITS else self.max_literal + 1
        line.sync = not self.responses and not match[2]
        if count > self.max_literal:
            self.refused = line.data
            raise PeerError("Literal too large", fatal=not line.sync, code="TOOBIG")  # RFC 7888 4
        line.literal = self._left = count

    def refuse_literal(self) -> None:
        """The announced synchronising literal will not be asked for: the next octets are a new line."""
        self._left = 0

    def put_back(self, line: Line) -> None:
        """The line last read was not for whoever read it: it is the next one again, and may then be read otherwise."""
        self._buffer = line.data + self._buffer[self._pos :]
        self._pos = self._scan = 0

    def take_rest(self) -> bytes:
        """All that was fed and not read; the Reader is empty afterwards."""
        rest = self._buffer[self._pos :]
        self._buffer, self._pos, self._scan = b"", 0, 0
        return rest


def count_whole(data: bytes, *, responses: bool = False) -> int:
    """How many commands or responses `data` is, each ending with CRLF; 0: not whole ones, or a line or literal is open at the end."""
    reader = Reader(len(data), len(data), responses=responses)
    reader.feed(data)
    count, whole = 0, False
    try:
        while (piece := reader.next()) is not None:
            whole = isinstance(piece, Line) and piece.literal < 0
            if whole and not piece.data.endswith(b"\r\n"):
                return 0
            count += whole
    except PeerError:
        return 0
    return count if whole and reader.at_line_start else 0


def _in_quotes(data: bytes, end: int) -> bool:
    """Whether position `end` lies in a quoted string that began in this line (RFC 9051 4.3, quoted)."""
    return b'"' in data and _BALANCED.fullmatch(data, 0, end) is None
