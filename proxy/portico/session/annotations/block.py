"""A block as the part is that it goes into: its charset, its transfer encoding, its kind of text.

Rule of this file: pure functions. The octets of a block are known before the part's are, and whatever the part holds, they can be inserted
where `insertion_offset` says without a change to any other octet: decoded, the part is the block and the old text around it.

* text/plain: the block stands at the start of the part. A row of ``-~`` is below it, by which it is recognised again, then an empty line.
  What the part's charset cannot say is written in Latin letters (`latin`), or the part carries no block.
* text/html: a fragment between comments by which it is recognised again, in ASCII: other characters are references, so any charset that has
  ASCII in it will do. It stands behind the body tag if that is in the first 16 KiB, else at the start. In base64 it stands at the start.
* 7bit, 8bit: lines of at most 998 octets. quoted-printable: at most 76 (RFC 2045 6.7). base64: whole lines of 76 (57 octets each), so that
  the old lines stay as they are; the row grows, in HTML spaces, until it fits.
* No line begins with ``--``: it could be a delimiter. Nothing ends in white space: format=flowed would join it to the next line.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Sequence
from functools import cache
from typing import Final, Literal, NamedTuple

from portico.session.annotations.latin import written
from portico.wire.bodystructure import Part, decoded
from portico.wire.mime import HEAD
from portico.wire.words import codec

MOST_TEXT: Final = 64 * 1024
"""Characters of a block."""
_LINE: Final = 998
"""RFC 5322 2.1.1, without CRLF."""
_QP_LINE: Final = 75
"""RFC 2045 6.7: 76 with the ``=`` of a soft line break."""
_BASE64_LINE: Final = 57
_AS_IT_IS: Final = ("7bit", "8bit")
_ENCODINGS: Final = (*_AS_IT_IS, "quoted-printable", "base64")
_DASHES: Final = (b"--",)
_ASCII: Final = "".join(map(chr, range(32, 127))) + "\t\r\n"
_ROW: Final = "-~" * 36
_SHORTEST_ROW: Final = 16
"""With 56 more it is still a line."""
_BEGIN: Final = "<!-- portico -->"
_END: Final = "<!-- /portico -->"
_OURS: Final = re.compile(rb"^-(?:~-){7,}~?\r?$|<!-- portico -->", re.MULTILINE)
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff]")
_SURROGATES: Final = re.compile(r"[\ud800-\udfff]")
_SAYS: Final = re.compile(rb"[^\r\n]")
_STUFFED: Final = (b" ", b">", b"From ", *_DASHES)

_MARKUP: Final = re.compile(rb"<(?:(?P<comment>!--)|(?P<name>[A-Za-z][^\s/>]*+)|[!?/])")
_ATTRIBUTES: Final = re.compile(rb"(?:[\s/]++|[^\s/>][^\s/>=]*+(?:\s*+=\s*+(?:\"[^\"]*+\"|'[^']*+'|[^\s\"'>][^\s>]*+|(?=>))|(?!\s*+=)))*+>")
_RAW_TEXT: Final = frozenset([b"script", b"style", b"title", b"textarea", b"xmp", b"iframe", b"noembed", b"noframes"])
_QP: Final = re.compile(
    rb"(?P<soft>=[ \t]*+\r?\n)|=(?P<hex>[0-9A-Fa-f]{2})|(?P<trailing>(?<![ \t])[ \t]++(?=\r?\n))|(?P<text>[^= \t]++|.)", re.DOTALL
)

_QP_TOKEN: Final = re.compile(rb"(?P<hex>=[0-9A-F]{2})|(?P<keep>=?\r\n)|(?P<last>.)(?=\r\n)|.", re.DOTALL)

Where = Literal["start", "body"]


class Block(NamedTuple):
    """What is inserted into one part."""

    octets: bytes
    lines: int
    """Line ends in `octets`."""
    decoded: bytes
    """The same without the transfer encoding."""
    where: Where


def encode(part: Part, text: str) -> Block | None:
    """`text` for a part; None: the part cannot carry it.

    Those are: attachments, parts with a Content-MD5, parts whose size is not told, empty parts (the line end before a delimiter would be
    the block's, or there is not even an end of the header), binary and unknown transfer encodings, charsets that are unknown or have no
    ASCII in them (UTF-16), texts that the charset cannot say and Latin letters cannot either, and words of more than 998 octets in
    7bit and 8bit. `text`: see outline.Insertion.
    """
    if part.encoding not in _ENCODINGS or part.md5 or part.disposition == "attachment" or part.octets <= 0 or part.parts:
        return None
    charset = codec(part.parameters.get("charset") or "us-ascii")
    lines = _lines(text)
    if charset is None or not _has_ascii(charset) or not any(lines):
        return None
    if part.type == "text/plain":
        flowed = part.parameters.get("format", "").lower() == "flowed"
        return _plain(lines, charset, part.encoding, flowed=flowed)
    if part.type == "text/html":
        # Where octets of ASCII may be halves of other characters a tag cannot be looked for.
        return _html(lines, part.encoding, "start" if charset.startswith("iso2022") else "body")
    return None


def insertion_offset(where: str, encoding: str, head: bytes) -> int:
    """Where a block goes in the body of its part, of which `head` is the first 16 KiB, or all if it is shorter."""
    if where != "body":
        return 0
    text, ends = _unquoted(head) if encoding == "quoted-printable" else (head, range(1, len(head) + 1))
    at = _behind_body_tag(text)
    if not at:
        return 0
    offset = ends[at - 1]
    # The rest of the line will begin a line: it must not be a delimiter.
    return 0 if head.startswith(b"-", offset) or offset >= HEAD else offset


def recognise(decoded_head: bytes) -> bool:
    """Whether a text part, decoded, has a block of ours in it already."""
    return _OURS.search(decoded_head) is not None


def blank(octets: bytes, encoding: str) -> tuple[bytes, bytes]:
    """In place of the octets of a block as many that say nothing, and the same without the transfer encoding.

    For a message of which the size has been told with a block in it, and that turns out to carry one already. Spaces; in HTML within one
    comment. In quoted-printable no line may end in a space (RFC 2045 6.7): there stands a full stop.
    """
    if encoding == "quoted-printable":
        made = _QP_TOKEN.sub(_blanked, octets)
        made = _commented(octets, made)
        return made, decoded(made, encoding)
    text = decoded(octets, encoding)
    bare = _commented(text, _SAYS.sub(b" ", text))
    return (_base64(bare).octets, bare) if encoding == "base64" else (bare, bare)


def _blanked(token: re.Match[bytes]) -> bytes:
    if token["hex"] is not None:
        return b"=20"
    return token["keep"] or (b"." if token["last"] is not None else b" ")


def _commented(block: bytes, bare: bytes) -> bytes:
    """What keeps `bare` from being seen, if `block` is HTML."""
    begin, end = block.find(_BEGIN.encode()), block.rfind(_END.encode())
    if begin < 0 or end < 0:
        return bare
    end += len(_END) - 3
    return bare[:begin] + b"<!--" + bare[begin + 4 : end] + b"-->" + bare[end + 3 :]


# -- the two kinds of text


def _plain(lines: Sequence[str], charset: str, encoding: str, *, flowed: bool) -> Block | None:
    seven_bits = encoding == "7bit" or charset == "iso2022_kr"  # ISO-2022-KR begins a text with its designator (RFC 1557)
    dashes = _DASHES if encoding in _AS_IT_IS else ()
    made: list[bytes] = []
    for line in lines:
        octets = written(line, "ascii" if charset == "iso2022_kr" else charset, seven_bits=seven_bits)
        if octets is None:
            return None
        folded = _folded(octets.rstrip()) if encoding in _AS_IT_IS else [octets.rstrip()]
        if folded is None:
            return None
        # RFC 3676 4.4; in text that does not flow a space is seen, but does no harm.
        made += [b" " + each if each.startswith(_STUFFED if flowed else dashes) else each for each in folded]
    row = _SHORTEST_ROW
    if encoding == "base64":
        row += -(sum(len(each) + 2 for each in made) + row + 4) % _BASE64_LINE
    else:
        row = len(_ROW) // 2
    made += [_ROW[:row].encode(), b""]
    decoded = b"".join(each + b"\r\n" for each in made)
    if encoding == "base64":
        return _base64(decoded)
    if encoding == "quoted-printable":
        octets = b"".join(_quoted(each) + b"\r\n" for each in made)
    else:
        octets = decoded
    return Block(octets, octets.count(b"\n"), decoded, "start")


def _html(lines: Sequence[str], encoding: str, where: Where) -> Block | None:
    dashes = _DASHES if encoding in _AS_IT_IS else ()
    made: list[bytes] = []
    for line in [_BEGIN, *lines, _END]:
        octets = line.encode("ascii", "xmlcharrefreplace")
        folded = _folded(octets) if encoding in _AS_IT_IS else [octets]
        if folded is None:
            return None
        made += [b" " + each if each.startswith(dashes) else each for each in folded]
    decoded = b"\r\n".join(made)
    if encoding == "base64":
        return _base64(decoded + b" " * (-(len(decoded) + 2) % _BASE64_LINE) + b"\r\n")
    if encoding == "quoted-printable":
        # Begins and ends with a soft line break: the old line goes on behind the block as if nothing were there.
        octets = b"=\r\n" + b"\r\n".join(_quoted(each) for each in made) + b"=\r\n"
    else:
        octets = decoded = b"\r\n" + decoded + b"\r\n"
    return Block(octets, octets.count(b"\n"), decoded, where)


def _lines(text: str) -> list[str]:
    """Lines without their ends, control characters, white space at the end, and empty ones around all."""
    if len(text) > MOST_TEXT:
        return []
    text = _SURROGATES.sub("\ufffd", text).replace("\r\n", "\n").replace("\r", "\n")
    return [line.rstrip() for line in _CONTROLS.sub(" ", text).strip("\n").split("\n")]


def _folded(line: bytes) -> list[bytes] | None:
    """Lines short enough to be sent; None: a word is too long. One octet is left for a space in front."""
    made: list[bytes] = []
    while len(line) >= _LINE:
        at = line.rfind(b" ", 1, _LINE)
        if at < 0 or not line[:at].strip():
            return None
        made.append(line[:at].rstrip())
        line = line[at + 1 :]
    return [*made, line]


@cache
def _has_ascii(charset: str) -> bool:
    """Whether ASCII text stands in this charset as in ASCII."""
    try:
        return _ASCII.encode(charset) == _ASCII.encode() and _ASCII.encode().decode(charset) == _ASCII
    except ValueError:
        return False


# -- transfer encodings


def _base64(decoded: bytes) -> Block:
    octets = b"".join(b2a_base64(decoded[at : at + _BASE64_LINE], newline=False) + b"\r\n" for at in range(0, len(decoded), _BASE64_LINE))
    return Block(octets, octets.count(b"\n"), decoded, "start")


def _quoted(line: bytes) -> bytes:
    """One line in quoted-printable, with soft line breaks, without its end. It has no white space at its end."""
    made: list[bytes] = []
    now = b""
    for index in range(len(line)):
        step = _step(line, index, begins=not now)
        if len(now) + len(step) > _QP_LINE:
            made.append(now + b"=\r\n")
            now = _step(line, index, begins=True)
        else:
            now += step
    return b"".join(made) + now


def _step(line: bytes, index: int, *, begins: bool) -> bytes:
    """One octet in quoted-printable. No line begins with what could be a delimiter, or with "From ", which some take for a new message."""
    octet = line[index]
    literal = octet in b" \t" or (33 <= octet <= 126 and octet != 0x3D)
    if not literal or (begins and line.startswith((b"--", b"From "), index)):
        return b"=%02X" % octet
    return b"%c" % octet


def _unquoted(head: bytes) -> tuple[bytes, Sequence[int]]:
    """The text of a begin of quoted-printable, and for each of its octets the offset behind it in `head`."""
    text = bytearray()
    ends: list[int] = []
    for token in _QP.finditer(head):
        if token["hex"] is not None:
            text.append(int(token["hex"], 16))
            ends.append(token.end())
        elif token["text"] is not None:
            text += token["text"]
            ends.extend(range(token.start() + 1, token.end() + 1))
    return bytes(text), ends


# -- HTML


def _behind_body_tag(text: bytes) -> int:
    """The offset behind ``<body …>``; 0: it is not there, or only in comments, attributes and texts that are no markup."""
    lower = text.lower()
    pos = 0
    while (markup := _MARKUP.search(text, pos)) is not None:
        name = (markup["name"] or b"").lower()
        if markup["comment"]:
            found = text.find(b"-->", markup.start() + 2)  # ``<!-->`` is a whole comment (HTML 13.2.5.43)
            pos = found + 3
        elif name:
            tag = _ATTRIBUTES.match(text, markup.end())
            if tag is None:
                return 0
            if name == b"body":
                return tag.end()
            found = lower.find(b"</" + name, tag.end()) if name in _RAW_TEXT else tag.end()
            pos = found
        else:
            found = text.find(b">", markup.end())
            pos = found + 1
        if found < 0 or name == b"plaintext":
            return 0
    return 0
