"""Is this message a meeting request?

Rule of this file: told from the structure alone, and then from the calendar part; no text is read. What is signed, encrypted, wrapped in
TNEF, or inside another message is left alone. RFC 6047 (iMIP) 2.4: the part's method and the object's must agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from portico.plugin import Part

SEALED: Final = frozenset(
    [
        "multipart/signed",
        "multipart/encrypted",
        "application/pkcs7-mime",
        "application/x-pkcs7-mime",
        "application/pgp-encrypted",
        "application/ms-tnef",
    ]
)
"""One of these anywhere, and the message is not touched."""
TEXTS: Final = ("text/plain", "text/html")


class Request(NamedTuple):
    """A message that may be a meeting request."""

    calendar: str
    """The number of its calendar part."""
    texts: Sequence[tuple[str, str]]
    """Numbers and types of the parts that can say so."""


def may_be(structure: Part) -> Request | None:
    """What the structure tells: a ``text/calendar; method=REQUEST``, and a text beside it. None: it is no meeting request.

    Two calendar parts of one method are one request; of different methods they are none.
    """
    parts = list(structure.walk())
    if any(part.type in SEALED for part in parts):
        return None
    calendars = [part for part in parts if part.type == "text/calendar" and not _in_digest(part, parts)]
    if not calendars or any(part.parameters.get("method", "").strip().upper() != "REQUEST" for part in calendars):
        return None
    texts = [(part.number, part.type) for part in parts if part.type in TEXTS and part.disposition != "attachment"]
    return Request(calendars[0].number, texts) if texts else None


def _in_digest(part: Part, parts: Sequence[Part]) -> bool:
    return any(each.type == "multipart/digest" and (not each.number or part.number.startswith(f"{each.number}.")) for each in parts)
