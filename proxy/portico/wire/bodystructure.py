"""BODYSTRUCTURE, BODY and ENVELOPE (RFC 9051 7.5.2): what a server says of a message without sending it.

Rule of this file: pure functions from the octets of a value, literals included, to values, and back with some digits changed and every
other octet as it was. A structure that makes no sense is a PeerError; one that is merely odd is read as it was meant, as far as it goes
(what is odd, and who does it, is in the tests). Time and memory are bounded by the length of the value, that by `MOST_OCTETS`.

Parts are numbered as in RFC 9051 6.4.5.1. A multipart that is the whole of a message has no number there: it is ``""``, and
``2.TEXT`` if the message is in part 2.
"""

from __future__ import annotations

import re
from binascii import Error, a2b_base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from portico.errors import PeerError
from portico.wire.words import decode_words, parameters, plain

MOST_DEPTH: Final = 100
"""Lists in lists."""
MOST_PARTS: Final = 1000
MOST_OCTETS: Final = 1024 * 1024
_MOST_TOKENS: Final = 100_000
OPAQUE: Final = "application/octet-stream"
"""The type of a part of which the server does not know it (RFC 2045 5.2: nothing can be assumed)."""

_TOKEN: Final = re.compile(
    rb'[ \r\n]*+(?:(?P<open>\()|(?P<close>\))|"(?P<quoted>(?:[^"\\]++|\\.)*+)"'
    rb'|~?\{0*(?P<literal>\d{1,9})\+?\}\r?\n|(?P<atom>[^ ()"\r\n]+))',
    re.DOTALL,
)
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
_NUMBER: Final = re.compile(rb"\d{1,19}\Z")
_MESSAGES: Final = ("message/rfc822", "message/global")
_SOFT_AND_HEX: Final = re.compile(rb"=[ \t]*+\r?\n|=([0-9A-Fa-f]{2})|(?<![ \t])[ \t]++(?=\r?\n)")
_NOT_BASE64: Final = re.compile(rb"[^A-Za-z0-9+/=]+")

Span = tuple[int, int]


class Places(NamedTuple):
    """Where in the value some of a part's values stand, without quotes; None: the server does not say it in a way that can be changed."""

    octets: Span | None = None
    lines: Span | None = None
    md5: Span | None = None


@dataclass(slots=True)
class Part:
    """One part of a message, as the server tells it."""

    number: str
    """``1``, ``1.2``; ``""`` for a multipart that is the whole message. A message of one part has the number 1."""
    type: str
    """Lower case: ``text/plain``, ``multipart/alternative``."""
    parameters: dict[str, str] = field(default_factory=dict)
    """Names lower case. RFC 2231 is undone, RFC 2047 (which has no place here) is not."""
    encoding: str = ""
    """Content-Transfer-Encoding, lower case; empty for multiparts."""
    octets: int = -1
    """Of the body as it is sent, with its transfer encoding; -1: not said."""
    lines: int = -1
    """Line ends in it; -1: not said (only text and messages have it)."""
    md5: str = ""
    disposition: str = ""
    """Lower case: ``attachment``, ``inline``, or empty."""
    disposition_parameters: dict[str, str] = field(default_factory=dict)
    id: str = ""
    description: str = ""
    parts: list[Part] = field(default_factory=list)
    """Of a multipart."""
    message: Part | None = None
    """The structure of the message in a message/rfc822, which is never annotated."""
    places: Places = field(default=Places(), compare=False, repr=False)

    def walk(self) -> Iterator[Part]:
        """This part and all below it in the order of the message, not what is in a message/rfc822."""
        waiting = [self]
        while waiting:
            part = waiting.pop()
            yield part
            waiting.extend(reversed(part.parts))


class Envelope(NamedTuple):
    """Some of an ENVELOPE, RFC 2047 undone; empty where it is not said."""

    subject: str = ""
    message_id: str = ""
    """With its angle brackets."""
    date: str = ""
    """As it stands in the Date field."""
    sender: str = ""
    """The first author (From): ``Name <mailbox@host>``, or the address alone."""
    in_reply_to: str = ""


class _Token(NamedTuple):
    """A string, number or NIL. Start and end of the octets that mean it (without quotes)."""

    octets: bytes | None
    start: int
    end: int
    literal: bool

    @property
    def text(self) -> bytes:
        return self.octets or b""


_Node = _Token | list["_Node"]


