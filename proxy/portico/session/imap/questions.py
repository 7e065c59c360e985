"""Sets of messages in questions of our own, and what is found in their answers.

Rule of this file: a set is written so short that a command holds it, and what a server answers is bounded and may be nonsense.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from portico.errors import PeerError
from portico.session.imap.plan import Result
from portico.wire.bodystructure import Part, parse_structure
from portico.wire.fetch import ranges_of, sequence_set
from portico.wire.imap import FetchResponse, parse_fetch

_SET: Final = 8000
"""Octets of a sequence set in one command."""
_ALL: Final = re.compile(rb" ALL ([0-9:,]+)", re.IGNORECASE)
_MANY: Final = 5000
"""Messages of which a number is asked for in one errand."""
_MOST_FOUND: Final = 2_000_000
"""Messages that the ranges of an answer may name; a server that lies is not believed further."""


def structure_in(response: FetchResponse) -> Part | None:
    """What the server says the message is; None: it does not, or not so that it can be understood."""
    try:
        return parse_structure(response.value("BODYSTRUCTURE") or b"")
    except PeerError:
        return None


def size_in(response: FetchResponse) -> int:
    value = response.value("RFC822.SIZE")
    return int(value) if value is not None and len(value) < 20 and value.isdigit() else 0


def fetched(result: Result) -> list[FetchResponse]:
    """The FETCH responses that can be understood."""
    found = []
    for raw in result.responses:
        try:
            found.append(parse_fetch(raw))
        except PeerError:
            continue
    return found


def numbers_in(responses: Iterable[bytes], kind: bytes) -> list[int]:
    """All numbers of ``* SEARCH …`` or ``* SORT …``, or of what ``* ESEARCH`` names."""
    found: list[int] = []
    for raw in responses:
        if raw[2 : 2 + len(kind)].upper() == kind:
            found += [int(word) for word in raw[2 + len(kind) :].split() if word.isdigit() and len(word) < 20]
        elif raw[2:9].upper() == b"ESEARCH" and (everything := _ALL.search(raw)) is not None:
            for low, high in ranges_of(everything[1], 0):
                found += range(low, min(high, low + _MOST_FOUND - len(found) - 1) + 1)
    return found


def set_of(numbers: Iterable[int]) -> bytes:
    """A sequence set, rising, each once."""
    return sequence_set(sorted(set(numbers)))


def some(numbers: Sequence[int]) -> Iterator[bytes]:
    """Messages in sets of which each can be asked about, and answered, at once."""
    for start in range(0, len(numbers), _MANY):
        yield from in_pieces(set_of(numbers[start : start + _MANY]))


def in_pieces(messages: bytes) -> Iterator[bytes]:
    """A sequence set in pieces that fit a command; an empty one: none."""
    pos = 0
    while pos < len(messages):
        end = len(messages) if len(messages) - pos <= _SET else messages.rindex(b",", pos, pos + _SET)
        yield messages[pos:end]
        pos = end + 1
