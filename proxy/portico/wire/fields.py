"""The fields of a header that say what a message and its parts are.

Rule of this file: pure functions from the octets of fields to values; what makes no sense is empty, what is too long a PeerError. They read
what RFC 2045 and RFC 5322 allow: folding, comments, quoted strings, parameters in pieces. Time is by length.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from portico.errors import PeerError
from portico.wire.bodystructure import Envelope
from portico.wire.words import MOST, decode_words, plain

CONTENT: Final = frozenset(
    [b"content-type", b"content-transfer-encoding", b"content-disposition", b"content-md5", b"content-id", b"content-description"]
)
ABOUT: Final = frozenset([b"subject", b"message-id", b"date", b"from", b"in-reply-to"])
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


def first_word(value: bytes) -> str:
    word = re.match(rb"[^\s;(]+", value[_skip(value, 0) :])
    return plain(word[0]).lower() if word is not None else ""


def parse_fields(lines: Iterable[bytes], wanted: frozenset[bytes]) -> dict[bytes, bytes]:
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
        elif name in CONTENT:
            raise PeerError("Header too large")
    take()
    return found


def parse_envelope_fields(fields: dict[bytes, bytes]) -> Envelope:
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