def parse_structure(value: bytes) -> Part:
    """The value of BODYSTRUCTURE or BODY. Raises PeerError."""
    tree = _tree(value)
    return _Builder().message(tree, "")


def rewrite(value: bytes, growth: Mapping[str, tuple[int, int]]) -> bytes:
    """The value with other sizes for some parts: to octets and lines is added what `growth` says by part number.

    Lines that the server does not tell stay untold. Raises PeerError where the value cannot be understood, has no such part, or does not
    tell its octets as a number.
    """
    parts = {part.number: part for part in parse_structure(value).walk()}
    changes: list[tuple[Span, int]] = []
    for number, (octets, lines) in growth.items():
        part = parts.get(number)
        if part is None or part.places.octets is None:
            raise PeerError("Structure lacks a part or its size")
        changes.append((part.places.octets, part.octets + octets))
        if part.places.lines is not None:
            changes.append((part.places.lines, part.lines + lines))
    for (start, end), number_now in sorted(changes, reverse=True):
        value = value[:start] + b"%d" % number_now + value[end:]
    return value


def parse_envelope(value: bytes | None) -> Envelope:
    """The value of ENVELOPE. Never raises: what cannot be understood is empty."""
    try:
        tree = _tree(value or b"")
    except PeerError:
        return Envelope()
    return Envelope(
        subject=decode_words(_text(tree, 1)),
        message_id=plain(_text(tree, 9)),
        date=plain(_text(tree, 0)),
        sender=_first_address(tree[2] if len(tree) > 2 else None),
        in_reply_to=plain(_text(tree, 8)),
    )


def decoded(octets: bytes, encoding: str) -> bytes:
    """A part's octets without its transfer encoding (RFC 2045 6.7, 6.8). Never raises: what is damaged is decoded as far as it goes."""
    if encoding == "quoted-printable":
        return _SOFT_AND_HEX.sub(lambda found: bytes.fromhex(found[1].decode()) if found[1] else b"", octets)
    if encoding == "base64":
        digits = _NOT_BASE64.sub(b"", octets)
        for _ in range(2):
            try:
                return a2b_base64(digits + b"==")
            except Error:  # one digit too many stands for nothing
                digits = digits.rstrip(b"=")[:-1]
        return b""
    return octets


# -- lists and strings


def _tree(value: bytes) -> list[_Node]:
    """A whole parenthesised list, not recursive."""
    if len(value) > MOST_OCTETS:
        raise PeerError("Structure too large")
    stack: list[list[_Node]] = [[]]
    pos, tokens = 0, 0
    while (match := _TOKEN.match(value, pos)) is not None:
        pos = match.end()
        tokens += 1
        kind = match.lastgroup
        if tokens > _MOST_TOKENS:
            raise PeerError("Structure too large")
        if kind == "open":
            if len(stack) > MOST_DEPTH:
                raise PeerError("Structure too deep")
            stack.append([])
        elif kind == "close":
            if len(stack) == 1:
                raise PeerError("Missing '('")
            done = stack.pop()
            stack[-1].append(done)
        elif kind == "literal":
            start, pos = pos, pos + int(match["literal"])
            if pos > len(value):
                raise PeerError("Literal cut short")
            stack[-1].append(_Token(value[start:pos], start, pos, True))
        elif kind == "quoted":
            octets = match["quoted"]
            stack[-1].append(
                _Token(_ESCAPED.sub(rb"\1", octets) if b"\\" in octets else octets, match.start("quoted"), match.end("quoted"), False)
            )
        else:
            atom = match["atom"]
            stack[-1].append(_Token(None if atom.upper() == b"NIL" else atom, match.start("atom"), pos, False))
    if value[pos:].strip(b" \r\n") or len(stack) != 1 or len(stack[0]) != 1:
        raise PeerError("Structure malformed")
    tree = stack[0][0]
    if isinstance(tree, _Token):
        raise PeerError("Structure is not a list")
    return tree


def _at(node: list[_Node], index: int) -> _Node | None:
    return node[index] if index < len(node) else None


def _text(node: list[_Node], index: int) -> bytes:
    """A string in a list; empty if it is NIL, missing or a list."""
    found = _at(node, index)
    return found.text if isinstance(found, _Token) else b""


def _pairs(node: _Node | None) -> dict[str, str]:
    """``("charset" "utf-8" …)``; NIL, an empty list, a value without name or a name without value are taken for what they are worth."""
    if not isinstance(node, list):
        return {}
    flat = [each.text for each in node if isinstance(each, _Token)]
    return parameters(zip(flat[::2], flat[1::2], strict=False))


