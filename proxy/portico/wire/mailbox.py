"""Mailbox names on the wire, and the responses that list them.

Rule of this file: pure functions. A name is the octets that stand on the wire (modified UTF-7, or UTF-8 where that was agreed on), without
quotes; it is never decoded to be compared.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from typing import Final, NamedTuple

from portico.errors import PeerError
from portico.wire.imap import Value, quote, unquoted, value_end

_RUN: Final = re.compile(r"[^\x20-\x7e]+")
_SHIFT: Final = re.compile(rb"&([A-Za-z0-9+,]*)-")
_LISTED: Final = re.compile(rb'\* (LIST|LSUB|XLIST) +\(([^()]*)\) +("(?:\\?[^\r\n])"|NIL) +', re.IGNORECASE)

_SIMPLE: Final = re.compile(rb'"([^"\\\r\n]*)"\r\n\Z|([^\x00-\x20"(){\\]+)\r\n\Z')
"""A name and nothing behind it, as nearly all of many thousand lines have it."""


def encode(name: str, *, utf8: bool = False) -> bytes:
    """A name in modified UTF-7 (RFC 9051 A.1), or in UTF-8 (RFC 6855 3)."""
    if utf8:
        return name.encode("utf-8", "surrogatepass")
    return _RUN.sub(lambda run: f"&{_base64(run[0])}-", name.replace("&", "&-")).encode("ascii")


def _base64(text: str) -> str:
    return b64encode(text.encode("utf-16-be", "surrogatepass")).rstrip(b"=").replace(b"/", b",").decode("ascii")


def decode(name: bytes, *, utf8: bool = False) -> str:
    """The text of a name, for people and for plugins; what cannot be decoded stays as it stands."""
    if utf8:
        return name.decode("utf-8", "replace")
    return _SHIFT.sub(_shifted, name).decode("utf-8", "replace")


def _shifted(run: re.Match[bytes]) -> bytes:
    encoded = run[1].replace(b",", b"/")
    if not encoded:
        return b"&"
    try:
        return b64decode(encoded + b"=" * (-len(encoded) % 4)).decode("utf-16-be").encode("utf-8")
    except ValueError:
        return run[0]


def astring(octets: bytes) -> bytes:
    """A string as a command or a response may have it: quoted, or a literal (synchronising, in a command)."""
    quoted = quote(octets)
    return quoted if quoted is not None else b"{%d}\r\n%b" % (len(octets), octets)


class Listed(NamedTuple):
    """``* LIST (\\HasNoChildren) "/" name …`` (RFC 9051 7.3.1), and LSUB."""

    kind: str
    attributes: tuple[bytes, ...]
    separator: bytes
    """One octet, or nothing for NIL."""
    name: bytes
    extended: bytes
    """What stands behind the name, from its space to the line end; the line end not included."""

    def response(self) -> bytes:
        separator = astring(self.separator) if self.separator else b"NIL"
        head = b"* %b (%b) %b %b" % (self.kind.encode(), b" ".join(self.attributes), separator, astring(self.name))
        return head + self.extended + b"\r\n"


def parse_listed(raw: bytes) -> Listed | None:
    """A whole LIST or LSUB response; None for what cannot be understood."""
    head = _LISTED.match(raw)
    if head is None:
        return None
    separator = b"" if head[3].upper() == b"NIL" else head[3][1:-1][-1:]
    kind = head[1].decode("ascii").upper()
    simple = _SIMPLE.match(raw, head.end())
    if simple is not None:
        return Listed(kind, tuple(head[2].split()), separator, simple[2] if simple[1] is None else simple[1], b"")
    try:
        end = value_end(raw, head.end())
    except PeerError:
        return None
    name = unquoted(raw[head.end() : end])
    if name is None:
        # NIL is a name where a name stands (RFC 9051 9, mailbox).
        name = raw[head.end() : end]
    return Listed(kind, tuple(head[2].split()), separator, name, raw[end:].removesuffix(b"\n").removesuffix(b"\r"))


def spans(raw: bytes, most: int = 1 << 30) -> list[tuple[int, int]]:
    """Where the arguments of a command or response begin and end: atoms, strings, literals and lists. Raises PeerError. What stands behind
    `most` of them is not looked at."""
    found: list[tuple[int, int]] = []
    pos = 0
    while True:
        while raw[pos : pos + 1] == b" ":
            pos += 1
        if pos >= len(raw) or len(found) >= most:
            return found
        end = value_end(raw, pos)
        found.append((pos, end))
        pos = end


def written(value: Value) -> bytes:
    """A value as a command may have it. An atom stays one where it can be one."""
    if value is None:
        return b"NIL"
    if isinstance(value, list):
        return b"(" + b" ".join(written(each) for each in value) + b")"
    return value if re.fullmatch(rb"[A-Za-z0-9.*%\-/_=$\\+:]+", value) else astring(value)
