"""Which capabilities a client is told of where the proxy takes part.

Rule of this file: what would show mailboxes or messages in ways that mounts and annotations do not reach is not announced.
"""

from __future__ import annotations

from typing import Final

_NOT_WITH_MOUNTS: Final = frozenset(
    b"""CATENATE URLAUTH URLAUTH=BINARY URL-PARTIAL OBJECTID OBJECTIDBIS MULTISEARCH NOTIFY JMAPACCESS REPLACE XLIST X-GM-EXT-1
    LIST-METADATA LOGIN-REFERRALS XAPPLEPUSHSERVICE UIDONLY CONVERT ANNOTATE-EXPERIMENT-1 FILTERS LANGUAGE INPROGRESS""".split()
)
"""Extensions that name mailboxes, or say something of all of them, in ways that are not mapped here."""
_OF_THE_PROXY: Final = frozenset(
    b"IMAP4REV1 IMAP4 ID LITERAL+ LITERAL- SASL-IR NAMESPACE SPECIAL-USE CREATE-SPECIAL-USE LOGINDISABLED STARTTLS ENABLE".split()
)
"""What does not depend on the stores."""
_NOT_WITH_ANNOTATIONS: Final = frozenset(
    [b"CATENATE", b"URLAUTH", b"URLAUTH=BINARY", b"URL-PARTIAL", b"OBJECTID", b"OBJECTIDBIS", b"PREVIEW", b"SNIPPET=FUZZY", b"NOTIFY",
     b"ESORT", b"CONVERT", b"MULTISEARCH", b"JMAPACCESS", b"X-GM-EXT-1", b"REPLACE", b"PARTIAL", b"UIDONLY", b"XAPPLEPUSHSERVICE",
     b"ANNOTATE-EXPERIMENT-1"]
)  # fmt: skip
"""Capabilities that derive from bodies and sizes, or show messages in ways, that are not handled here."""


def announced_with_mounts(name: bytes, stores: list[frozenset[bytes] | None]) -> bool:
    """Whether a capability can be kept for mailboxes of all these stores. None: nobody has seen yet what that one can do, and the personal
    mail does not suffer for it: should the store be less able, it says so itself."""
    upper = name.upper()
    if upper in _NOT_WITH_MOUNTS:
        return False
    return upper in _OF_THE_PROXY or upper.startswith(b"AUTH=") or all(store is None or upper in store for store in stores)


def withheld_for_annotations(name: bytes) -> bool:
    """Whether a capability is not announced where messages are annotated."""
    upper = name.upper()
    return upper in _NOT_WITH_ANNOTATIONS or upper.startswith(b"PREVIEW=")