def _number(node: _Node | None) -> tuple[int, Span | None]:
    """A number, bare or (against the rules) quoted. In a literal its length could not be changed: it is no number then."""
    if isinstance(node, _Token) and not node.literal and _NUMBER.match(node.text):
        return int(node.text), (node.start, node.end)
    return -1, None


def _first_address(node: _Node | None) -> str:
    address = node[0] if isinstance(node, list) and node else None
    if not isinstance(address, list):
        return ""
    name, mailbox, host = decode_words(_text(address, 0)), plain(_text(address, 2)), plain(_text(address, 3))
    where = f"{mailbox}@{host}" if host else mailbox
    return f"{name} <{where}>" if name and where else where or name


# -- parts


def _is_structure(node: _Node | None) -> bool:
    """Whether a list can be the structure of a message; a disposition or list of languages cannot."""
    return isinstance(node, list) and (len(node) >= 7 or (bool(node) and isinstance(node[0], list)))


def _is_disposition(node: _Node | None) -> bool:
    if not isinstance(node, list) or not node or not isinstance(node[0], _Token) or node[0].octets is None:
        return False
    return len(node) == 1 or (len(node) == 2 and (isinstance(node[1], list) or node[1].octets is None))


class _Builder:
    """Makes Parts of lists; counts them."""

    __slots__ = ("_count",)

    def __init__(self) -> None:
        self._count = 0

    def message(self, node: list[_Node], prefix: str) -> Part:
        """A message's structure. `prefix`: of its parts' numbers, ``2.`` in part 2."""
        return self._part(node, prefix + "1", prefix and prefix + "TEXT", prefix)

    def _part(self, node: list[_Node], single: str, multiple: str, prefix: str) -> Part:
        self._count += 1
        if self._count > MOST_PARTS:
            raise PeerError("Too many parts")
        if node and isinstance(node[0], list):
            return self._multipart(node, multiple, prefix)
        return self._single(node, single)

    def _multipart(self, node: list[_Node], number: str, prefix: str) -> Part:
        parts: list[Part] = []
        for child in node:
            if not isinstance(child, list):
                break
            below = f"{prefix}{len(parts) + 1}"
            parts.append(self._part(child, below, below, below + "."))
        rest = node[len(parts) :]
        part = Part(number, "multipart/" + (plain(_text(rest, 0)).lower() or "mixed"), _pairs(_at(rest, 1)), parts=parts)
        _disposition(part, rest, 2)
        return part

    def _single(self, node: list[_Node], number: str) -> Part:
        main, sub = plain(_text(node, 0)).lower(), plain(_text(node, 1)).lower()
        octets, where = _number(_at(node, 6))
        part = Part(
            number,
            f"{main}/{sub}" if main and sub else OPAQUE,
            _pairs(_at(node, 2)),
            plain(_text(node, 5)).lower() or "7bit",
            octets,
            id=plain(_text(node, 3)),
            description=decode_words(_text(node, 4)),
        )
        at = 7
        if part.type in _MESSAGES and _is_structure(_at(node, 8)):
            inner = node[8]
            assert isinstance(inner, list)
            part.message = self.message(inner, number + ".")
            at = 9
        part.lines, of_lines = _number(_at(node, at))
        md5 = _at(node, at)
        if of_lines is not None or (part.type.startswith("text/") and _text(node, at + 1) and not _text(node, at)):
            # A text's NIL for its lines counts as the place of lines where an MD5 follows it.
            at += 1
            md5 = _at(node, at)
        if isinstance(md5, _Token):
            part.md5 = plain(md5.text)
        part.places = Places(where, of_lines, (md5.start, md5.end) if isinstance(md5, _Token) and part.md5 else None)
        _disposition(part, node, at + 1)
        return part


def _disposition(part: Part, node: list[_Node], at: int) -> None:
    """The disposition, where it should be or in a place beside it; some servers give a bare string."""
    for index in (at, at + 1, at - 1):
        found = _at(node, index)
        # Elsewhere a list of one is a list of languages.
        if isinstance(found, list) and _is_disposition(found) and (index == at or len(found) == 2):
            part.disposition = plain(_text(found, 0)).lower()
            part.disposition_parameters = _pairs(_at(found, 1))
            return
        if index == at and isinstance(found, _Token) and found.octets:
            part.disposition = plain(found.octets).lower()
            return
