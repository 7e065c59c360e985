"""A message that is held whole, told as a server tells it: ENVELOPE, BODYSTRUCTURE, BODY and every section (RFC 9051 6.4.5, 7.5.2).

Rule of this file: pure functions of the message's octets. Where its parts are is what `wire.mime` says; all that is told of them follows
from that, so that no two answers can contradict each other. Values of fields are told as they stand in the header, unfolded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from portico.errors import PeerError
from portico.wire.addresses import Address, parse_addresses
from portico.wire.bodystructure import Part, decoded
from portico.wire.fields import first_word, parse_content_type, parse_parameters
from portico.wire.imap import parse_arguments, quote
from portico.wire.mime import Scanner, scan

_SECTION: Final = re.compile(
    r"(?P<part>[1-9]\d{0,9}(?:\.[1-9]\d{0,9})*)?"
    r"(?:(?:\A|(?<=\d)\.)(?:(?P<what>HEADER|TEXT|MIME)|HEADER\.FIELDS(?P<but>\.NOT)? +(?P<names>\(.*\))))?",
    re.DOTALL,
)
_FIELD: Final = re.compile(rb"([\x21-\x39\x3b-\x7e]+)[ \t]*:")
_FOLD: Final = re.compile(rb"\r\n[ \t]?")
_ATOM: Final = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\\]]+\Z")
_CHARSET: Final = re.compile(rb"charset(?:\*\d*\*?)?", re.IGNORECASE)
_MESSAGES: Final = ("message/rfc822", "message/global")
_ENCODINGS: Final = ("7bit", "8bit", "binary", "quoted-printable", "base64")


class Section(NamedTuple):
    """What stands in the brackets of BODY, understood."""

    part: str
    """``1.2``; empty: the message itself."""
    what: str
    """HEADER, TEXT, MIME, HEADER.FIELDS, HEADER.FIELDS.NOT, or empty."""
    names: tuple[bytes, ...] = ()
    """Of header fields, upper case."""

    @property
    def written(self) -> bytes:
        """As it stands in a response."""
        names = b" ".join(name if _ATOM.match(name) else quote(name) or b'""' for name in self.names)
        words = ".".join(filter(None, (self.part, self.what))).encode("ascii")
        return words + (b" (%b)" % names if self.names else b"")


def parse_section(text: str) -> Section:
    """From what stands in brackets, upper case. Raises PeerError."""
    found = _SECTION.fullmatch(text)
    if found is None or (found["what"] == "MIME" and not found["part"]):
        raise PeerError("Invalid section")
    part = found["part"] or ""
    if found["names"] is None:
        return Section(part, found["what"] or "")
    lists = parse_arguments(found["names"].encode("latin-1", "replace"))
    names = lists[0] if len(lists) == 1 else None
    if not isinstance(names, list) or not names or not all(isinstance(name, bytes) and name and name.isascii() for name in names):
        raise PeerError("Invalid section")
    return Section(part, "HEADER.FIELDS" + (found["but"] or ""), tuple(name for name in names if isinstance(name, bytes)))


def trouble_with(message: bytes) -> str:
    """Why octets are no message that could be shown; empty: they are one. Lines end in CRLF, the last one too (RFC 5322 2.3)."""
    lines = message.replace(b"\r\n", b"")
    if b"\r" in lines or b"\n" in lines or b"\0" in lines:
        return "a bare CR or LF, or NUL"
    if not message.endswith(b"\r\n"):
        return "no line end behind the last line"
    if _FIELD.match(message) is None or (b"\r\n\r\n" not in message):
        return "no header, or no empty line behind it"
    try:
        scan(message)
    except PeerError as error:
        return error.text
    return ""


class Message:
    """A whole message, parsed once. Raises PeerError for one that cannot be."""

    __slots__ = ("_message", "_parts", "_root", "_scanner")

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._scanner: Scanner = scan(message)
        self._root = self._scanner.finish()
        self._parts = {part.number: part for part in _all(self._root)}

    def __len__(self) -> int:
        return len(self._message)

    @property
    def top(self) -> int:
        """Octets of the header, the empty line included."""
        return self._scanner.places[""].body

    # -- sections

    def section(self, section: Section) -> bytes:
        """The octets of a section; empty where the message has no such part, as on Dovecot."""
        part, what = section.part, section.what
        if what == "MIME":
            return self._header(part) if part in self._parts else b""
        if what == "":
            return self._message if part == "" else self._body(part)
        inner = self._message_in(part)
        if inner is None:
            return b""
        if what == "TEXT":
            return self._body(inner)
        header = self._header(inner)
        return header if what == "HEADER" else _chosen(header, section.names, but=what == "HEADER.FIELDS.NOT")

    def binary(self, part: str) -> bytes:
        """A part without its transfer encoding (RFC 3516 4.2). The message, multiparts and messages in it are as they are. Raises PeerError
        with UNKNOWN-CTE."""
        if part == "":
            return self._message
        octets = self._body(part)
        found = self._parts.get(part)
        if found is None or found.encoding == "" or found.type in _MESSAGES:
            return octets
        if found.encoding not in _ENCODINGS:
            raise PeerError("Unknown transfer encoding", code="UNKNOWN-CTE")
        return decoded(octets, found.encoding)

    def _message_in(self, part: str) -> str | None:
        """The number under which the scanner has the message that `part` is: the whole one, or the one in a message/rfc822."""
        if part == "":
            return ""
        found = self._parts.get(part)
        return found.message.number if found is not None and found.message is not None else None

    def _header(self, number: str) -> bytes:
        place = self._scanner.places[number]
        return self._message[place.header : place.body]

    def _body(self, number: str) -> bytes:
        place = self._scanner.places.get(number)
        return self._message[place.body : place.end] if place is not None else b""

    # -- what is told of it

    def envelope(self) -> bytes:
        """The value of ENVELOPE."""
        return _envelope(fields_of(self._header("")))

    def structure(self, *, extended: bool) -> bytes:
        """The value of BODYSTRUCTURE, or of BODY without the extension data."""
        return self._told(self._root, extended)

    def _told(self, part: Part, extended: bool) -> bytes:
        fields = fields_of(self._header(part.number))
        kind, pairs = parse_content_type(fields.get(b"content-type"))
        main, _, sub = part.type.encode().partition(b"/")
        if kind != part.type:
            pairs = []
        if part.type.startswith("multipart/"):
            children = b"".join(self._told(each, extended) for each in part.parts) or _empty_part(extended)
            more = b" %b%b" % (_pairs(pairs), _extension(fields)) if extended else b""
            return b"(%b %b%b)" % (children, _string(sub), more)
        if main == b"text" and not any(_CHARSET.fullmatch(name) for name, _ in pairs):
            pairs = [*pairs, (b"charset", b"us-ascii")]  # RFC 2045 5.2
        encoding = first_word(fields.get(b"content-transfer-encoding", b"")).encode() or b"7bit"
        words = [_string(main), _string(sub), _pairs(pairs), _nstring(fields.get(b"content-id"))]
        words += [_nstring(fields.get(b"content-description")), _string(encoding), b"%d" % max(part.octets, 0)]
        if part.message is not None:
            words += [_envelope(fields_of(self._header(part.message.number))), self._told(part.message, extended)]
        if part.lines >= 0:
            words.append(b"%d" % part.lines)
        if extended:
            words.append(_nstring(fields.get(b"content-md5")))
        return b"(%b%b)" % (b" ".join(words), _extension(fields) if extended else b"")


def _all(part: Part) -> Iterator[Part]:
    """A part and all in it, in messages too."""
    waiting = [part]
    while waiting:
        found = waiting.pop()
        yield found
        waiting.extend(found.parts)
        if found.message is not None:
            waiting.append(found.message)


# -- header fields


def _raw_fields(header: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each field with its name in upper case, octet for octet; a line that is none has no name."""
    name, field = b"", b""
    for line in header.removesuffix(b"\r\n").splitlines(keepends=True):
        if line[:1] in (b" ", b"\t") and field:
            field += line
            continue
        if field:
            yield name, field
        found = _FIELD.match(line)
        name, field = (found[1].upper() if found is not None else b""), line
    if field:
        yield name, field


