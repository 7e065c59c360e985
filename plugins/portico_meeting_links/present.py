"""What a text has in it already, so that it gets no link.

Rule of this file: decoded texts in, yes or no out; in one pass each. A link of ours, one of Outlook Web Access (the server is an Exchange
that adds it), or PGP in the text itself, whose octets are not ours to change.
"""

from __future__ import annotations

import re
from typing import Final

_PGP: Final = re.compile(rb"^-----BEGIN PGP (?:SIGNED )?MESSAGE-----", re.MULTILINE)
_ADDRESS: Final = re.compile(rb"https?://[^\s\"'<>]{1,2000}", re.IGNORECASE)
_OWA: Final = re.compile(
    rb"https?://[^/]+/(?:owa/.*[?&](?:amp;)?(?:itemid|exvsurl)=|exchange/.*(?:\.eml(?:$|[?&;])|[?&](?:amp;)?cmd=open))", re.IGNORECASE
)
"""Since Exchange 2007: /owa/?ItemID=…; before: /exchange/<alias>/<folder>/<subject>.EML."""


def answered(text: bytes, link: str, beginning: str) -> bool:
    """Whether `text`, plain or HTML, has a link to answer with, or is sealed. `beginning`: of all our links, or empty.

    A copy of a message has another UID, so that not only the same link is ours.
    """
    if _PGP.search(text) is not None:
        return True
    exact, start = link.encode(), beginning.encode()
    for found in _ADDRESS.finditer(text):
        address = found[0].replace(b"&amp;", b"&")
        if address == exact or (start and address.startswith(start)) or _OWA.match(address) is not None:
            return True
    return False
