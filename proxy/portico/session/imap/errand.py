"""The answer to a question of our own.

Rule of this file: the responses of one errand in pieces in; held is what may be held for a session, together, and the rest is dropped and
said to be missing. What a server tells by the way in the same response (changed flags) is cut out for the client.
"""

from __future__ import annotations

import re
from typing import Final

from portico.errors import PeerError
from portico.wire.imap import fetch_items

_LITERAL: Final = re.compile(rb"\{\d{1,19}\+?\}\r?\n\Z")
_FETCH: Final = re.compile(rb"\* \d{1,10} FETCH +\(", re.IGNORECASE)
STRUCTURE: Final = re.compile(rb"\* (\d{1,10}) FETCH \(UID (\d{1,10}) BODYSTRUCTURE (\(.*\))\)\r\n\Z", re.DOTALL)
"""The usual response to ``(UID BODYSTRUCTURE)``: number, UID, and the structure, or more where more follows it."""
_NEWS: Final = frozenset(["FLAGS", "MODSEQ"])
_OURS: Final = frozenset(["BODYSTRUCTURE", "ENVELOPE", "RFC822.SIZE"])


class Answer:
    """`add` the pieces of its untagged responses; `limit`: octets that are held of one of them, and of those that are kept."""

    __slots__ = ("_kept", "_limit", "_raw", "_too_much", "cut", "responses")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = 0
        self._raw = bytearray()
        self._too_much = False
        self.responses: list[bytes] = []
        self.cut = False
        """Something of the answer has been dropped."""

    def add(self, octets: bytes, *, line: bool) -> bool:
        """Take a piece: a line, or a piece of a literal (or of a line that has no end in sight). True: that was the last of a response."""
        if not self._too_much:
            self._raw += octets
            if len(self._raw) > self._limit:
                self._raw.clear()
                self._too_much = self.cut = True
        return line and _LITERAL.search(octets, max(0, len(octets) - 32)) is None

    def take(self) -> bytes:
        """The response that has come; empty: it was too large."""
        raw, self._raw, self._too_much = bytes(self._raw), bytearray(), False
        return raw

    def keep(self, raw: bytes) -> None:
        """It belongs to the answer."""
        if self._kept + len(raw) > self._limit:
            self.cut = True
        else:
            self._kept += len(raw)
            self.responses.append(raw)


def parted(raw: bytes) -> tuple[bool, bytes]:
    """Whether a response is the answer to an errand, and what is news for the client in it: all, nothing, or the flags.

    Errands never ask for flags: where there are some the server volunteers them, and does not tell them again (RFC 9051 7.5.2).
    """
    if b"FLAGS" not in raw and STRUCTURE.match(raw) is not None:
        return True, b""
    head = _FETCH.match(raw)
    if head is None:
        return True, b""
    try:
        items, _ = fetch_items(raw, head.end())
    except PeerError:
        return True, b""  # nobody can make sense of it, and the client has not asked for it
    names = {name for name, _, _ in items}
    if "FLAGS" not in names:
        return True, b""
    if not any(name in _OURS or name.startswith("BODY[") for name in names):
        return False, raw
    news = b" ".join(b"%b %b" % (name.encode("latin-1"), raw[start:end]) for name, start, end in items if name in _NEWS or name == "UID")
    return True, b"%b%b)\r\n" % (head[0], news)
