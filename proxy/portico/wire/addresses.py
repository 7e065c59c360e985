"""Address fields of a header (RFC 5322 3.4), as ENVELOPE tells them (RFC 9051 7.5.2).

Rule of this file: pure functions that never raise, in time by length. An address that is not whole is told as Dovecot tells it, so that no
client takes it for a group, whose host is NIL.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_TOKEN: Final = re.compile(
    rb'(?P<space>[ \t\r\n]++)|"(?P<quoted>(?:[^"\\]++|\\.)*+)"?|(?P<comment>\()|(?P<special>[<>@,;:.])|(?P<literal>\[[^\]]*+\]?)'
    rb'|(?P<atom>[^ \t\r\n"(<>@,;:.\[]++)',
    re.DOTALL,
)
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
_COMMENT_OCTET: Final = re.compile(rb"[()\\]")


class Address(NamedTuple):
    """One entry. A group begins with one that has only a mailbox (the group's name), and ends with one that has nothing."""

    name: bytes | None
    route: bytes | None
    mailbox: bytes | None
    host: bytes | None


class _Word(NamedTuple):
    octets: bytes
    kind: str
    apart: bool
    """White space or a comment stood before it."""


def parse_addresses(value: bytes) -> list[Address]:
    """The addresses of a field, behind its colon, unfolded or not."""
    found: list[Address] = []
    words: list[_Word] = []
    comment = b""
    grouped = False

    def take() -> None:
        if words or comment:
            found.append(_address(words, comment))

    for word in _words(value):
        if word.kind == "comment":
            comment = word.octets
        elif word.octets in (b",", b";") and word.kind == "special" and not _open(words):
            take()
            words, comment = [], b""
            if word.octets == b";" and grouped:
                found.append(Address(None, None, None, None))
                grouped = False
        elif word.octets == b":" and word.kind == "special" and not grouped and not any(each.octets in (b"<", b"@") for each in words):
            found.append(Address(None, None, _phrase(words), None))
            words, comment, grouped = [], b"", True
        else:
            words.append(word)
    take()
    if grouped:
        found.append(Address(None, None, None, None))
    return found


def _words(value: bytes) -> list[_Word]:
    found: list[_Word] = []
    pos, apart = 0, False
    while (match := _TOKEN.match(value, pos)) is not None:
        pos = match.end()
        kind = match.lastgroup or ""
        if kind == "space":
            apart = True
        elif kind == "comment":
            end = _comment_end(value, pos)
            found.append(_Word(_ESCAPED.sub(rb"\1", value[pos:end].removesuffix(b")")).strip(), kind, True))
            pos, apart = end, True
        else:
            octets = _ESCAPED.sub(rb"\1", match["quoted"]) if kind == "quoted" else match[0]
            found.append(_Word(octets, kind, apart))
            apart = False
    return found


def _comment_end(value: bytes, pos: int) -> int:
    """Behind the comment that was opened before `pos`; comments nest (RFC 5322 3.2.2)."""
    depth = 1
    while depth:
        octet = _COMMENT_OCTET.search(value, pos)
        if octet is None:
            return len(value)
        pos = octet.end() + (octet[0] == b"\\")
        depth += {b"(": 1, b")": -1}.get(octet[0], 0)
    return pos


def _open(words: list[_Word]) -> bool:
    """Within ``<`` and ``>``: a comma there stands between hosts of a route."""
    for word in reversed(words):
        if word.kind == "special" and word.octets in (b"<", b">"):
            return word.octets == b"<"
    return False


def _phrase(words: list[_Word]) -> bytes:
    return b"".join((b" " if word.apart and index else b"") + word.octets for index, word in enumerate(words))


def _address(words: list[_Word], comment: bytes) -> Address:
    at = next((index for index, word in enumerate(words) if word.kind == "special" and word.octets == b"<"), -1)
    if at < 0:
        name: bytes | None = comment or None
        inner = words
    else:
        name = _phrase(words[:at]) or comment or None
        inner = words[at + 1 :]
        end = next((index for index, word in enumerate(inner) if word.kind == "special" and word.octets == b">"), len(inner))
        inner = inner[:end]
    route = None
    if at >= 0 and inner and inner[0].octets == b"@" and inner[0].kind == "special":
        colon = next((index for index, word in enumerate(inner) if word.kind == "special" and word.octets == b":"), -1)
        if colon >= 0:
            route = b"".join(word.octets for word in inner[:colon])
            inner = inner[colon + 1 :]
    host = next((index for index in range(len(inner) - 1, -1, -1) if inner[index].kind == "special" and inner[index].octets == b"@"), -1)
    local = inner[:host] if host >= 0 else inner
    if at < 0 and host < 0 and any(word.apart for word in local[1:]):
        return Address(_phrase(local), None, b"MISSING_MAILBOX", b"MISSING_DOMAIN")
    mailbox = b"".join(word.octets for word in local)
    domain = b"".join(word.octets for word in inner[host + 1 :]) if host >= 0 else b""
    if at >= 0 and not inner:
        return Address(name, route, b"MISSING_MAILBOX", b"MISSING_DOMAIN")
    return Address(name, route, mailbox or b"MISSING_MAILBOX", domain or b"MISSING_DOMAIN")
