"""How a tunnelled IMAP session ended, told from its last octets.

Rule of this file: a guess that is used for the log, and for whether a BYE of ours may follow; never for the stream.
"""

from __future__ import annotations

import re

from portico.session.close import Reason
from portico.session.decisions import Ending

_STATUS = re.compile(rb"(?:\A|\n)(?:[^ \r\n]+ (?:OK|NO|BAD|BYE)\b|\+)[^\r\n]*\r\n\Z", re.IGNORECASE)
_BYE = re.compile(rb"(?:\A|\n)\* BYE\b", re.IGNORECASE)
_LOGOUT = re.compile(rb"\bLOGOUT\r?\n\Z", re.IGNORECASE)

BYE = b"* BYE %b\r\n"


def judge(client: bytes, server: bytes) -> Ending:
    """RFC 9051 6.1.3 and 7.1.5: BYE answers LOGOUT, or says why the server goes. Both tails may begin in the middle of a line."""
    # Nothing yet: the last that the client saw is the OK to its sign-in.
    whole = not server or _STATUS.search(server) is not None
    if _LOGOUT.search(client):
        return Ending(Reason.LOGOUT, "client", whole)
    if _BYE.search(server):
        return Ending(Reason.SERVER_BYE, "server", whole)
    return Ending(Reason.SERVER_CLOSED, "server", whole)
