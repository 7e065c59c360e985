"""What header fields hold: text in charsets, encoded words, parameters.

Rule of this file: pure functions that never raise; what cannot be understood stays as it stands. A charset is looked up only if Python
has it: the names come from strangers, and Python remembers each name it was asked for.
"""

from __future__ import annotations

import encodings
import pkgutil
import re
from binascii import Error
from collections.abc import Iterable
from email.errors import HeaderParseError
from email.header import decode_header
from encodings.aliases import aliases
from functools import cache
from typing import Final
from urllib.parse import unquote_to_bytes

MOST: Final = 16 * 1024
"""Octets of a field that are looked at."""

_WORD: Final = r"=\?[^?\s]{1,80}\?[bBqQ]\?[^?]*\?="
_WORDS: Final = re.compile(rf"{_WORD}(?:\s+{_WORD})*+")
_LANGUAGE: Final = re.compile(r"(=\?[^?*\s]+)\*[^?\s]*(?=\?[bBqQ]\?)")
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_OTHER_NAMES: Final = {
    "iso_8859_8_i": "iso8859_8",
    "iso_8859_8_e": "iso8859_8",
    "windows_874": "cp874",
    "x_sjis": "shift_jis",
    "x_gbk": "gbk",
    "x_euc_jp": "euc_jp",
    "x_mac_roman": "mac_roman",
    "unicode_1_1_utf_8": "utf_8",
}
_NO_CHARSETS: Final = frozenset(
    ["charmap", "idna", "punycode", "raw_unicode_escape", "unicode_escape", "undefined", "mbcs", "oem", "aliases"]
)
"""Python's, and of no mail; some are slow."""
_CONTINUED: Final = re.compile(r"([^*]+)\*(?:(\d{1,4})(\*)?)?\Z")


@cache
def _codecs() -> frozenset[str]:
    return frozenset(module.name for module in pkgutil.iter_modules(encodings.__path__)) - _NO_CHARSETS


def codec(charset: str) -> str | None:
    """Python's name of a charset (RFC 2978); None: unknown, or no charset."""
    name = re.sub(r"[^a-z0-9]+", "_", charset[:80].lower())
    name = _OTHER_NAMES.get(name) or aliases.get(name, name)
    if name not in _codecs():
        return None
    try:
        "".encode(name)
    except (LookupError, ValueError):  # rot13 and the like
        return None
    return name


def plain(octets: bytes) -> str:
    """UTF-8, and Latin-1 where it is not; a line without control characters. At most 16 KiB are taken."""
    octets = octets[:MOST]
    try:
        found = octets.decode("utf-8")
    except UnicodeDecodeError:
        found = octets.decode("latin-1")
    return _CONTROLS.sub(" ", found).strip()


def decode_words(octets: bytes) -> str:
    """The text of an unstructured field or a phrase: encoded words decoded (RFC 2047), everything else as `plain`."""
    return _CONTROLS.sub(" ", _WORDS.sub(_decoded, plain(octets)))


def _decoded(run: re.Match[str]) -> str:
    """A run of encoded words; adjacent ones of one charset may share a character (RFC 2047 5, which forbids it)."""
    try:
        pieces = decode_header(_LANGUAGE.sub(r"\1", run[0]))  # RFC 2231 5: a language may follow the charset
    except (HeaderParseError, Error, ValueError):
        return run[0]
    out = []
    for piece, charset in pieces:
        name = codec(charset or "us-ascii")
        if isinstance(piece, str) or name is None:
            return run[0]
        try:
            out.append(piece.decode(name, "replace"))
        except ValueError:
            return run[0]
    return "".join(out)


def parameters(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Parameters by lower-case name, those in pieces or in another charset put together (RFC 2231 3, 4); of two of a name the first."""
    found: dict[str, str] = {}
    pieces: dict[str, dict[int, tuple[bool, bytes]]] = {}
    for key, value in pairs:
        name = plain(key).lower()
        match = _CONTINUED.match(name)
        if match is None:
            found.setdefault(name, plain(value))
        else:
            encoded = match[2] is None or match[3] is not None
            pieces.setdefault(match[1], {}).setdefault(int(match[2] or 0), (encoded, value))
    for name, numbered in pieces.items():
        octets, charset = b"", ""
        for index in range(len(numbered)):
            if index not in numbered:
                break  # a piece is missing: what follows it belongs nowhere
            encoded, value = numbered[index]
            if encoded and index == 0 and value.count(b"'") >= 2:
                label, _, value = value.split(b"'", 2)
                charset = plain(label)
            octets += unquote_to_bytes(value) if encoded else value
        if 0 in numbered:
            found[name] = _in_charset(octets[:MOST], charset)
    return found


def _in_charset(octets: bytes, charset: str) -> str:
    name = codec(charset) if charset else None
    if name is None:
        return plain(octets)
    try:
        return _CONTROLS.sub(" ", octets.decode(name, "replace")).strip()
    except ValueError:
        return plain(octets)