def fields_of(header: bytes) -> dict[bytes, bytes]:
    """The fields of a header by lower-case name, unfolded (RFC 5322 2.2.3); of two of a name the first."""
    found: dict[bytes, bytes] = {}
    for name, field in _raw_fields(header):
        found.setdefault(name.lower(), _FOLD.sub(b" ", field.partition(b":")[2]).strip())
    return found


def _chosen(header: bytes, names: tuple[bytes, ...], *, but: bool) -> bytes:
    """The fields that are named, or all others, and the empty line."""
    wanted = frozenset(name.upper() for name in names)
    return b"".join(field for name, field in _raw_fields(header) if (name in wanted) != but) + b"\r\n"


# -- values


def _string(octets: bytes) -> bytes:
    return quote(octets) or b"{%d}\r\n%b" % (len(octets), octets)


def _nstring(octets: bytes | None) -> bytes:
    return b"NIL" if octets is None else _string(octets)


def _pairs(pairs: list[tuple[bytes, bytes]]) -> bytes:
    return b"(%b)" % b" ".join(_string(word) for pair in pairs for word in pair) if pairs else b"NIL"


def _extension(fields: dict[bytes, bytes]) -> bytes:
    """Disposition, language, location."""
    word, pairs = parse_parameters(fields.get(b"content-disposition", b""))
    disposition = b"(%b %b)" % (_string(word.encode()), _pairs(pairs)) if word else b"NIL"
    languages = [language.strip() for language in fields.get(b"content-language", b"").split(b",") if language.strip()]
    language = b"(%b)" % b" ".join(map(_string, languages)) if languages else b"NIL"
    return b" %b %b %b" % (disposition, language, _nstring(fields.get(b"content-location")))


def _empty_part(extended: bool) -> bytes:
    return b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0%b)' % (b" NIL NIL NIL NIL" if extended else b"")


def _envelope(fields: dict[bytes, bytes]) -> bytes:
    """RFC 9051 7.5.2: where there is no Sender or Reply-To, From is told in its place."""
    author = _addresses(fields.get(b"from"))
    told = [_nstring(fields.get(b"date")), _nstring(fields.get(b"subject")), author]
    for name in (b"sender", b"reply-to"):
        addresses = _addresses(fields.get(name))
        told.append(author if addresses == b"NIL" else addresses)
    told += [_addresses(fields.get(name)) for name in (b"to", b"cc", b"bcc")]
    told += [_nstring(fields.get(name)) for name in (b"in-reply-to", b"message-id")]
    return b"(%b)" % b" ".join(told)


def _addresses(value: bytes | None) -> bytes:
    found = parse_addresses(value or b"")
    return b"(%b)" % b"".join(map(_address, found)) if found else b"NIL"


def _address(address: Address) -> bytes:
    return b"(%b)" % b" ".join(map(_nstring, address))
