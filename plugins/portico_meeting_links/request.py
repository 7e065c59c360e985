"""Is this message a meeting request?

Rule of this file: told from the structure alone, and then from the calendar part; no text is read. What is signed, encrypted, wrapped in
TNEF, or inside another message is left alone. RFC 6047 (iMIP) 2.4: the part's method and the object's must agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from portico.plugin import Part

SEALED: Final = frozenset(
    [
        "multipart/signed",
        "multipart/encrypted",
        "application/pkcs7-mime",
        "application/x-pkcs7-mime",
        "application/pkcs7-signature",
        "application/x-pkcs7-signature",
        "application/pgp",
        "application/pgp-encrypted",
        "application/pgp-signature",
        "application/ms-tnef",
        "application/vnd.ms-tnef",
    ]
)
"""One of these anywhere, and the message is not touched. A signature without its multipart/signed has been wrapped by a gateway; who
unwraps it can still check it."""
TEXTS: Final = ("text/plain", "text/html")
_FILE_NAMES: Final = ("filename", "name")


class Request(NamedTuple):
    """A message that may be a meeting request."""

    calendar: str
    """The number of its calendar part."""
    charset: str
    """That of the calendar part, or empty."""
    texts: Sequence[Part]
    """The parts that can say so."""


def may_be(structure: Part) -> Request | None:
    """What the structure tells: a ``text/calendar; method=REQUEST``, and a text beside it. None: it is no meeting request.

    Several calendar parts of one method are one request; of different methods they are none. A calendar part without a method is a file
    that came along (RFC 6047 2.4), often a twin of the request's.
    """
    parts = list(_not_in_digests(structure))
    if any(part.type in SEALED or part.parameters.get("x-action", "").startswith("pgp") for part in parts):
        return None
    calendars = [part for part in parts if part.type == "text/calendar" and part.parameters.get("method", "").strip()]
    if {part.parameters["method"].strip().upper() for part in calendars} != {"REQUEST"}:
        return None
    texts = [part for part in parts if part.type in TEXTS and not _is_a_file(part)]
    first = calendars[0]
    return Request(first.number, first.parameters.get("charset", ""), texts) if texts else None


def _not_in_digests(part: Part) -> Iterator[Part]:
    """What is in a digest are other messages, whatever their types (RFC 2046 5.1.5); the digest itself is told."""
    waiting = [part]
    while waiting:
        part = waiting.pop()
        yield part
        if part.type != "multipart/digest":
            waiting.extend(reversed(part.parts))


def _is_a_file(part: Part) -> bool:
    """A text that is shown with a name, or as an attachment, is a file that somebody sent and not what he wrote."""
    names = {**part.parameters, **part.disposition_parameters}
    return part.disposition == "attachment" or any(names.get(name) for name in _FILE_NAMES)
