"""Conditions by size in a search program (RFC 9051 6.4.4; RFC 5256).

Rule of this file: what is a search key is told from what is some other key's argument, which may be any word; nothing else is understood.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_TOKEN: Final = re.compile(rb'(?P<string>"(?:[^"\\\r\n]|\\.)*"?|~?\{(?P<count>\d{1,10})\+?\}\r?\n)|[()]|[^ ()"]+', re.DOTALL)
_ARGUMENTS: Final = {
    b"BCC": 1, b"BODY": 1, b"CC": 1, b"FROM": 1, b"SUBJECT": 1, b"TEXT": 1, b"TO": 1, b"HEADER": 2, b"KEYWORD": 1, b"UNKEYWORD": 1,
    b"CHARSET": 1, b"LARGER": 1, b"SMALLER": 1, b"UID": 1, b"EMAILID": 1, b"THREADID": 1, b"FILTER": 1, b"ANNOTATION": 3, b"INTHREAD": 1,
    b"X-GM-RAW": 1, b"X-GM-LABELS": 1, b"X-MAILBOX": 1, b"X-GUID": 1,
}  # fmt: skip
"""How many strings follow a key; others have none that could be taken for a key."""


class SizeKey(NamedTuple):
    """``LARGER n`` or ``SMALLER n``, and where it stands."""

    start: int
    end: int
    larger: bool
    octets: int

    def holds(self, octets: int) -> bool:
        """RFC 9051 6.4.4: both are strict."""
        return octets > self.octets if self.larger else octets < self.octets


def size_keys(arguments: bytes, *, skip: int = 0) -> list[SizeKey]:
    """The conditions by size in the arguments of a SEARCH; in front of them, `skip` tokens are no keys (SORT and THREAD: what they begin
    with; a list in parentheses is one)."""
    found: list[SizeKey] = []
    pos = depth = 0
    start = -1  # of a size key whose number is to come
    key, left = b"", 0
    while (token := _TOKEN.search(arguments, pos)) is not None:
        pos = token.end() + int(token["count"] or 0)
        text = token[0]
        if text in (b"(", b")"):
            depth += 1 if text == b"(" else -1
            if not skip:
                left, start = 0, -1
            elif not depth:
                skip -= 1
        elif skip:
            skip -= not depth
        elif left:
            left -= 1
            if start >= 0 and (number := text.strip(b'"')).isdigit() and len(number) < 20:
                found.append(SizeKey(start, pos, key == b"LARGER", int(number)))
            start = -1 if start >= 0 else start
        elif token["string"] is None:
            key = text.upper()
            left = _ARGUMENTS.get(key, 0)
            start = token.start() if key in (b"LARGER", b"SMALLER") else -1
    return found
