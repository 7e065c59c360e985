"""One FETCH response, turned into the one that a client of the annotated message gets.

Rule of this file: pieces of one response in, octets out, at once where they are known; held is only text up to the next literal of a body.
What cannot be understood passes as it came, and `trouble` says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from portico.errors import PeerError
from portico.session.annotations.annotation import Annotation
from portico.session.annotations.splice import Insert, Range, Splice
from portico.wire.bodystructure import rewrite as rewrite_structure
from portico.wire.imap import fetch_items, unquoted

Section = tuple[str, str]
"""Name and section in upper case, as a response has them: ``("BODY", "1.2")``, ``("BINARY", "1")``."""

_HEAD: Final = re.compile(rb"\* \d{1,10} FETCH +\(", re.IGNORECASE)
_NAME: Final = rb"(BODY|BINARY)\[([^\]]*)\](?:<(\d{1,19})>)?|RFC822(?:\.TEXT)?"
_BODY: Final = re.compile(rb"(?:\A|(?<=[ (]))(?:%b)" % _NAME, re.IGNORECASE)
_BODY_LITERAL: Final = re.compile(rb"(?:\A|(?<=[ (]))((?:%b) +)(~?)\{(\d{1,19})\+?\}\r?\n\Z" % _NAME, re.IGNORECASE)
_UID: Final = re.compile(rb"[ (]UID (\d{1,10})[ )]", re.IGNORECASE)
LITERAL: Final = re.compile(rb"\{(\d{1,19})\+?\}\r?\n\Z")


class FetchRewriter:
    """`line` and `literal` in the order of the response, until it is `done`.

    `ranges`: what the client asked of sections of which the server was asked for another range. `annotation` None: the message is not
    annotated, and only the ranges are cut.
    """

    __slots__ = (
        "_annotation", "_left", "_limit", "_ranges", "_raw", "_splice", "_text", "_through", "done", "inserted", "owed", "told", "trouble",
        "uid",
    )  # fmt: skip

    def __init__(
        self,
        annotation: Annotation | None,
        ranges: Mapping[Section, Range],
        limit: int,
        told: Callable[[int, int], int] | None = None,
    ) -> None:
        self._annotation = annotation
        self._ranges = ranges
        self._limit = limit
        self.told = told
        """UID and true size to the size that is told (session.sizes)."""
        self.uid: int | None = None
        """Once it has been told, where sizes are."""
        self.owed: int | None = None
        """The true size, cut out of the response because its UID had not come."""
        self._text = bytearray()  # not given out yet: it may hold a literal that belongs to a structure
        self._splice: Splice | None = None
        self._through = False  # the literal now coming is a body that nobody changes
        self._raw = annotation is None and not ranges and told is None  # everything passes
        self._left = 0  # octets of a literal still to come
        self.done = False
        """The last line has been seen."""
        self.trouble = ""
        """Why the response is not what the annotation promised; empty: it is."""
        self.inserted = False
        """A body has been asked for into which something is inserted."""

    def line(self, data: bytes) -> bytes:
        """A line of the response, or its next one behind a literal, with its line end."""
        found = LITERAL.search(data, max(0, len(data) - 32))
        self._left = int(found[1]) if found is not None else 0
        self.done = found is None
        if self._raw:
            return data
        self._text += data
        if found is not None:
            tail = bytes(self._text[-4096:])
            announced = _BODY_LITERAL.search(tail)
            if announced is None:
                self._through = False
                return self.give_up() if len(self._text) > self._limit else b""
            before = bytes(self._text[: len(self._text) - len(tail) + announced.start()])
            self._text.clear()
            return self._items(before) + self._announce(announced)
        text = bytes(self._text)
        self._text.clear()
        return self._items(text)

    def literal(self, data: bytes) -> bytes:
        """A piece of the literal that the last line announced."""
        if self._left <= 0 and not self._raw:
            return self.give_up() + data
        self._left -= len(data)
        if self._raw or self._through:
            return data
        if self._splice is not None:
            out = self._splice.feed(data)
            if not self._left:
                out += self._splice.finish()
                self._splice = None
            return out
        self._text += data
        return self.give_up() if len(self._text) > self._limit else b""

    @property
    def passes(self) -> bool:
        """Whether all that is left of the literal now coming goes out as it comes."""
        return self._raw or self._through or (self._splice is not None and self._splice.passes)

    def skip(self) -> None:
        """All that was left of it has gone another way."""
        self._left = 0
        self._splice = None

    def give_up(self) -> bytes:
        """Let the rest of the response pass as it comes; what was held of it."""
        self.trouble = "too large"
        self._raw = True
        text, self._text = bytes(self._text), bytearray()
        if self.told is not None and self.uid is None and (found := _UID.search(text, 0, 1024)) is not None:
            self.uid = int(found[1])
        return text

    # -- bodies

    def _announce(self, found: re.Match[bytes]) -> bytes:
        """The announcement of a body's literal, with the octets that the client will get."""
        size = int(found[6])
        splice, section = self._splice_of(found[1], found, 2, size)
        if splice is None:
            self._through = True
            return found[0]
        self._through = False
        head = b"%b %b{%d}\r\n" % (section, found[5], splice.count)
        if size:
            self._splice = splice
            return head
        return head + splice.finish()

    def _splice_of(self, name: bytes, found: re.Match[bytes], group: int, size: int) -> tuple[Splice | None, bytes]:
        """How the body that `found` names is changed (None: not at all), and what it is called in the response."""
        annotation = self._annotation
        kind = (found[group] or b"").decode("latin-1").upper()
        section = (found[group + 1] or b"").decode("latin-1").upper()
        if not kind:
            kind, section = "BODY", "TEXT" if name.strip().upper() == b"RFC822.TEXT" else ""
        begin = int(found[group + 2] or 0)
        # The same section may be asked for whole beside a range of it.
        wanted = self._ranges.get((kind, section)) if found[group + 2] is not None else None
        inserts: list[Insert] = []
        if annotation is not None and (annotation.touches(section) if kind == "BODY" else annotation.decoded_growth(section)):
            if annotation.located is None:
                self.trouble = "not located"
                return None, b""
            inserts = annotation.inserts(section) if kind == "BODY" else annotation.decoded_inserts(section)
            if (kind, section) == ("BODY", "") and found[group + 2] is None and size != annotation.size:
                self.trouble = f"{size} octets in place of {annotation.size}"
        if wanted is None and (not inserts or found[group + 2] is not None):
            return None, b""
        self.inserted |= bool(inserts)
        if wanted is None:
            return Splice(begin, size, inserts), name.strip()
        renamed = name.strip()
        brace = renamed.rfind(b"<")
        if brace >= 0:
            renamed = renamed[:brace] + b"<%d>" % wanted.start
        return Splice(begin, size, inserts, wanted), renamed

    # -- everything else

    def _items(self, text: bytes) -> bytes:
        """Whole items, with other numbers where the message is annotated."""
        head = _HEAD.match(text)
        try:
            items, _ = fetch_items(text, head.end() if head is not None else 0)
        except PeerError:
            if self._annotation is not None:
                self.trouble = "not understood"
            return text
        if self.told is not None:
            self._heard_uid(items, text)
        made: list[bytes] = []
        pos = 0
        for name, start, end in items:
            value = self._value(name, text[start:end])
            if name == "RFC822.SIZE" and self.told is not None and (size := value or text[start:end]).isdigit() and len(size) < 20:
                if self.uid is None:
                    begin = text.upper().rindex(b"RFC822.SIZE", pos, start)
                    first = text[begin - 1 : begin] == b"("
                    made.append(text[pos : begin if first else max(pos, begin - 1)])
                    pos = end + (first and text[end : end + 1] == b" ")
                    self.owed = int(size)
                    continue
                value = b"%d" % self.told(self.uid, int(size))
            if value is not None:
                where = start
                if (renamed := self._renamed(name)) is not None:
                    where = text.rindex(b"[", pos, start) - len(name.partition("[")[0])
                    value = renamed + b" " + value
                made += [text[pos:where], value]
                pos = end
        return b"".join([*made, text[pos:]])

    def _heard_uid(self, items: list[tuple[str, int, int]], text: bytes) -> None:
        for name, start, end in items:
            if name == "UID" and end - start <= 10 and text[start:end].isdigit():
                self.uid = int(text[start:end])

    def _renamed(self, name: str) -> bytes | None:
        """The name of a body of which another range was asked than the client did."""
        found = _BODY.fullmatch(name.encode("latin-1"))
        if found is None or found[1] is None or found[3] is None:
            return None
        wanted = self._ranges.get((found[1].decode().upper(), found[2].decode("latin-1").upper()))
        return None if wanted is None else b"%b[%b]<%d>" % (found[1], found[2], wanted.start)

    def _value(self, name: str, value: bytes) -> bytes | None:
        """Another value for an item; None: it stays."""
        body = _BODY.fullmatch(name.encode("latin-1"))
        if body is not None:
            return self._string(name, body, value)
        annotation = self._annotation
        if annotation is None:
            return None
        if name == "RFC822.SIZE" and value.isdigit() and len(value) < 20:
            if int(value) != annotation.size:
                self.trouble = f"RFC822.SIZE {int(value)} in place of {annotation.size}"
            return b"%d" % (int(value) + annotation.octets)
        if name in ("BODYSTRUCTURE", "BODY"):
            try:
                return rewrite_structure(value, annotation.growth)
            except PeerError:
                self.trouble = f"{name} not understood"
                return None
        if name.startswith("BINARY.SIZE[") and value.isdigit():
            growth = annotation.decoded_growth(name[12:-1])
            return b"%d" % (int(value) + growth) if growth else None
        return None

    def _string(self, name: str, body: re.Match[bytes], value: bytes) -> bytes | None:
        """A body that came as a quoted string; NIL stays."""
        octets = unquoted(value)
        if octets is None:
            return None
        splice, _ = self._splice_of(name.encode("latin-1"), body, 1, len(octets))
        if splice is None:
            return None
        out = splice.feed(octets) + splice.finish()
        return b"{%d}\r\n%b" % (len(out), out)


def rewrite_whole(rewriter: FetchRewriter, raw: bytes) -> bytes:
    """A whole response, through its rewriter."""
    out: list[bytes] = []
    pos = 0
    while pos < len(raw):
        end = raw.find(b"\n", pos) + 1 or len(raw)
        out.append(rewriter.line(raw[pos:end]))
        found = LITERAL.search(raw, max(pos, end - 32), end)
        pos = end
        if found is not None and (count := int(found[1])):
            out.append(rewriter.literal(raw[pos : pos + count]))
            pos += count
    return b"".join(out)
